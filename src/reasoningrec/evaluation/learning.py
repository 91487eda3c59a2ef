"""The learning curve of a student, and how long it takes to answer: figures measured beside the line, on demand."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One student of a learning curve, trained on `rows` rows from one seed; `rows` 0 = not trained."""

    shots: str
    """What was asked for: a count, "all", or "untrained"."""
    seed: int
    order: str
    """What it learns to say, as `train.order`."""
    rows: int
    epochs: int
    n: int
    """Test queries it was measured on."""
    invalid: int
    """Of these, answers without a probability."""
    auc: float | None
    log_loss: float | None
    """In nats."""
    valid_auc: float | None
    seconds: float
    key: str
    """Fingerprint of all that the figures depend on, save the machine."""


@dataclass(frozen=True, slots=True)
class Point:
    """The students of one number of shots. The spread is the standard deviation over seeds; None of a single one."""

    shots: str
    order: str
    rows: int
    seeds: int
    auc: float | None
    spread: float | None
    valid_auc: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that one mode of answering takes for each query, from evidence to the finished answer."""

    mode: str
    n: int
    median: float
    """Of one query at a time."""
    most: float
    """Of one query at a time: the 95th percentile."""
    together: float
    """Of each query, all asked at once."""
    by_student: int
    """Texts the student wrote itself; the others are by rule, which takes next to no time."""
    where: str
    """Processor, threads."""


@dataclass(frozen=True, slots=True)
class Studies:
    """What was measured beside the line; each empty where it was not."""

    curve: tuple[Point, ...] = ()
    latency: tuple[Latency, ...] = ()


def points(cells: Iterable[Cell]) -> tuple[Point, ...]:
    """Mean and spread for each number of shots, fewest rows first."""
    by_shots: dict[str, list[Cell]] = {}
    for cell in cells:
        by_shots.setdefault(cell.shots, []).append(cell)
    return tuple(sorted((_point(shots, group) for shots, group in by_shots.items()), key=lambda point: point.rows))


def _point(shots: str, group: Sequence[Cell]) -> Point:
    aucs = [cell.auc for cell in group if cell.auc is not None]
    valid = [cell.valid_auc for cell in group if cell.valid_auc is not None]
    return Point(
        shots,
        group[0].order,
        rows=max(cell.rows for cell in group),
        seeds=len(group),
        auc=statistics.fmean(aucs) if aucs else None,
        spread=statistics.stdev(aucs) if len(aucs) > 1 else None,
        valid_auc=statistics.fmean(valid) if valid else None,
        n=group[0].n,
    )
