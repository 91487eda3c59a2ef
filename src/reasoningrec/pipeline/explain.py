"""Explanations of decisions: the student writes, the gates judge, the rule writer stands in."""

from __future__ import annotations

from collections.abc import Sequence

from reasoningrec.config import Config
from reasoningrec.llm.client import Request
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.pipeline.teach import material
from reasoningrec.records import Case, Explanation
from reasoningrec.student.bases import Student
from reasoningrec.student.write import WriteLimits, write
from reasoningrec.teacher import reason, verify


def explain(student: Student, cases: Sequence[Case], decisions: Sequence[bool], config: Config) -> list[Explanation]:
    """An explanation of each decision, in the order of `cases`; `origin` says who wrote it.

    A text of the student that fails a gate of `teacher.verify` is never shown: the offline writer, told the decision
    and not the truth, writes one by rule instead.
    """
    settings = config.predict
    limits = WriteLimits(
        settings.max_new_tokens, settings.batch_tokens, config.reason.max_reasons, settings.temperature
    )
    found: dict[int, Explanation] = {}
    for attempt in range(settings.tries if settings.temperature else 1):
        left = [place for place in range(len(cases)) if place not in found]
        drafts = write(student, [cases[n] for n in left], [decisions[n] for n in left], limits, attempt)
        for place, draft in zip(left, drafts, strict=True):
            text = Explanation(draft.query_id, draft.decision, draft.taste, draft.why, draft.citations, "student")
            if verify.verify(text, decisions[place], cases[place].evidence, config.reason).kept:
                found[place] = text
    return [found.get(n) or by_rule(case, decisions[n], config) for n, case in enumerate(cases)]


def by_rule(case: Case, decision: bool, config: Config) -> Explanation:
    """The offline writer's explanation of a decision."""
    asked = Request(case.query.id, (), reason.FIELDS, material(config, case, decision))
    reply = next(OfflineWriter().answer([asked]))
    written = reason.parse(reply, OfflineWriter.name)
    return Explanation(case.query.id, decision, written.taste, written.why, written.citations, written.origin)
