"""What the student answers, and explanations of decisions: it writes, the gates judge, the rule writer stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reasoningrec.config import NANO, Config
from reasoningrec.llm.client import Request
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.pipeline.teach import material
from reasoningrec.pipeline.workspace import as_published
from reasoningrec.records import Case, Explanation
from reasoningrec.rows import Row, from_row, to_row
from reasoningrec.student.local import Local
from reasoningrec.student.served import Served
from reasoningrec.student.write import Draft, WriteLimits
from reasoningrec.teacher import reason, verify
from reasoningrec.teacher.answers import citations


@dataclass(frozen=True, slots=True)
class Answer:
    """What the student answered to one query."""

    p: float | None
    """P(Yes); None where it gave no number."""
    draft: Explanation | None = None
    """Its reasons, where they came before the decision and are of the form."""
    note: str = ""
    """What is to be known of `p` where a server gave it (see `local.Scored`)."""

    def row(self) -> Row:
        """As JSON values."""
        note = {"note": self.note} if self.note else {}
        return {"p": self.p, **({"draft": to_row(self.draft)} if self.draft else {}), **note}

    @classmethod
    def of(cls, row: Row) -> Answer:
        """From what `row` gave."""
        draft = from_row(Explanation, row["draft"]) if "draft" in row else None
        return cls(row["p"], draft, row.get("note", ""))


def answer(student: Local | Served, cases: Sequence[Case], config: Config) -> list[Answer]:
    """What the student answers, in the order of `cases`: P(Yes) and, where it reasons first, why."""
    if config.predict.mode != "reason-first":
        return [Answer(p, note=note) for p, note in student.score(cases)]
    return [
        Answer(p, _explanation(draft) if draft.why else None, note)
        for (p, note), draft in student.deliberate(cases, _limits(config))
    ]


def writes(config: Config) -> bool:
    """Whether the student is asked for texts once it is decided.

    Else it said why before, was taught no reasons, or those of the paper's form, which cite nothing to be checked.
    """
    taught = "rationales" not in config.without and not as_published(config)
    return config.predict.mode == "predict-first" and taught


def explain(
    student: Local | Served | None,
    cases: Sequence[Case],
    decisions: Sequence[bool],
    config: Config,
    said: Sequence[Answer] = (),
) -> list[Explanation]:
    """An explanation of each decision, in the order of `cases`; `origin` says who wrote it.

    A text of the student that fails a gate of `teacher.verify` is never shown: the offline writer, told the decision
    and not the truth, writes one by rule instead. So it does for a student that only decides, or was taught no reasons.

    Args:
        student: on this machine, or one that a server answers for; None will do where it writes nothing (`writes`).
        cases: what may be shown.
        decisions: whether each item will be liked, as decided.
        config: of the run.
        said: the student's answers to the cases, where it reasons first.
    """
    found: dict[int, Explanation] = {}

    def keep(place: int, text: Explanation) -> None:
        if verify.verify(text, decisions[place], cases[place].evidence, config.reason).kept:
            found[place] = text

    for place, one in enumerate(said):
        if one.draft is not None:
            keep(place, replace(one.draft, decision=decisions[place]))
    if student is not None and writes(config):
        for attempt in range(config.predict.tries if config.predict.temperature else 1):
            left = [place for place in range(len(cases)) if place not in found]
            some, said_so = [cases[n] for n in left], [decisions[n] for n in left]
            drafts = student.write(some, said_so, _limits(config, attempt), attempt)
            for place, draft in zip(left, drafts, strict=True):
                keep(place, _explanation(draft))
    return [found.get(n) or by_rule(case, decisions[n], config) for n, case in enumerate(cases)]


def _limits(config: Config, attempt: int = 0) -> WriteLimits:
    """How much is written, and how freely: bases other than nano say first what is likeliest, and draw after that."""
    settings = config.predict
    likeliest = config.train.base != NANO and attempt == 0
    return WriteLimits(
        settings.max_new_tokens,
        settings.batch_tokens,
        config.reason.max_reasons,
        0.0 if likeliest else settings.temperature,
    )


def _explanation(draft: Draft) -> Explanation:
    return Explanation(draft.query_id, draft.decision, draft.taste, draft.why, citations(draft.why), "student")


def by_rule(case: Case, decision: bool, config: Config) -> Explanation:
    """The offline writer's explanation of a decision."""
    asked = Request(case.query.id, (), reason.FIELDS, material(config, case, decision))
    reply = next(OfflineWriter().answer([asked]))
    written = reason.parse(reply, OfflineWriter.name)
    return Explanation(case.query.id, decision, written.taste, written.why, written.citations, written.origin)
