"""Which token comes next: what a configuration may say of it, and draws that each row makes for itself."""

# ruff: noqa: N803, N806
from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from transformers import (
    EpsilonLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from reasoningrec.config import ModelConfig
from reasoningrec.errors import ConfigError
from reasoningrec.rows import Json

TEMPLATE: Final = "chat_template_kwargs"
"""The name in `extra` of variables for the chat template, as vLLM calls it."""
DRAWING: Final[Mapping[str, Callable[[Any], Any]]] = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
    "epsilon_cutoff": EpsilonLogitsWarper,
}
"""How a distribution is shaped before a token is drawn, in this order; all but the first and third are for `extra`."""
WEIGHING: Final = frozenset(
    (
        "bad_words_ids",
        "begin_suppress_tokens",
        "early_stopping",
        "exponential_decay_length_penalty",
        "length_penalty",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "num_beams",
        "remove_invalid_values",
        "renormalize_logits",
        "repetition_penalty",
        "sequence_bias",
        "stop_strings",
        "suppress_tokens",
    )
)
"""Arguments of `generate` that `extra` may hold besides."""


class Draw:
    """The last of the logits processors: one token is drawn for each row, from the row's own generator.

    The token with the highest p / q, for q from the exponential distribution, is a draw by p (the Gumbel-max trick).
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, _: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        """`scores_BV` with all but the drawn token of each row barred."""
        chances_BV = torch.softmax(scores_BV.float(), -1)
        noise_BV = torch.empty_like(chances_BV)
        for noise_V, generator in zip(noise_BV, self._generators, strict=True):
            noise_V.exponential_(generator=generator)
        drawn_B1 = (chances_BV / noise_BV.clamp_min(1e-30)).argmax(-1, keepdim=True)
        return torch.full_like(scores_BV, float("-inf")).scatter_(-1, drawn_B1, 0.0)


def check(config: ModelConfig) -> None:
    """Raises ConfigError where a setting has no meaning for a model on this machine."""
    if config.answer_form == "schema":
        hint = 'Use "auto" or "lines", or serve the model with vLLM or llama.cpp and name its `endpoint`.'
        raise ConfigError('answer_form = "schema": a model on this machine is not held to a schema', hint=hint)
    allowed = WEIGHING | DRAWING.keys() - {"temperature", "top_p"} | {TEMPLATE}
    if unknown := sorted(config.extra.keys() - allowed):
        hint = f"Known are: {', '.join(sorted(allowed))}."
        raise ConfigError(f"extra.{unknown[0]}: is not known for a model on this machine", hint=hint)
    if is_drawn(config) and config.extra.get("num_beams", 1) != 1:
        raise ConfigError("extra.num_beams: beams are not drawn", hint="Set temperature = 0, or leave them out.")
    if not isinstance(config.extra.get(TEMPLATE, {}), dict):
        raise ConfigError(f"extra.{TEMPLATE}: is no table of names and values", hint="As { enable_thinking = false }.")
    for name in DRAWING.keys() & config.extra.keys():
        try:
            DRAWING[name](config.extra[name])
        except (ValueError, TypeError) as error:
            raise ConfigError(f"extra.{name}: {error}", hint="See `generate` of transformers.") from None


def is_drawn(config: ModelConfig) -> bool:
    """Whether tokens may be drawn; else the likeliest is taken."""
    return config.temperature > 0 or "temperature" in config.leave_out


def arguments(config: ModelConfig) -> dict[str, Json]:
    """Arguments of `generate` in `extra`."""
    return {name: value for name, value in config.extra.items() if name in WEIGHING}


def stops(config: ModelConfig) -> tuple[str, ...]:
    """Texts that end an answer. Raises ConfigError where they are none."""
    given = config.extra.get("stop_strings", ())
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else (None,)
    if not all(isinstance(text, str) and text for text in texts):
        raise ConfigError("extra.stop_strings: are no texts", hint='As ["\\n\\n"].')
    return texts


def processors(config: ModelConfig, native: Any, keys: Sequence[str], device: torch.device) -> LogitsProcessorList:
    """What turns the scores of a batch into draws; nothing where the likeliest tokens are taken.

    Args:
        config: temperature, top_p, and `extra`.
        native: the model's own GenerationConfig, for what is left out.
        keys: of the rows' requests, as seeds.
        device: of the scores.
    """
    values = _shaping(config, native)
    if not values["temperature"]:
        return LogitsProcessorList()
    shaped = [make(values[name]) for name, make in DRAWING.items() if name in values]
    return LogitsProcessorList([*shaped, Draw([_seed(key) for key in keys], device)])


def _shaping(config: ModelConfig, native: Any) -> dict[str, Any]:
    """Temperature (0 = take the likeliest) and all else that shapes the distribution."""
    left = {"temperature": (native.temperature or 1.0) if native.do_sample else 0.0, "top_p": native.top_p or 1.0}
    given = {"temperature": config.temperature, "top_p": config.top_p}
    values: dict[str, Any] = {name: left[name] if name in config.leave_out else given[name] for name in given}
    if values["top_p"] == 1.0:
        del values["top_p"]
    return {**values, **{name: value for name, value in config.extra.items() if name in DRAWING}}


def _seed(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
