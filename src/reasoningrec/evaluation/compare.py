"""Many runs in one table: every method with its interval, the spread over seeds, and paired differences.

Runs that differ by their seed alone are one *system*: its AUC is the mean over seeds, its interval resamples clusters
of twins and averages over the seeds in each resample, and `spread` is the standard deviation over seeds. Differences
are paired by query: to the system's own baseline (chosen on valid), and to the same method of the first system of the
dataset, where both were asked the same test questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasoningrec.config import Protocol
from reasoningrec.errors import RunError
from reasoningrec.evaluation import decisions, uncertainty
from reasoningrec.evaluation.decisions import Bools, Floats
from reasoningrec.evaluation.evaluate import Evaluation, Kind, Subset, headline_of, readings_of


@dataclass(frozen=True)
class Entrant:
    """An evaluated run: what was asked and answered, rows in order of query id."""

    run: str
    variant: str
    """A mark of all that its answers depend on but the data and the seed."""
    evaluation: Evaluation
    ids: tuple[str, ...]
    asked: tuple[tuple[str, str], ...]
    """(user, item) of each query."""
    labels: Bools
    cluster: NDArray[np.int64]
    answers: Mapping[str, Floats]
    """By method, NaN = invalid."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of AUCs, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    to: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One method of one system in one reading."""

    dataset: str
    protocol: Protocol
    subset: Subset
    system: str
    method: str
    kind: Kind
    seeds: int
    n: int
    positives: int
    invalid: float
    """Share of invalid answers."""
    auc: float | None
    low: float | None
    high: float | None
    spread: float | None
    """Standard deviation over seeds; None with one seed."""
    to_baseline: Difference
    to_first: Difference


@dataclass(frozen=True)
class Comparison:
    """Everything `compare` shows."""

    lines: tuple[Line, ...]
    systems: tuple[str, ...]
    """In the order given."""
    level: float
    resamples: int
    notes: tuple[str, ...] = ()

    def headline(self) -> tuple[Line, ...]:
        """The lines of each protocol's headline reading: `distinct` under `strict`, else `all`."""
        return tuple(line for line in self.lines if line.subset == headline_of(line.protocol))


@dataclass(frozen=True)
class _System:
    """Runs that differ by the seed alone."""

    name: str
    runs: tuple[Entrant, ...]

    @property
    def first(self) -> Entrant:
        return self.runs[0]

    @property
    def key(self) -> tuple[str, Protocol]:
        return self.first.evaluation.dataset, self.first.evaluation.protocol


@dataclass(frozen=True)
class _Measured:
    """AUC by method, one per seed, and its resamples averaged over the seeds."""

    areas: Mapping[str, list[float | None]]
    draws: Mapping[str, Floats]


def compare(entrants: Sequence[Entrant], *, resamples: int, level: float, seed: int = 0) -> Comparison:
    """Put runs side by side.

    Raises:
        RunError: runs of one dataset disagree on what a like is or on an answer, or two that should differ by the seed
            alone were asked different questions.
    """
    systems = _systems(entrants)
    _check_same_data(entrants)
    lines: list[Line] = []
    firsts: dict[tuple[str, Subset], tuple[_System, _Measured]] = {}
    for system in systems:
        for subset in readings_of(system.key[1]):
            keep = _rows(system.first, subset)
            measured = _measure(system, keep, resamples, seed)
            first = firsts.setdefault((system.key[0], subset), (system, measured))
            lines += _lines(system, subset, (keep, measured), first, level)
    order = {system.name: place for place, system in enumerate(systems)}
    place = {dataset: n for n, dataset in enumerate(dict.fromkeys(system.key[0] for system in systems))}
    lines.sort(key=lambda line: (place[line.dataset], line.subset != headline_of(line.protocol), order[line.system]))
    return Comparison(tuple(lines), tuple(order), level, resamples, tuple(_notes(systems)))


def _systems(entrants: Sequence[Entrant]) -> list[_System]:
    groups: dict[tuple[str, str], list[Entrant]] = {}
    for entrant in entrants:
        groups.setdefault((entrant.evaluation.dataset, entrant.variant), []).append(entrant)
    systems = []
    for runs in groups.values():
        seeds = [run.evaluation.seed for run in runs]
        if len(set(seeds)) < len(seeds):
            raise RunError(
                f"{', '.join(run.run for run in runs)}: the same configuration and seed twice",
                hint="Name one of them.",
            )
        if differing := [run.run for run in runs if not _same(run, runs[0])]:
            raise RunError(
                f"{differing[0]} and {runs[0].run}: the same configuration, but other test questions or answers",
                hint="Their data differ: run both on the same files.",
            )
        systems.append(
            _System(runs[0].run if len(runs) == 1 else f"{runs[0].run} (+{len(runs) - 1} seeds)", tuple(runs))
        )
    return systems


def _check_same_data(entrants: Sequence[Entrant]) -> None:
    first: dict[str, Entrant] = {}
    for one in entrants:
        other = first.setdefault(one.evaluation.dataset, one)
        if one.evaluation.like_rule != other.evaluation.like_rule:
            raise RunError(
                f"{one.run}: a like is “{one.evaluation.like_rule}”, in {other.run} “{other.evaluation.like_rule}”",
                hint="Compare runs of the same data.like_above.",
            )
        known = dict(zip(zip(other.ids, other.asked, strict=True), other.labels.tolist(), strict=True))
        for id, asked, label in zip(one.ids, one.asked, one.labels.tolist(), strict=True):
            if known.get((id, asked), label) is not label:
                raise RunError(
                    f"{one.run} and {other.run}: query {id} has different answers in them",
                    hint="Their data differ though both are named " + one.evaluation.dataset + ": rename one.",
                )


def _same(one: Entrant, other: Entrant) -> bool:
    same = one.ids == other.ids and one.asked == other.asked and (one.labels == other.labels).all()
    return bool(same and (one.cluster == other.cluster).all())


def _rows(run: Entrant, subset: Subset) -> Bools:
    if subset == "all":
        return np.ones(len(run.ids), dtype=np.bool_)
    users = [user for user, _ in run.asked]
    chosen = uncertainty.distinct(dict(zip(users, run.cluster.tolist(), strict=True)))
    return np.array([user in chosen for user in users], dtype=np.bool_)


def _methods(system: _System) -> list[str]:
    """Those that every seed has, in table order."""
    names = [result.method for result in system.first.evaluation.readings[0].methods]
    return [name for name in names if all(name in run.answers for run in system.runs)]


def _measure(system: _System, keep: Bools, resamples: int, seed: int) -> _Measured:
    methods = _methods(system)
    labels, cluster = system.first.labels[keep], system.first.cluster[keep]
    scores = np.array([decisions.filled(run.answers[name][keep]) for name in methods for run in system.runs])
    draws = uncertainty.auc_draws(labels, scores.reshape(-1, len(labels)), cluster, resamples=resamples, seed=seed)
    each = len(system.runs)
    return _Measured(
        {name: [decisions.auc(labels, row) for row in scores[n * each :][:each]] for n, name in enumerate(methods)},
        {name: draws[n * each :][:each].mean(axis=0) for n, name in enumerate(methods)},
    )


def _lines(
    system: _System,
    subset: Subset,
    own: tuple[Bools, _Measured],
    first: tuple[_System, _Measured],
    level: float,
) -> Iterable[Line]:
    keep, measured = own
    kinds = {result.method: result.kind for result in system.first.evaluation.reading(subset).methods}
    baseline = _baseline(system, subset)
    labels = system.first.labels[keep]
    for method in _methods(system):
        areas = measured.areas[method]
        defined = [area for area in areas if area is not None]
        low, high = uncertainty.percentile_interval(measured.draws[method], level) or (None, None)
        invalid = np.mean([np.isnan(run.answers[method][keep]).mean() for run in system.runs]) if len(labels) else 0.0
        yield Line(
            *system.key, subset, system.name, method, kinds.get(method, "baseline"), len(system.runs), len(labels),
            int(labels.sum()), float(invalid), _mean(areas), low, high,
            round(float(np.std(defined, ddof=1)), 12) if len(defined) > 1 else None,
            _to_baseline(method, baseline, measured, level),
            _to_first(method, system, measured, first, level),
        )  # fmt: skip


def _mean(areas: Sequence[float | None]) -> float | None:
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None


def _baseline(system: _System, subset: Subset) -> str | None:
    """The baseline of the highest valid AUC, mean over the seeds; the first in table order among equals."""
    found: dict[str, list[float]] = {}
    for run in system.runs:
        for result in run.evaluation.reading(subset).methods:
            if result.kind == "baseline" and result.valid_auc is not None:
                found.setdefault(result.method, []).append(result.valid_auc)
    sums = {name: sum(aucs) for name in _methods(system) if len(aucs := found.get(name, [])) == len(system.runs)}
    return max(sums, key=lambda name: sums[name]) if sums else None


def _to_baseline(method: str, baseline: str | None, measured: _Measured, level: float) -> Difference:
    if baseline is None or baseline not in measured.areas:
        return Difference(reason="no baseline")
    if baseline == method:
        return Difference(reason="is the baseline")
    return _difference((measured, method), (measured, baseline), baseline, level)


def _to_first(
    method: str, system: _System, measured: _Measured, first: tuple[_System, _Measured], level: float
) -> Difference:
    other, theirs = first
    if other is system:
        return Difference(reason="is the first")
    if not _same(system.first, other.first):
        return Difference(reason="other test questions")
    if method not in theirs.areas:
        return Difference(reason=f"{other.name} has no {method}")
    return _difference((measured, method), (theirs, method), other.name, level)


def _difference(one: tuple[_Measured, str], other: tuple[_Measured, str], to: str, level: float) -> Difference:
    mine, theirs = (_mean(measured.areas[method]) for measured, method in (one, other))
    # Rounded, since the mean of equal figures over seeds may differ from them in the last bit.
    draws = np.round(one[0].draws[one[1]] - other[0].draws[other[1]], 12)
    low, high = uncertainty.percentile_interval(draws, level) or (None, None)
    return Difference(None if mine is None or theirs is None else round(mine - theirs, 12) + 0.0, low, high, to)


def _notes(systems: Sequence[_System]) -> Iterable[str]:
    for system in systems:
        if len(system.runs) > 1:
            yield f"{system.name}: {', '.join(f'seed {run.evaluation.seed} in {run.run}' for run in system.runs)}"
        every = {name for run in system.runs for name in run.answers}
        if left := sorted(every - set(_methods(system))):
            yield f"{system.name}: not in every seed, and so left out: {', '.join(left)}"
