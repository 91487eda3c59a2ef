"""A student that a server answers for: the same prompts, token by token, and the same reading of its answers.

What a server cannot be told is to hold a text to the ids that may be cited, as `speak` does: texts are asked for with
what they will cite written before them, and those that cite anything else fail the gates that judge them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from reasoningrec.errors import StudentError, TeacherError
from reasoningrec.llm import likelihoods
from reasoningrec.llm.client import Client, Opened, Reply, Request, Usage
from reasoningrec.llm.likelihoods import Chance, Word
from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.deliberate import Reasons, asked_after, drafts_of
from reasoningrec.student.encode import decision_ids, encode_prompt
from reasoningrec.student.form import CUE, DECISIONS, WHY
from reasoningrec.student.local import Scored
from reasoningrec.student.speech import SAMPLE, Speech
from reasoningrec.student.write import Draft, WriteLimits, draft_of, opened_texts

Connect = Callable[[], AbstractContextManager[Client]]
REFUSED: Final = ("HTTP 400", "HTTP 413", "HTTP 422")
AGAIN: Final = "When the server is well, the same command goes on from here."


@dataclass(eq=False)
class Served:
    """See the module.

    Attributes:
        student: with all but its model.
        connect: opens the client that asks.
        spent: what was asked and used since this was made, the cache's part left out.
    """

    student: Student
    connect: Connect
    spent: Usage = field(default_factory=Usage)
    cached: int = 0

    def score(self, cases: Sequence[Case]) -> list[Scored]:
        """P(Yes) of each case, in the order of `cases`.

        Raises:
            StudentError: a prompt does not fit into `train.max_tokens`, or the server cannot go on.
            ConfigError: its key is not in the environment.
        """
        prompts = {n: self._prompt(case) for n, case in enumerate(cases)}
        found = self._chances(prompts, [case.query.id for case in cases])
        return [found[n] for n in range(len(cases))]

    def write(
        self, cases: Sequence[Case], decisions: Sequence[bool], limits: WriteLimits, attempt: int = 0
    ) -> list[Draft]:
        """A draft for each case that agrees with its decision, as `write.write`. Raises as `score` does."""
        opened, _ = opened_texts(self.student, cases, decisions, limits)
        replies = self._texts(cases, opened, limits, attempt)
        return [
            draft_of(case, decision, WHY + reply.text, self.student, whole=reply.finish == "stop")
            for case, decision, reply in zip(cases, decisions, replies, strict=True)
        ]

    def deliberate(self, cases: Sequence[Case], limits: WriteLimits) -> list[tuple[Scored, Draft]]:
        """P(Yes) of each case after the reasons written for it, as `deliberate.deliberate`. Raises as `score` does."""
        prompts = [self._prompt(case) for case in cases]
        replies = self._texts(cases, prompts, limits, 0)
        reasons = [Reasons.of(f"{reply.text}\n" if reply.finish == "stop" else reply.text) for reply in replies]
        asked = asked_after(self.student.tokenizer, prompts, reasons)
        found = self._chances(asked, [case.query.id for case in cases])
        drafts = drafts_of(cases, reasons, {n: one.p for n, one in found.items()})
        lost = Scored(None, "unanswered")
        return [
            (found.get(n, Scored(None) if replies[n].answered else lost), draft) for n, (_, draft) in enumerate(drafts)
        ]

    def _prompt(self, case: Case) -> tuple[int, ...]:
        return encode_prompt(case, self.student.tokenizer, self.student.config.max_tokens).tokens

    def _chances(self, prompts: dict[int, tuple[int, ...]], ids: Sequence[str]) -> dict[int, Scored]:
        words = words_of(self.student.tokenizer)
        # Prompts that begin alike go out next to each other: the server has that beginning in its cache.
        places = sorted(prompts, key=lambda n: prompts[n])
        asked = (
            Request(str(n), (), (), opened=Opened(prompts[n], as_text(self.student, prompts[n]), likelihoods=True))
            for n in places
        )
        replies = self._ask(asked, len(places))
        return {n: _scored(replies[str(n)], words, ids[n]) for n in places}

    def _texts(
        self, cases: Sequence[Case], prompts: Sequence[tuple[int, ...]], limits: WriteLimits, attempt: int
    ) -> list[Reply]:
        end, mark = _end(self.student.tokenizer)

        def request(n: int) -> Request:
            text = as_text(self.student, prompts[n])
            opened = Opened(prompts[n], text, limits.max_new_tokens, limits.temperature, end=end, stop=CUE)
            return Request(str(n), (), (), seed=_seed(f"{cases[n].query.id}/{attempt}"), opened=opened)

        places = sorted(range(len(prompts)), key=lambda n: prompts[n])
        replies = self._ask((request(n) for n in places), len(places), refusable=True)
        return [_without(replies[str(n)], mark) for n in range(len(prompts))]

    def _ask(self, requests: Iterable[Request], count: int, *, refusable: bool = False) -> dict[str, Reply]:
        """Replies by the request's id; `refusable`: whether the server may refuse every one, as too long."""
        replies: dict[str, Reply] = {}
        if not count:
            return replies
        try:
            with self.connect() as client:
                try:
                    replies.update((reply.request_id, reply) for reply in client.answer(requests))
                finally:
                    self._note(client)
        except TeacherError as error:
            raise StudentError(str(error.args[0]), hint=error.hint) from None
        why = next(iter(replies.values())).error
        if not any(reply.answered for reply in replies.values()) and not (refusable and why.startswith(REFUSED)):
            raise StudentError(f"not one of {count} requests to the student was answered: {why}", hint=AGAIN)
        return replies

    def _note(self, client: Client) -> None:
        spending = getattr(client, "spending", None)
        if spending is not None:
            self.spent += Usage(spending.asked, spending.usage.input_tokens, spending.usage.output_tokens)
            self.cached += spending.cached


def words_of(tokenizer: Any) -> tuple[Word, Word]:
    """No and Yes, as tokens to look for."""
    no, yes = decision_ids(tokenizer)
    if isinstance(tokenizer, Speech):
        said = [tokenizer.said(label).removeprefix(CUE[1:]) for label in (False, True)]
    else:
        said = list(DECISIONS)
    return Word(no, said[0]), Word(yes, said[1])


def sample(student: Student) -> Opened:
    """A prompt to try a server with."""
    tokenizer = student.tokenizer
    tokens = tokenizer.prompt(SAMPLE + CUE) if isinstance(tokenizer, Speech) else tuple(tokenizer.encode(SAMPLE + CUE))
    return Opened(tokens, as_text(student, tokens))


def as_text(student: Student, tokens: Sequence[int]) -> str | None:
    """The text that the student's tokenizer, left to itself, reads to `tokens`; None where there is none.

    A beginning of text that the tokenizer adds is left out, for a server adds it as well.
    """
    plain = student.tokenizer.tokenizer if isinstance(student.tokenizer, Speech) else student.tokenizer
    rest = tokens[1:] if tokens[0] == plain.bos_token_id else tokens
    texts = (str(plain.decode(list(some), clean_up_tokenization_spaces=False)) for some in (rest, tokens))
    return next((text for text in texts if list(plain(text)["input_ids"]) == list(tokens)), None)


def _scored(reply: Reply, words: tuple[Word, Word], id: str) -> Scored:
    if not reply.answered:
        return Scored(None, "unanswered")
    try:
        found = likelihoods.chance(likelihoods.loads(reply.text), words)
    except (ValueError, TypeError):
        raise StudentError(
            f"query {id}: its answer in the cache is none", hint="`reasoningrec cache verify`."
        ) from None
    return _told(found)


def _told(found: Chance) -> Scored:
    return Scored(found.p, "bounded" if found.bounded else "")


def _end(tokenizer: Any) -> tuple[int, str]:
    """The token that ends an answer, and how it is written."""
    if isinstance(tokenizer, Speech):
        return tokenizer.end, str(tokenizer.tokenizer.decode([tokenizer.end]))
    return int(tokenizer.eos_token_id), str(tokenizer.eos_token)


def _without(reply: Reply, mark: str) -> Reply:
    """A reply without the end that some servers write out."""
    text, ended, _ = reply.text.partition(mark)
    finish = "stop" if ended else reply.finish
    return Reply(reply.request_id, text, reply.usage, reply.error, reply.answered, finish)


def _seed(text: str) -> int:
    """A seed that every server takes."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
