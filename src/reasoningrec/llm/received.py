"""What came of one try, read: an answer, a failure that may pass, or one that every other request would meet too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from reasoningrec.llm import likelihoods
from reasoningrec.llm.client import Answer, Usage
from reasoningrec.llm.forms import part_thinking, problem
from reasoningrec.llm.likelihoods import Likelihood
from reasoningrec.llm.tokens import estimate

PASSING: Final = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
"""Status codes after which another try can help."""
FATAL: Final[Mapping[int, str]] = {
    401: "The server does not accept the key: `key_env` names the environment variable that is to hold it.",
    402: "The account is empty. Every answer so far is kept; the same command goes on from here.",
    403: "The key may not use this: see `key_env` and `model`.",
    404: "Is `endpoint` right (most end in /v1), and does the server know the `model`?",
    405: "Is `endpoint` right (most end in /v1)?",
}
"""Status codes after which every other request would fail as well, and what to do."""
LONGEST_WAIT: Final = 900.0
"""Seconds that a server may ask to wait for; beyond, the run stops and can be taken up later."""
MOST_TOKENS: Final = 10**9
"""A count above is none."""
SHOWN: Final = 2000
"""Signs of what is no answer that are kept."""
SILENT: Final = "the server gives no log-probabilities, from which a decision is read"
GIVERS: Final = (
    "vLLM, SGLang and llama.cpp's server give them; llama-cpp-python with `--logits_all true`; `transformers serve` "
    "does not."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try."""

    answer: Answer
    again: bool = False
    """Whether another try can help."""
    pause: float | None = None
    """Seconds the server asks to wait."""
    too_many: bool = False
    fatal: str = ""
    """What to do, where every other request would fail too."""


def lost(error: str) -> Outcome:
    """Nothing came, or not all of it."""
    return Outcome(Answer("", error=error, received=False), again=True)


def refused(status: int, text: str, headers: Mapping[str, str]) -> Outcome:
    """A status other than 200."""
    answer = Answer(text[:SHOWN], error=f"HTTP {status}: {detail(text)}", received=False)
    if status == 429 and "insufficient_quota" in text:
        return Outcome(answer, fatal="The account's quota is used up: the same command goes on when it is not.")
    if status in FATAL:
        return Outcome(answer, fatal=FATAL[status])
    if 300 <= status < 400:
        return Outcome(answer, fatal=f"Set `endpoint` to where the server points: {headers.get('Location', '')[:200]}")
    pause = pause_of(headers.get("Retry-After", ""))
    if pause is not None and pause > LONGEST_WAIT:
        return Outcome(answer, fatal=f"The server asks to come back in {pause:.0f} seconds; the same command goes on.")
    return Outcome(answer, again=status in PASSING, pause=pause, too_many=status in (429, 503, 529))


def received(text: str, seconds: float, prompt_tokens: int) -> Outcome:
    """A 200: an answer, or something that may be one at the next try.

    Args:
        text: the body.
        seconds: that it took.
        prompt_tokens: of the request, for a server that does not count.
    """
    whole = parsed(text)
    try:
        choice = whole["choices"][0]
        message = choice["message"]
        content, refusal = _written(message.get("content")), message.get("refusal")
        finish = str(choice.get("finish_reason") or "stop")
        aside = _written(message.get("reasoning_content") or message.get("reasoning"))
    except (KeyError, IndexError, TypeError, AttributeError):
        return unread(text, "a chat server")
    said, thoughts = part_thinking(content)
    thinking = "\n".join(part for part in (aside, thoughts) if part)
    error, said = problem(said, refusal, finish, thinking)
    usage = usage_of(whole.get("usage"), Usage(1, prompt_tokens, estimate(filter(None, (content, aside)))))
    return Outcome(Answer(said, thinking, finish, usage, seconds, error))


class Choice(NamedTuple):
    """What a server wrote, and how likely it says that the first token was."""

    text: str
    finish: str
    likelihoods: list[Likelihood] | None
    """None where it does not say."""
    usage: Usage


def first_choice(text: str, of: Callable[[Any], object], prompt_tokens: int) -> Choice | None:
    """The first choice in the body of a 200, whose text `of` finds; None where the body is of another form."""
    whole = parsed(text)
    try:
        choice = whole["choices"][0]
        written, finish = str(of(choice) or ""), str(choice.get("finish_reason") or "stop")
        found = likelihoods.read(choice.get("logprobs"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    guess = Usage(1, prompt_tokens, estimate([written]))
    return Choice(written, finish, found, usage_of(whole.get("usage"), guess))


def likely(choice: Choice, seconds: float) -> Outcome:
    """The likelihoods of a choice as an answer, whose text is `likelihoods.dumps` of them."""
    if not choice.likelihoods:
        return Outcome(Answer(choice.text[:SHOWN], error=SILENT, received=False), fatal=GIVERS)
    return Outcome(Answer(likelihoods.dumps(choice.likelihoods), "", choice.finish, choice.usage, seconds))


def unread(text: str, whose: str) -> Outcome:
    """The body of a 200 that is not of the form that `whose` have."""
    error = f"the answer is not one of {whose}: {detail(text)}"
    return Outcome(Answer(text[:SHOWN], error=error, received=False), again=True)


def pause_of(after: str) -> float | None:
    """Seconds of a Retry-After header, a number or a date; None where it is neither."""
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(after)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def parsed(text: str) -> Any:
    """What JSON says; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(content: object) -> str:
    """The text of a message's content; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def usage_of(counted: object, guess: Usage) -> Usage:
    """As the server counted; as guessed where it did not, or not in numbers that can be right."""
    counts = counted if isinstance(counted, dict) else {}
    return Usage(
        1,
        _tokens(counts.get("prompt_tokens"), guess.input_tokens),
        _tokens(counts.get("completion_tokens"), guess.output_tokens),
    )


def _tokens(count: Any, guess: int) -> int:
    try:
        number = int(count)
    except (TypeError, ValueError, OverflowError):
        return guess
    return number if 0 < number <= MOST_TOKENS else guess


def detail(text: str) -> str:
    """The message in a server's error."""
    error = parsed(text)
    if isinstance(error, dict):
        error = error.get("error", error)
    found = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return " ".join(str(found or text).split())[:300] or "no reason given"
