"""Reasons first: the student says why, and its decision is read from the logits after its own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import Prompt, encode_prompt, parse_reasons
from reasoningrec.student.form import CUE, TASTE, WHY
from reasoningrec.student.score import Done, batches, probabilities
from reasoningrec.student.speak import Manners, Wanted, write_on
from reasoningrec.student.speech import Speech
from reasoningrec.student.write import Choice, Draft, WriteLimits, masks_of, room_for


def deliberate(
    student: Student, cases: Sequence[Case], limits: WriteLimits, attempt: int = 0, progress: Done | None = None
) -> list[tuple[float | None, Draft]]:
    """P(Yes) of each case after the reasons written for it, and those reasons, in the order of `cases`.

    A text can cite any line that its prompt shows, each once, at most `max_reasons`. P(Yes) is read after the text as
    training would have written it out; it is None, and `why` empty, where the text is not of the form.

    Args:
        student: one that learned to reason first.
        cases: what may be shown of each query.
        limits: lengths, the number of reasons, and how freely words are chosen.
        attempt: number of this try at the same cases.
        progress: told how many texts are written.

    Raises:
        StudentError: a prompt does not fit into `train.max_tokens`.
    """
    speech: Speech = student.tokenizer
    prompts = [encode_prompt(case, speech, student.config.max_tokens) for case in cases]
    masks = masks_of(student)
    found: dict[int, str] = {}
    for batch in batches([len(prompt.tokens) for prompt in prompts], limits.batch_tokens):
        opened = [prompts[n].tokens for n in batch]
        wanted = [_any_of(prompts[n], limits.max_reasons) for n in batch]
        manners = Manners(masks, wanted, end_line=True)
        choice = Choice(limits.temperature, [f"{cases[n].query.id}/{attempt}" for n in batch])
        written = write_on(student.model, opened, manners, choice, room_for(student, opened, limits))
        texts = (speech.text([token for token in tokens if token != speech.end]) for tokens in written)
        found.update(zip(batch, texts, strict=True))
        if progress:
            progress(len(found), len(cases))
    reasons = [Reasons.of(found[n]) for n in range(len(cases))]
    asked = asked_after(speech, [prompt.tokens for prompt in prompts], reasons)
    answers = probabilities(student.model, speech.decisions, list(asked.values()), limits.batch_tokens)
    return drafts_of(cases, reasons, dict(zip(asked, answers, strict=True)))


def _any_of(prompt: Prompt, most: int) -> Wanted:
    return lambda cited: prompt.citable.difference(cited) if len(cited) < most else frozenset()


class Reasons(NamedTuple):
    """What was written before a decision."""

    raw: str
    """From "Why:" on."""
    parts: tuple[str, str] | None
    """The why and the taste; None where the text is not whole."""

    @classmethod
    def of(cls, text: str) -> Reasons:
        """From what was written after "Why:"."""
        raw = WHY + text
        ended = re.search(rf"{TASTE}[^\n]*\n", raw)
        return cls(raw, parse_reasons(raw[: ended.end()], None) if ended else None)


def asked_after(
    speech: Speech, prompts: Sequence[Sequence[int]], reasons: Sequence[Reasons]
) -> dict[int, tuple[int, ...]]:
    """Place -> prompt and reasons up to the decision, for each of `prompts` whose reasons are whole."""
    return {
        n: (*prompts[n], *_written_out(speech, one.parts)) for n, one in enumerate(reasons) if one.parts is not None
    }


def drafts_of(
    cases: Sequence[Case], reasons: Sequence[Reasons], chances: Mapping[int, float | None]
) -> list[tuple[float | None, Draft]]:
    """P(Yes) by place, where there is one, and the reasons before it."""
    found = []
    for n, (case, (raw, parts)) in enumerate(zip(cases, reasons, strict=True)):
        p = chances.get(n)
        draft = Draft(case.query.id, (p or 0.0) >= 0.5, "", "", raw)
        if parts:
            why, taste = parts
            draft = replace(draft, why=why, taste=taste)
        found.append((p, draft))
    return found


def _written_out(speech: Speech, parts: tuple[str, str]) -> tuple[int, ...]:
    """Tokens of the reasons up to the decision, as training has them."""
    why, taste = parts
    text = f" {why}{TASTE} {taste}\n{speech.said(True)}"
    assert CUE[1:] in text
    return speech.after(speech.opening, text)[:-1]
