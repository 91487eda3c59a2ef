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
    queries: int
    """Test queries asked for; 0 = all."""
    of: str
    """Fingerprint of all else that the figures depend on, save the machine: of which run's student this is."""


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
    of: str
    """Fingerprint of the student that was asked, and of how."""


@dataclass(frozen=True, slots=True)
class Studies:
    """What was measured beside the line; each empty where it was not."""

    curve: tuple[Point, ...] = ()
    latency: tuple[Latency, ...] = ()


def points(cells: Iterable[Cell]) -> tuple[Point, ...]:
    """Mean and spread for each number of shots, fewest rows first; students asked otherwise are never mixed."""
    alike: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.order, cell.queries, cell.shots), []).append(cell)
    found = [(kind, _point(group)) for kind, group in alike.items()]
    return tuple(point for _, point in sorted(found, key=lambda one: (*one[0][:2], one[1].rows)))


def _point(group: Sequence[Cell]) -> Point:
    aucs = [cell.auc for cell in group if cell.auc is not None]
    valid = [cell.valid_auc for cell in group if cell.valid_auc is not None]
    return Point(
        group[0].shots,
        group[0].order,
        rows=max(cell.rows for cell in group),
        seeds=len(group),
        auc=statistics.fmean(aucs) if aucs else None,
        spread=statistics.stdev(aucs) if len(aucs) > 1 else None,
        valid_auc=statistics.fmean(valid) if valid else None,
        n=group[0].n,
    )
