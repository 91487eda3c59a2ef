"""Explanations that can be trusted to be about the decision: the student writes, gates judge, the rule writer stands in."""

from __future__ import annotations

from collections.abc import Sequence

from reasoningrec.config import Config
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.pipeline.teach import material
from reasoningrec.records import Case, Explanation
from reasoningrec.student.bases import Student
from reasoningrec.student.write import WriteLimits, write
from reasoningrec.teacher import reason, verify


def explain(student: Student, cases: Sequence[Case], decisions: Sequence[bool], config: Config) -> list[Explanation]:
    """An explanation of each decision, in the order of `cases`; `origin` says who wrote it.

    A text of the student that fails a gate of `teacher.verify` is never shown: the offline writer, told the decision and
    not the truth, writes one by rule instead.
    """
    limits = WriteLimits(config.predict.max_new_tokens, config.predict.batch_tokens, config.reason.max_reasons)
    drafts = write(student, cases, decisions, limits)
    found = []
    for case, decision, draft in zip(cases, decisions, drafts, strict=True):
        text = Explanation(case.query.id, decision, draft.taste, draft.why, draft.citations, "student")
        kept = verify.verify(text, decision, case.evidence, config.reason).kept
        found.append(text if kept else by_rule(case, decision, config))
    return found


def by_rule(case: Case, decision: bool, config: Config) -> Explanation:
    """The offline writer's explanation of a decision."""
    reply = next(OfflineWriter().answer([reason.request(material(config, case, decision))]))
    written = reason.parse(reply, OfflineWriter.name)
    return Explanation(case.query.id, decision, written.taste, written.why, written.citations, written.origin)
