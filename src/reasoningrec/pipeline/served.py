"""The run's student, on this machine or on a server, and how the two compare."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from reasoningrec.config import Config
from reasoningrec.errors import InputError
from reasoningrec.llm.checkpoint import digest_of
from reasoningrec.llm.completions import Sample
from reasoningrec.llm.settings import answering
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.pipeline.writers import opened_student
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row
from reasoningrec.runs import Run
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.score import score, use_threads
from reasoningrec.student.served import Served, sample

SETTINGS: Final = {"temperature", "top_p", "max_new_tokens", "answer_form"}
"""Of a model's settings, those that mean nothing for a student."""


def student_of(folder: Path, config: Config) -> Student | Served:
    """The student of the run in `folder`, or the server that answers for it. Raises as `bases.load` does."""
    if not config.student.endpoint:
        return Student.open(folder / "train", config.train.base)
    return _served(folder, config)


def _served(folder: Path, config: Config) -> Served:
    student = bases.without_weights(folder / "train")
    probe = Sample(sample(student), digest_of(folder / "train"))
    return Served(student, functools.partial(opened_student, config, folder, probe))


def fields(config: Config) -> dict[str, Json]:
    """What answers depend on where a server gives them."""
    if not config.student.endpoint:
        return {}
    return {"student": {name: value for name, value in answering(config.student).items() if name not in SETTINGS}}


def counts_of(answers: Iterable[Row]) -> dict[str, int]:
    """How many answers a server gave with a note, or not at all (see `Scored.note`)."""
    found = Counter(str(row["note"]) for row in answers if row.get("note"))
    return dict(sorted(found.items()))


def note_spending(desk: Desk, student: Student | Served) -> None:
    """What this sitting asked of a server, beside the stage's times."""
    if isinstance(student, Served):
        spent = student.spent
        asked = {"asked": spent.calls, "cached": student.cached}
        used = {"input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens}
        desk.run.note_sitting(desk.stage, {**asked, **used})


class Compared(NamedTuple):
    """P(Yes) of one query, by the student on this machine and by the server."""

    query_id: str
    here: float | None
    there: float | None

    @property
    def apart(self) -> float:
        """How far they are apart; 1 where one gave no number."""
        return 1.0 if self.here is None or self.there is None else abs(self.here - self.there)


def compare(run: Run, queries: int) -> list[Compared]:
    """P(Yes) of the first test queries by the run's own weights and by the server, those furthest apart first.

    The server is asked anew, whatever it answered before.

    Raises:
        InputError: the run's configuration names no server.
        ConfigError, StudentError: the student cannot be opened here, or the server cannot go on.
    """
    config = config_of(run)
    space = Workspace(run.folder, config)
    if not config.student.endpoint:
        raise InputError(
            f"{run.folder}: its configuration names no server", hint="Set endpoint and model in [student]."
        )
    local = Student.open(run.folder / "train", config.train.base)
    use_threads(config.threads)
    cases: Sequence[Case] = list(space.cases(space.ids("test")[:queries]))
    here = score(local, cases, config.predict.batch_tokens)
    with tempfile.TemporaryDirectory() as place:  # what is kept was said by whoever was served then
        anew = config.model_copy(update={"cache": str(Path(place) / "answers.sqlite")})
        there = _served(run.folder, anew).score(cases)
    found = [Compared(case.query.id, p, q.p) for case, p, q in zip(cases, here, there, strict=True)]
    return sorted(found, key=lambda one: (-one.apart, one.query_id))
