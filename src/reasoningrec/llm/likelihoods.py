"""How likely a server says that the next tokens are, as the servers write it, and the probability of one of two.

The completions of OpenAI, vLLM, SGLang and llama-cpp-python name tokens by their text; vLLM names them by their number
when it is asked to, and llama.cpp's own server gives number and text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

NUMBERED: Final = "token_id:"
"""How vLLM begins the name of a token that it names by its number."""
SPACES: Final = str.maketrans("\u0120\u2581", "  ")
"""Signs that vocabularies have for a space."""
ROUNDING: Final = 1e-3
"""A log-probability may lie above 0 by so much."""


class Likelihood(NamedTuple):
    """One of the tokens that a server finds likeliest."""

    name: str
    id: int | None
    """Its number, where the server says it."""
    log: float
    """Natural logarithm of its probability."""


@dataclass(frozen=True, slots=True)
class Word:
    """A token to look for."""

    id: int
    text: str
    """What it adds to a text, its space included."""


class Chance(NamedTuple):
    """P(the second of two words), given that it is one of them."""

    p: float | None
    """None where the server does not say."""
    bounded: bool = False
    """Whether one word was not among those the server names: it is taken to be as likely as the least of these."""


def read(logprobs: Any) -> list[Likelihood] | None:
    """The likelihoods at the first place, of a choice's `logprobs`; None where there are none.

    Raises KeyError, IndexError, TypeError, ValueError or AttributeError for what is of neither form.
    """
    if not logprobs:
        return None
    if isinstance(logprobs.get("content"), list):
        tops = logprobs["content"][0]["top_logprobs"]
        return [_likelihood(str(one["token"]), one.get("id"), one["logprob"]) for one in tops] or None
    tops = (logprobs.get("top_logprobs") or [None])[0]
    return [_likelihood(str(name), None, log) for name, log in tops.items()] if tops else None


def _likelihood(name: str, id: Any, log: Any) -> Likelihood:
    if id is None and name.startswith(NUMBERED):
        id = int(name.removeprefix(NUMBERED))
    return Likelihood(name, None if id is None else int(id), float(log))


def dumps(likelihoods: Sequence[Likelihood]) -> str:
    """As a text that `loads` reads."""
    return json.dumps([list(one) for one in likelihoods], ensure_ascii=False)


def loads(text: str) -> list[Likelihood]:
    """From a text of `dumps`. Raises ValueError or TypeError for another."""
    return [Likelihood(*one) for one in json.loads(text)]


def chance(likelihoods: Sequence[Likelihood], words: tuple[Word, Word]) -> Chance:
    """P of the second word: softmax over the two.

    Where one of them is not among the tokens named, its log-probability is at most that of the least likely of these,
    and is taken to be that: P is then nearer to 1/2 than the model's. There is none where both are missing, or a number
    is no log-probability.
    """
    logs = [_find(likelihoods, word) for word in words]
    if all(log is None for log in logs) or any(log is not None and not _is_log(log) for log in logs):
        return Chance(None)
    bounded = None in logs
    if bounded and not all(_is_log(one.log) for one in likelihoods):
        return Chance(None)
    least = min(one.log for one in likelihoods)
    first, second = (least if log is None else log for log in logs)
    if first == second == -math.inf:
        return Chance(None)
    apart = min(max(first - second, -700.0), 700.0)
    return Chance(1 / (1 + math.exp(apart)), bounded)


def _is_log(log: float) -> bool:
    return log <= ROUNDING  # false for nan


def _find(likelihoods: Sequence[Likelihood], word: Word) -> float | None:
    """The log-probability of `word`: by number, else by text, else by text but for spaces where one alone has it."""
    if any(one.id is not None for one in likelihoods):
        return next((one.log for one in likelihoods if one.id == word.id), None)
    named = [(one.name.translate(SPACES), one.log) for one in likelihoods]
    exact = [log for name, log in named if name == word.text]
    like = exact or [log for name, log in named if name.strip() == word.text.strip()]
    return like[0] if len(like) == 1 else None
