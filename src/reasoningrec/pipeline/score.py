"""Stage score: what the student answers to every valid and test query, before any decision is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from reasoningrec.journal import Journal
from reasoningrec.pipeline import served
from reasoningrec.pipeline.chunks import Chunks, refusing
from reasoningrec.pipeline.explain import answer
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Json, Row, read_jsonl, write_jsonl
from reasoningrec.student.score import use_threads

FILE: Final = "score.jsonl"


def score_fields(space: Workspace) -> dict[str, Json]:
    """How the student is asked; where it reasons first, how long it may, too. It says what is likeliest there."""
    settings = space.config.predict
    fields = served.fields(space.config) or {"batch_tokens": settings.batch_tokens}
    return {**fields, **({"max_new_tokens": settings.max_new_tokens} if settings.mode == "reason-first" else {})}


def score_queries(desk: Desk) -> Outcome:
    """Ask the student about every valid and test query.

    Raises as `bases.load` does, and StudentError where a server cannot go on or says Yes or No to nothing.
    """
    config, ids = desk.space.config, desk.space.ids("valid", "test")
    student = served.student_of(desk.folder, config)
    use_threads(config.threads)
    with Journal(desk.run.journal_path(desk.stage)) as journal:
        chunks = Chunks(desk, journal, len(ids))
        rows = chunks.do("score", ids, lambda cases: [one.row() for one in answer(student, cases, config)])
        with refusing(journal):
            served.check_answered(config, rows)
    write_jsonl(desk.folder / FILE, ({"query_id": id, **rows[id]} for id in ids))
    served.note_spending(desk, student)
    invalid = sum(row["p"] is None for row in rows.values())
    return Outcome({"scored": len(ids), "invalid": invalid, **served.counts_of(rows.values())})


def answers(folder: Path) -> dict[str, Row]:
    """Query id -> the student's answer (see `Answer.row`), as stage score left it. Raises RunError where damaged."""
    return {row["query_id"]: row for row in read_jsonl(folder / FILE)}
