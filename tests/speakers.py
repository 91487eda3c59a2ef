"""Tiny random models in real architectures, each with the kind of tokenizer and chat template it is known with."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from reasoningrec.llm.checkpoint import quiet
from tiny import REFUSING

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen (and Llama 3, nearly) parts a text: a full stop and the new line after it become one piece."""
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
SPECIAL = (
    *("<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]"),
)
SHAPE = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024},
}
PLACES = SHAPE["max_position_embeddings"]
Parts = Callable[[Tokenizer], None]


def byte_words(bare: Tokenizer) -> None:
    """GPT-2's way: words with the space before them, in bytes."""
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()


def byte_lines(bare: Tokenizer) -> None:
    """Qwen's way: as GPT-2's, with punctuation and the new line after it in one piece."""
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bare.decoder = decoders.ByteLevel()


def byte_spaces(bare: Tokenizer) -> None:
    """No token has a space before its word: the space is a token."""
    alone = pre_tokenizers.Split(" ", "isolated")
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [alone, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    bare.decoder = decoders.ByteLevel()


def pieces(bare: Tokenizer) -> None:
    """SentencePiece's way, as in Llama 2: a space is ▁, one stands before the text, unknown signs are bytes."""
    bare.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\n\[\]]|▁?[^▁\n\[\]]+|▁"), "isolated")
    bare.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def pieces_bare(bare: Tokenizer) -> None:
    """SentencePiece's way, as in Gemma: nothing stands before the text. Here whole citations are tokens."""
    bare.normalizer = normalizers.Replace(" ", "▁")
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|▁[^▁\n]*"), "isolated")
    bare.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def metaspace(bare: Tokenizer) -> None:
    """SentencePiece's way, as in Mistral and T5 of the tokenizers library."""
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    bare.decoder = decoders.Metaspace(prepend_scheme="first")


@dataclass(frozen=True)
class Speaker:
    """An architecture, and how it is talked to."""

    config: type
    parts: Parts
    template: str = ""
    start: str | None = None
    end: str = "</s>"
    more: Mapping[str, Any] = field(default_factory=dict)
    """Of its configuration."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")


SPEAKERS: dict[str, Speaker] = {
    "llama": Speaker(LlamaConfig, byte_words, start="<s>"),
    "llama-pieces": Speaker(LlamaConfig, pieces, start="<s>", more={"tie_word_embeddings": True}),
    "llama-spaces": Speaker(LlamaConfig, byte_spaces),
    "qwen2": Speaker(Qwen2Config, byte_lines, CHATML, end="<|im_end|>"),
    "qwen3": Speaker(Qwen3Config, byte_lines, QWEN_CHAT, end="<|im_end|>", more={"tie_word_embeddings": True}),
    "mistral": Speaker(MistralConfig, metaspace, REFUSING, "<s>", more={"sliding_window": 64}),
    "gemma2": Speaker(
        Gemma2Config,
        pieces_bare,
        GEMMA_CHAT,
        "<s>",
        more={"sliding_window": 64, "final_logit_softcapping": 6.0, "query_pre_attn_scalar": 8},
    ),
    "gemma3": Speaker(Gemma3TextConfig, pieces_bare, GEMMA_CHAT, "<s>", more={"sliding_window": 64}),
    "phi": Speaker(PhiConfig, byte_words, targets=("q_proj", "v_proj", "dense")),
    "phi3": Speaker(Phi3Config, pieces, PHI_CHAT, targets=("qkv_proj",)),
}
"""The families that are promised to work."""
FURTHER: dict[str, Speaker] = {
    "gpt2": Speaker(GPT2Config, byte_words, more={"n_positions": PLACES}, targets=("c_attn",)),
    "cohere": Speaker(CohereConfig, byte_words, CHATML, end="<|im_end|>", more={"logit_scale": 0.25}),
    "granite": Speaker(GraniteConfig, byte_words, CHATML, end="<|im_end|>", more={"logits_scaling": 4.0}),
}
"""Others, for what is special about them."""


@functools.cache
def made() -> ModuleType:
    """The made cases of the student's tests."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("made_cases", Path(__file__).parent / "student" / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def texts() -> Sequence[str]:
    """What the tokenizers are trained on."""
    from reasoningrec.student.encode import reasons_text, row_text

    rows = made().Shop(1).rows(60)
    more = [f"Prediction:{word}{reasons_text(row.rationale, row.case)}" for row in rows for word in (" No", " Yes")]
    return [*map(row_text, rows), *more, *("Yes No Yes No user assistant system think\n" for _ in rows)]


@functools.cache
def tokenizer_of(name: str, size: int = 700) -> PreTrainedTokenizerFast:
    """A tokenizer in the way of `name`."""
    speaker = {**SPEAKERS, **FURTHER}[name]
    in_bytes = speaker.parts in (byte_words, byte_lines, byte_spaces)
    bare = Tokenizer(
        models.BPE(**({} if in_bytes else {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}))
    )
    speaker.parts(bare)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if in_bytes else []
    bytes_ = [] if in_bytes else [f"<0x{byte:02X}>" for byte in range(256)]
    bare.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=alphabet,
            special_tokens=[*SPECIAL, *(AddedToken(one, special=False) for one in bytes_)],
            show_progress=False,
        ),
    )
    if speaker.start:
        bare.post_processor = processors.TemplateProcessing(
            single=f"{speaker.start} $A", special_tokens=[(speaker.start, bare.token_to_id(speaker.start))]
        )
    wrap: Any = PreTrainedTokenizerFast
    tokenizer = wrap(
        tokenizer_object=bare,
        eos_token=speaker.end,
        pad_token="<pad>",
        **({"bos_token": speaker.start} if speaker.start else {}),
    )
    tokenizer.chat_template = speaker.template or None
    return tokenizer


def store(name: str, folder: Path, *, seed: int = 3) -> Path:
    """A random model in the way of `name`, in a folder."""
    speaker, tokenizer = {**SPEAKERS, **FURTHER}[name], tokenizer_of(name)
    shape = speaker.config(
        **{
            **SHAPE,
            "vocab_size": -(-len(tokenizer) // 64) * 64,  # as real ones: some rows belong to no token
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **speaker.more,
        }
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.12)  # far enough from nothing for answers to differ
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
