"""What a student grows from, and how it is stored: weights as safetensors, the tokenizer, and a card that ties them.

`nano` is a Llama of a few million weights, started at random, with a byte-level BPE tokenizer trained on the spot. Its
citation ids and decision words are single tokens, so a citation can be allowed or barred by masking one logit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import tokenizers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reasoningrec import prompts
from reasoningrec.config import TrainConfig
from reasoningrec.errors import RunError
from reasoningrec.student.encode import CITATIONS, DECISIONS, PROMPT, decision_ids
from reasoningrec.student.phrasing import Wording
from reasoningrec.student.shorthand import SLOTS

END: Final = "<|end|>"
PAD: Final = "<|pad|>"
CARD: Final = "card.json"
TEXTS: Final = "texts.json"
WEIGHTS: Final = "model.safetensors"
FORMAT: Final = 1
"""Raised when the stored form changes; other formats are refused."""
ROOM_TO_WRITE: Final = 1024
"""Positions beyond `max_tokens`, so that a text may run on after the longest prompt."""
APART: Final = (
    r"\n(?:Why|Taste|Prediction):| \((?:(?:very |strongly |slightly )*(?:for|against)|neutral)\)|[.:;] |\d|\"|\n"
)
"""What no token of nano reaches across: the form's own words, strengths, ends of clauses, digits, quotes, lines."""
LEAST_SEEN: Final = 6
LONGEST_TOKEN: Final = 40
SAMPLE: Final = 2000
"""Texts at most that nano's tokenizer is trained on, evenly spread."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a stored student was made of and how well it did."""

    base: str
    tokenizer: str
    """SHA-256 of the tokenizer's own JSON."""
    prompt: str
    """SHA-256 of the prompt's template."""
    data: str
    """Fingerprint of the training data."""
    train: Mapping[str, Any]
    """The `[train]` section."""
    metrics: Mapping[str, float | int | None]
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class Student:
    """A model with the tokenizer and settings it was trained with."""

    model: Any
    """A causal LM of `transformers`, in evaluation mode."""
    tokenizer: PreTrainedTokenizerFast
    config: TrainConfig
    card: Card
    texts: tuple[Wording, ...] = ()
    """The texts it learned from; what it writes stays within their wording (see `phrasing`). Empty: it is free."""

    @classmethod
    def open(cls, folder: Path) -> Student:
        """The student stored in `folder`. Raises RunError as `load` does."""
        return load(folder)


def build(config: TrainConfig, texts: Sequence[str], seed: int) -> tuple[Any, PreTrainedTokenizerFast]:
    """An untrained model of `config.base` and its tokenizer.

    Args:
        config: base and sizes.
        texts: prompts with completions of the training rows; `nano` trains its tokenizer on them.
        seed: of the random weights.

    Raises:
        StudentError: the tokenizer has no single, distinct tokens for the decisions.
    """
    model, tokenizer = BASES[config.base](config, texts, seed)
    decision_ids(tokenizer)
    return model, tokenizer


def save(student: Student, folder: Path) -> None:
    """Write `student` under `folder`; the card comes last, so a folder with a card is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    student.model.config.save_pretrained(folder)
    # Tied weights appear once among the named parameters; the metadata let other tools read the file.
    weights = {name: weight.detach() for name, weight in student.model.named_parameters()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    student.tokenizer.save_pretrained(folder)
    texts = [[text.label, text.cites, text.tokens] for text in student.texts]
    (folder / TEXTS).write_text(json.dumps(texts, separators=(",", ":")) + "\n", "utf-8")
    fresh = folder / f"{CARD}.new"
    fresh.write_text(json.dumps(dataclasses.asdict(student.card), indent=2, sort_keys=True) + "\n", "utf-8")
    fresh.replace(folder / CARD)


def load(folder: Path) -> Student:
    """Read what `save` wrote.

    Raises:
        RunError: the folder holds no whole student, or one of another format, tokenizer or prompt than its card names.
    """
    card = _read_card(folder)
    hint = "Train again: `reasoningrec train --run DIR`."
    if card.prompt != prompts.digest(PROMPT):
        raise RunError(f"{folder}: the student was trained with another version of the prompt {PROMPT}.md", hint=hint)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model = _read_model(folder)
        rows = json.loads((folder / TEXTS).read_text("utf-8"))
        texts = tuple(Wording(label, tuple(cites), tuple(tokens)) for label, cites, tokens in rows)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{folder}: the student is damaged: {error}", hint=hint) from None
    if tokenizer_digest(tokenizer) != card.tokenizer:
        raise RunError(f"{folder}: tokenizer.json is not the one the student was trained with", hint=hint)
    if model.get_input_embeddings().num_embeddings != len(tokenizer):
        raise RunError(f"{folder}: the model and its tokenizer have different vocabularies", hint=hint)
    decision_ids(tokenizer)
    return Student(model.eval(), tokenizer, TrainConfig.model_validate(dict(card.train)), card, texts)


def card_of(
    tokenizer: PreTrainedTokenizerFast, config: TrainConfig, data: str, metrics: Mapping[str, float | int | None]
) -> Card:
    """The card of a student trained with `config` on data of fingerprint `data`."""
    return Card(
        config.base, tokenizer_digest(tokenizer), prompts.digest(PROMPT), data, config.model_dump(), dict(metrics)
    )


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of a tokenizer's vocabulary, merges and rules, in hex."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def _read_card(folder: Path) -> Card:
    path = folder / CARD
    try:
        raw = json.loads(path.read_text("utf-8"))
        card = Card(**raw)
    except FileNotFoundError:
        raise RunError(f"{folder}: holds no trained student", hint="`reasoningrec train --run DIR`.") from None
    except (ValueError, TypeError, OSError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    if card.format != FORMAT:
        raise RunError(f"{path}: has format {card.format}, this version reads {FORMAT}", hint="Train again.")
    return card


def _read_model(folder: Path) -> Any:
    shape = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.random.fork_rng(devices=()):
        model: Any = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)  # type: ignore[no-untyped-call]
    weights, named = load_file(folder / WEIGHTS), dict(model.named_parameters())
    if different := sorted(weights.keys() ^ named.keys()):
        raise ValueError(f"{WEIGHTS} and config.json disagree on {different[0]}")
    with torch.no_grad():
        for name, weight in named.items():
            if weight.shape != weights[name].shape:
                raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, not {tuple(weight.shape)}")
            weight.copy_(weights[name])
    return model


def _nano(config: TrainConfig, texts: Sequence[str], seed: int) -> tuple[Any, PreTrainedTokenizerFast]:
    tokenizer = _phrase_bpe(texts, config.vocabulary)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),  # text of few patterns gives fewer merges than asked for
        hidden_size=config.hidden,
        intermediate_size=-(-config.hidden * 8 // 3 // 32) * 32,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_tokens + ROOM_TO_WRITE,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return LlamaForCausalLM(shape), tokenizer


def _phrase_bpe(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `size` tokens whose merges may cross spaces; citations, slots and decisions are whole.

    Prompts and reasons repeat whole phrases, so merging past words (SuperBPE, Liu et al. 2025) cuts a prompt by a third
    and a text by half: few choices, which a small model can learn from a few hundred rows.
    """
    special = [tokenizers.AddedToken(token, special=True, normalized=False) for token in (END, PAD)]
    decisions = [tokenizers.AddedToken(word, single_word=True, normalized=False) for word in DECISIONS]
    words = [tokenizers.AddedToken(word, normalized=False) for word in (*(f"[{id_}]" for id_ in CITATIONS), *SLOTS)]
    tokenizer = tokenizers.Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(tokenizers.Regex(APART), "isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special) - len(decisions) - len(words),
        min_frequency=LEAST_SEEN,
        max_token_length=LONGEST_TOKEN,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    between = re.compile("|".join(re.escape(word.content) for word in words))
    sample = texts[:: -(-len(texts) // SAMPLE) or 1]
    tokenizer.train_from_iterator((part for text in sample for part in between.split(text) if part), trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([*decisions, *words])
    make: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerFast,
        make(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False),
    )


BASES: Final[Mapping[str, Callable[[TrainConfig, Sequence[str], int], tuple[Any, PreTrainedTokenizerFast]]]] = {
    "nano": _nano
}
