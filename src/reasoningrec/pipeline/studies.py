"""What was measured in a run beside the line: where it is kept, and how the report reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, TypeVar

from reasoningrec.errors import RunError
from reasoningrec.evaluation.learning import Cell, Latency, Studies, points
from reasoningrec.pipeline.learn import train_fields
from reasoningrec.pipeline.workspace import Workspace, without
from reasoningrec.rows import Json, read_records
from reasoningrec.runs import Run, fingerprint

T = TypeVar("T")
CURVE: Final = "curve.jsonl"
LATENCY: Final = "latency.jsonl"
LEAST_SEEN: Final = 1000
"""Rows a student of the curve sees at least, each as often as need be: a few shots in two epochs teach nothing."""
VALID: Final = 200
"""Valid queries, drawn, that choose a student's epoch; all would take longer than learning from a few rows."""


def studies(run: Run, space: Workspace) -> Studies:
    """What was measured of the run's student as it is now; what is of another is left out."""
    cells = [cell for cell in kept(Cell, run.folder / CURVE) if cell.of == of_students(run, space)]
    times = [row for row in kept(Latency, run.folder / LATENCY) if row.of == of_latency(run, space)]
    return Studies(points(cells), tuple(times))


def of_students(run: Run, space: Workspace) -> str:
    """Fingerprint of what students that learn from a part of the run's rows depend on, the seed left out."""
    fields = {name: value for name, value in train_fields(space).items() if name != "seed"}
    more: dict[str, Json] = {"least": LEAST_SEEN, "valid": VALID, "stage verify": run.stages["verify"].outcome}
    return fingerprint({**fields, **more, "batch": space.config.predict.batch_tokens})


def of_latency(run: Run, space: Workspace) -> str:
    """Fingerprint of the trained student and of how it answers."""
    settings = space.config.predict.model_dump(mode="json", exclude={"mode", "explain"})
    return fingerprint({**settings, **without(space.config), "stage train": run.stages["train"].outcome})


def kept(kind: type[T], path: Path) -> list[T]:
    """The records in a file; none where there is no such file. Raises RunError, and what to do, where it is damaged."""
    try:
        return read_records(kind, path) if path.exists() else []
    except RunError as error:
        raise RunError(
            str(error.args[0]), hint=f"Remove {path.name}, and give `student {path.stem}` again where it is wanted."
        ) from None


def digests(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of those there are."""
    paths = [folder / name for name in (CURVE, LATENCY)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}
