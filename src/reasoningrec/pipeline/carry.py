"""A run's student, taken elsewhere."""

from __future__ import annotations

from pathlib import Path

from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.runs import Run
from reasoningrec.student.bases import Student
from reasoningrec.student.export import Origin, export


def export_student(run: Run, folder: Path, *, merge: bool) -> str:
    """Write the student of `run` to the new folder `folder`; returns "adapter" or "model".

    Raises:
        NotInRunError: the run has not got as far as `train` with its present configuration.
        RunError: the run, or the student in it, is damaged, or its base is not the one it was trained on.
        InputError: the folder exists, or cannot be written.
    """
    config = config_of(run)
    check_finished(run, Workspace(run.folder, config), "train")
    student = Student.open(run.folder / "train", config.train.base)
    return export(student, config.train.base, folder, Origin(config.name, config.protocol), merge=merge)
