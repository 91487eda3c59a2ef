"""Rationales: taste, then why, for a known label (the paper: label-conditioned, in two steps).

Differs from the paper: every reason cites the line of evidence it rests on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reasoningrec import prompts
from reasoningrec.llm.client import ReasonMaterial, Reply, Request
from reasoningrec.records import Example, Rationale
from reasoningrec.teacher.answers import citations, decision, labelled


def request(material: ReasonMaterial) -> Request:
    """Ask for the rationale of one example."""
    case = material.case
    prompt = prompts.render(
        "reason",
        label=material.label,
        item_word=material.item_word,
        profile=case.profile,
        facts=case.evidence.facts,
        description=case.description,
        taste_words=material.taste_words,
        why_words=material.why_words,
        max_reasons=material.max_reasons,
    )
    return Request(case.query.id, prompt, material)


def parse(reply: Reply, origin: str) -> Rationale:
    """The rationale in `reply`. Raises TeacherError when it is not in the form asked for."""
    found = labelled(reply.text, ["Taste", "Prediction", "Why"])
    label = decision(found["Prediction"])
    return Rationale(reply.request_id, label, found["Taste"], found["Why"], citations(found["Why"]), origin)


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
