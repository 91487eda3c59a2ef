"""A student on this machine, asked in the same words as one that a server answers for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.deliberate import deliberate
from reasoningrec.student.score import score
from reasoningrec.student.write import Draft, WriteLimits, write


class Scored(NamedTuple):
    """What was said to one query."""

    p: float | None
    """P(Yes); None where there is no number."""
    note: str = ""
    """Of a server: "bounded", one decision was not among the tokens it named; "unanswered", no answer came."""


@dataclass(frozen=True, slots=True)
class Local:
    """A student and how many tokens it reads at once. Every method answers in the order of `cases`.

    Each raises StudentError where a prompt does not fit into `train.max_tokens`.
    """

    student: Student
    batch_tokens: int

    def score(self, cases: Sequence[Case]) -> list[Scored]:
        """P(Yes) of each case, as `score.score`."""
        return [Scored(p) for p in score(self.student, cases, self.batch_tokens)]

    def write(
        self, cases: Sequence[Case], decisions: Sequence[bool], limits: WriteLimits, attempt: int = 0
    ) -> list[Draft]:
        """A draft for each case that agrees with its decision, as `write.write`."""
        return write(self.student, cases, decisions, limits, attempt)

    def deliberate(self, cases: Sequence[Case], limits: WriteLimits) -> list[tuple[Scored, Draft]]:
        """P(Yes) of each case after the reasons written for it, as `deliberate.deliberate`."""
        return [(Scored(p), draft) for p, draft in deliberate(self.student, cases, limits)]
