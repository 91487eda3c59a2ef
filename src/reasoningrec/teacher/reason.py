"""Rationales: taste, then why (the paper: in two steps, for a known label).

Differs from the paper: every reason cites the line of evidence it rests on; the writer may first be asked without the
label (`reason.mode`); and what fails a gate is asked for again with the reason, up to `reason.tries` times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reasoningrec.llm.client import ReasonMaterial, Reply, Request, Usage
from reasoningrec.records import Example, Rationale
from reasoningrec.teacher.answers import citations, decision, read
from reasoningrec.teacher.conversation import Conversation, ask, repair
from reasoningrec.teacher.wording import Wording

FIELDS = ("Taste", "Prediction", "Why")


def request(material: ReasonMaterial, wording: Wording, *, hinted: bool = True, seed: int = 0) -> Request:
    """Ask for the rationale of one example; `hinted`: whether the label is told."""
    case = material.case
    values: dict[str, object] = {"label": material.label} if hinted else {}
    messages = wording.ask(
        "reason" if hinted else "reason-unhinted",
        profile=case.profile,
        facts=case.evidence.facts,
        history=case.query.history,
        items=case.items,
        item_texts={item: case.item_texts.get(item, "") for item in case.items},
        target=case.target,
        description=case.description,
        taste_words=material.taste_words,
        why_words=material.why_words,
        max_reasons=material.max_reasons,
        **values,
    )
    words = material.taste_words + material.why_words
    known = material if hinted else replace(material, label=None)
    return Request(case.query.id, messages, FIELDS, known, words, seed)


def parse(reply: Reply, origin: str, *, hinted: bool = True) -> Rationale:
    """The rationale in `reply`. Raises TeacherError when it is not in the form asked for."""
    found = read(reply.text, FIELDS)
    label = decision(found["Prediction"])
    why = found["Why"]
    return Rationale(reply.request_id, label, found["Taste"], why, citations(why), origin, hinted)


@dataclass(frozen=True)
class Asking:
    """How rationales are asked for."""

    wording: Wording
    origin: str
    """Who writes."""
    unhinted_first: bool
    tries: int
    problems: Callable[[Rationale], Sequence[str]]
    """What is wrong with a text, in words; nothing = it is kept."""
    seed: int = 0


def conversation(material: ReasonMaterial, how: Asking) -> Conversation[Rationale]:
    """Ask until a rationale for the label passes, at most `how.tries` times.

    The first is asked without the label where `how.unhinted_first`; one that comes to the other label is followed by
    one that is told. A text for the right label that fails a gate is asked for again, with what is wrong. Where none
    passes, the last that could be read is the result: the gates will drop and count it.
    """
    hinted, usage, best = not how.unhinted_first, Usage(), None
    put = request(material, how.wording, hinted=hinted, seed=how.seed)
    for attempt in range(1, how.tries + 1):
        told = hinted
        result = yield from ask(put, lambda reply: parse(reply, how.origin, hinted=told))  # noqa: B023 - used at once
        usage += result.usage
        result = replace(result, usage=usage, tries=attempt)
        text = result.text
        if text is None:
            if not result.answered:
                return result
            put = request(material, how.wording, hinted=hinted, seed=how.seed + attempt)
        elif text.label is not material.label and not hinted:
            hinted = True
            put = request(material, how.wording, seed=how.seed + attempt)
        else:
            problems = how.problems(text)
            if not problems:
                return result
            put = replace(repair(result.request, result.answer, "; ".join(problems)), seed=how.seed + attempt)
        best = result if text is not None or best is None else replace(best, usage=usage, tries=attempt)
    assert best is not None
    return best


def shots(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """At most `count` examples, as many of each label as there are, drawn with `seed`; 0 = all. Sorted by query id."""
    if not count or count >= len(examples):
        return sorted(examples, key=lambda example: example.query.id)
    rng = np.random.default_rng(seed)
    sides = [[example for example in examples if example.label is label] for label in (True, False)]
    smaller = min(count // 2, *map(len, sides))
    larger = 0 if len(sides[0]) >= len(sides[1]) else 1
    wanted = {larger: count - smaller, 1 - larger: smaller}
    drawn = [sides[side][index] for side in (0, 1) for index in rng.permutation(len(sides[side]))[: wanted[side]]]
    return sorted(drawn, key=lambda example: example.query.id)
