"""Causal LMs of several architectures, built and trained on the spot in a second each.

They learn whether more tokens speak for Yes than for No, later ones weighing more, so that a wrong mask, position or
prefix changes what they say. A model at random says much the same of everything and would pass anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as hf

NO, YES = 1, 2
WORDS = range(3, 35)
SIZES = {
    "vocab_size": 35,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GEMMA = {**SIZES, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 12}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**SIZES, sliding_window=12)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**SIZES, head_dim=16)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**GEMMA, attn_logit_softcapping=3.0, final_logit_softcapping=4.0)
    ),
    "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GEMMA, sliding_window_pattern=2)),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(
            vocab_size=35, n_embd=32, n_layer=3, n_head=4, n_positions=256, initializer_range=0.15,
            bos_token_id=None, eos_token_id=None,
        )
    ),
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**SIZES, logits_scaling=2.0)),
    "cohere": lambda: hf.CohereForCausalLM(hf.CohereConfig(**SIZES, logit_scale=0.5)),
    "bloom": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(
            vocab_size=35, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.15, bos_token_id=None,
            eos_token_id=None,
        )
    ),
    "gpt-oss": lambda: hf.GptOssForCausalLM(
        hf.GptOssConfig(
            **SIZES, head_dim=16, sliding_window=12, num_local_experts=2, num_experts_per_tok=1,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    ),
}  # fmt: skip


@cache
def grown(family: str, steps: int = 60) -> Any:
    """A trained model, in evaluation mode. It is shared between tests: leave it as it is."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = FAMILIES[family]().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
        for step in range(steps):
            length = 12 + step * 7 % 33
            tokens_BT = torch.randint(WORDS.start, WORDS.stop, (32, length))
            weights_T = torch.linspace(0.3, 1.0, length)
            labels_B = (((tokens_BT % 2 * 2 - 1) * weights_T).sum(1) > 0).long()
            logits_B2 = model(input_ids=tokens_BT, use_cache=False).logits[:, -1, [NO, YES]]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits_B2, labels_B).backward()
            optimizer.step()
    return model.eval()


def prompts_of(seed: int, users: list[tuple[int, list[int]]]) -> list[tuple[int, ...]]:
    """In any order: for each user (tokens of the prefix, tokens of each suffix)."""
    luck = random.Random(seed)
    found = []
    for prefix, suffixes in users:
        shared = luck.choices(WORDS, k=prefix)
        found += [(*shared, *luck.choices(WORDS, k=length)) for length in suffixes]
    luck.shuffle(found)
    return found


@torch.inference_mode()
def one_by_one(model: Any, prompts: list[tuple[int, ...]]) -> list[float]:
    """P(Yes) by the model's own logits, a prompt at a time."""
    logits_B2 = torch.stack([model(torch.tensor([prompt])).logits[0, -1, [NO, YES]] for prompt in prompts])
    return torch.softmax(logits_B2.double(), -1)[:, 1].tolist()
