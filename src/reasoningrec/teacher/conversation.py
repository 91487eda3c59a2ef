"""How one text comes about: requests and replies, as a generator that can wait anywhere for any client.

A conversation yields a request, is sent its reply, and returns what came of it in the end. An answer that cannot be
used is followed by one request to write it again, with the reason; what cannot be used then either is a failure, kept
with what was asked and what came.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from reasoningrec import prompts
from reasoningrec.errors import TeacherError
from reasoningrec.llm.client import Message, Reply, Request, Usage
from reasoningrec.rows import Row, to_row

T = TypeVar("T")
REPEATED = 4000
"""Signs of a wrong answer that are shown to the model again."""


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What came of a conversation: a text, or why there is none."""

    request: Request
    """The last that was put."""
    text: T | None
    usage: Usage = field(default_factory=Usage)
    error: str = ""
    answer: str = ""
    """The last that came, raw."""
    answered: bool = True
    """False where no answer was received."""
    tries: int = 1

    def row(self) -> Row:
        """As the artifact keeps it, failures included."""
        used = {**to_row(self.usage), "tries": self.tries}
        if self.text is not None:
            return {**to_row(self.text), **used, "status": "done"}
        asked = [to_row(message) for message in self.request.messages]
        return {"key": self.request.id, "status": "failed", "error": self.error, "messages": asked,
                "answer": self.answer, "answered": self.answered, **used}  # fmt: skip


EXTRAS = ("status", "calls", "input_tokens", "output_tokens", "tries")
"""What a row of a text has beside the text's own fields."""
Conversation = Generator[Request, Reply, Result[T]]


def ask(request: Request, read: Callable[[Reply], T]) -> Conversation[T]:
    """One request and, where its answer cannot be used, one repair.

    Args:
        request: what to ask.
        read: a reply as a text; raises TeacherError where it is not in the form asked for.
    """
    first = _result(request, (yield request), read)
    if first.text is not None or not first.answered:
        return first
    again = repair(request, first.answer, first.error)
    second = _result(again, (yield again), read)
    return replace(second, usage=first.usage + second.usage)


def repair(request: Request, answer: str, problem: str) -> Request:
    """Ask for the same again, after an answer that cannot be used because of `problem`."""
    complaint = prompts.render("repair", problem=problem.rstrip(".")).strip()
    more = (Message("assistant", answer[:REPEATED] or "..."), Message("user", complaint))
    return replace(request, messages=(*request.messages, *more))


def _result(request: Request, reply: Reply, read: Callable[[Reply], T]) -> Result[T]:
    if reply.error:
        return Result(request, None, reply.usage, reply.error, reply.text, reply.answered)
    try:
        return Result(request, read(reply), reply.usage, answer=reply.text)
    except TeacherError as error:
        return Result(request, None, reply.usage, str(error), reply.text)


def finished(conversation: Conversation[Any], reply: Reply | None = None) -> Request | Result[Any]:
    """Go on with `reply` (None = begin): the next request, or the result where it is over."""
    try:
        return next(conversation) if reply is None else conversation.send(reply)
    except StopIteration as end:
        result: Result[Any] = end.value
        return result
