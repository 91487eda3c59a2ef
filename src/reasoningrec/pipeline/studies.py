"""What was measured in a run beside the line: where it is kept, and how the report reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from reasoningrec.evaluation.learning import Cell, Latency, Studies, points
from reasoningrec.rows import read_records

CURVE: Final = "curve.jsonl"
LATENCY: Final = "latency.jsonl"


def studies(folder: Path) -> Studies:
    """What there is in the run's folder. Raises RunError where it cannot be read."""
    curve, latency = folder / CURVE, folder / LATENCY
    cells = read_records(Cell, curve) if curve.exists() else []
    return Studies(points(cells), tuple(read_records(Latency, latency)) if latency.exists() else ())


def digests(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of those there are."""
    paths = [folder / name for name in (CURVE, LATENCY)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}
