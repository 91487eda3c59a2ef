"""A run's student, taken elsewhere, and whether it answers there as here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from reasoningrec.errors import InputError
from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.served import served_student
from reasoningrec.pipeline.workspace import Workspace, as_published, config_of
from reasoningrec.runs import Run
from reasoningrec.student.bases import Student
from reasoningrec.student.export import Origin, check_new, export
from reasoningrec.student.score import score, use_threads


def export_student(run: Run, folder: Path, *, merge: bool) -> str:
    """Write the student of `run` to the new folder `folder`; returns "adapter" or "model".

    Raises:
        NotInRunError: the run has not got as far as `train` with its present configuration.
        RunError: the run, or the student in it, is damaged, or its base is not the one it was trained on.
        InputError: the folder exists, or cannot be written.
    """
    check_new(folder)
    config = config_of(run)
    check_finished(run, Workspace(run.folder, config), "train")
    student = Student.open(run.folder / "train", config.train.base)
    origin = Origin(config.name, config.protocol, as_published(config))
    return export(student, config.train.base, folder, origin, merge=merge)


class Compared(NamedTuple):
    """P(Yes) of one query, by the student on this machine and by the server."""

    query_id: str
    here: float | None
    there: float | None

    @property
    def apart(self) -> float:
        """How far they are apart; 1 where one gave no number."""
        return 1.0 if self.here is None or self.there is None else abs(self.here - self.there)


def compare_with_server(run: Run, queries: int) -> list[Compared]:
    """P(Yes) of the first test queries by the run's own weights and by the server, those furthest apart first.

    The server is asked anew, whatever it answered before.

    Args:
        run: which has got as far as `train`.
        queries: how many.

    Raises:
        InputError: the run's configuration names no server.
        NotInRunError: the run has not got as far as `train` with its present configuration.
        ConfigError, StudentError: the student cannot be opened here, or the server cannot go on.
    """
    config = config_of(run)
    space = Workspace(run.folder, config)
    check_finished(run, space, "train")
    if not config.student.endpoint:
        raise InputError(
            f"{run.folder}: its configuration names no server", hint="Set endpoint and model in [student]."
        )
    local = Student.open(run.folder / "train", config.train.base)
    use_threads(config.threads)
    cases = space.cases(space.ids("test")[:queries])
    here = score(local, cases, config.predict.batch_tokens)
    with tempfile.TemporaryDirectory() as place:  # what is kept was said by whoever was served then
        anew = config.model_copy(update={"cache": str(Path(place) / "answers.sqlite")})
        there = served_student(run.folder, anew).score(cases)
    found = [Compared(case.query.id, p, q.p) for case, p, q in zip(cases, here, there, strict=True)]
    return sorted(found, key=lambda one: (-one.apart, one.query_id))
