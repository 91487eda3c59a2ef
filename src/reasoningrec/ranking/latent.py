"""What people of a like mind made of an item: a factorisation as of the question's moment, one number of the decision.

The numbers of `data.evidence` are counted, never fitted, so that they can stand in a prompt. This one is fitted, and
the decision alone reads it; no prompt and no fact is made of it. It is as of the question's moment all the same:
whenever the rows have grown by a share, items' biases and factors are fitted anew from all rows strictly earlier, and a
question is answered by the last fit before it. Of its user, it reads the rows of the past that the question may know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import polars as pl

from reasoningrec.baselines.factors import FIRST, ROUNDS, Biased, values_of
from reasoningrec.data.evidence import FOLDS, Questions, crowd_now
from reasoningrec.data.timeline import Floats, Ints, Timeline
from reasoningrec.errors import RunError
from reasoningrec.rows import Json, replacing

GROWTH: Final = 1.25
"""By how much rows grow until the next fit: fits then cost 1 / (1 - 1 / 1.25) = 5 times the last one, however many
rows there are."""
FACTORS: Final = 4
RIDGE: Final = 3.0
"""In rows of the mean rating: lambda of Koren et al."""
PART: Final = 1_000_000
"""Rows of pasts that are read at once, about."""
FILE: Final = Path("predict", "latent.npz")
"""In a run: the fit for questions of after its data."""
SEED: Final = 0
"""Of the first factors; the same for every seed of a run, as the other numbers are."""


def of_windows(timeline: Timeline, windows: pl.DataFrame) -> Floats:
    """(Q,) the target's rating above the mean of all, as expected from its user's past; 0 where nothing is earlier.

    In stars, or in likes where there are no ratings. Without times, what is earlier of others are the rows before all
    valid and test targets of users outside the asking user's fold: for train questions as for all others, so that what
    is learned on train is met again.

    Args:
        timeline: N rows.
        windows: Q questions, with the columns `role`, `at` and `past` that `split` and `earlier` give.
    """
    asked, found = Questions.of_windows(timeline, windows), np.zeros(windows.height)
    for rows, places in _fits(timeline, crowd_now(timeline, windows), asked):
        if rows.size:
            found[places] = answer(timeline, _fit(timeline, rows), asked, places)
    return found


def now(timeline: Timeline, windows: pl.DataFrame) -> tuple[Biased, ...]:
    """For questions of after all rows: one model, or without times one for each fold of users (user code % FOLDS)."""
    crowd = crowd_now(timeline, windows)
    if timeline.time is not None:
        return (_fit(timeline, _with_value(timeline, crowd)),)
    return tuple(_fit(timeline, _outside(timeline, crowd, fold)) for fold in range(FOLDS))


def answer(timeline: Timeline, model: Biased, asked: Questions, places: Ints) -> Floats:
    """(places,) what the model expects of these questions."""
    values, found = values_of(timeline), np.zeros(places.size)
    pairs = np.column_stack([asked.user[places], asked.past[places]])
    pairs, of = np.unique(pairs, axis=0, return_inverse=True)  # what several questions share is worked out once
    of = of.reshape(-1)
    read = np.cumsum(pairs[:, 1]) // PART
    for part in np.unique(read):
        some = np.flatnonzero(read == part)
        user, rows = timeline.pasts(pairs[some, 0], pairs[some, 1])
        users = model.user_factors(user, timeline.item[rows], values[rows], some.size)
        there = np.flatnonzero(read[of] == part)
        found[there] = model.above_mean(users[of[there] - some[0]], asked.item[places[there]])
    return found


def _fit(timeline: Timeline, rows: Ints) -> Biased:
    if not rows.size:
        return Biased(0.0, np.zeros((len(timeline.items), 1 + FACTORS)), 1.0)
    return Biased.fit(timeline, rows, values_of(timeline), FACTORS, RIDGE, SEED)


def _with_value(timeline: Timeline, rows: Ints) -> Ints:
    return rows[~np.isnan(values_of(timeline)[rows])]


def _outside(timeline: Timeline, crowd: Ints, fold: int) -> Ints:
    return _with_value(timeline, crowd[timeline.user[crowd] % FOLDS != fold])


def _fits(timeline: Timeline, crowd: Ints, asked: Questions) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit on, perhaps none, and the places of the questions that this fit answers."""
    if timeline.time is None:
        for fold in range(FOLDS):
            places = np.flatnonzero(asked.user % FOLDS == fold)
            if places.size:
                yield _outside(timeline, crowd, fold), places
        return
    crowd = _with_value(timeline, crowd)
    crowd = crowd[np.argsort(timeline.clock[crowd], kind="stable")]
    clock = timeline.clock[crowd]
    steps = _steps(crowd.size)
    of_step = np.searchsorted(steps, np.searchsorted(clock, asked.clock), side="right") - 1
    for step, rows in enumerate(steps.tolist()):
        places = np.flatnonzero(of_step == step)
        if places.size:  # all rows of a moment, or none
            yield crowd[: np.searchsorted(clock, clock[rows - 1], side="right")], places


def _steps(rows: int) -> Ints:
    """From how many rows on there is another fit, up to so many rows."""
    steps, step = [], 1
    while step <= rows:
        steps.append(step)
        step = max(step + 1, math.ceil(step * GROWTH))
    return np.array(steps, dtype=np.int64)


def save(models: Sequence[Biased], path: Path) -> None:
    """Write what `now` gave."""
    mean, ridge = (np.array([getattr(model, name) for model in models]) for name in ("mean", "ridge"))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, mean=mean, ridge=ridge, items=np.stack([model.items for model in models]))


def load(path: Path) -> tuple[Biased, ...]:
    """Read what `save` wrote. Raises RunError where it is damaged."""
    try:
        with np.load(BytesIO(path.read_bytes())) as held:
            parts = zip(held["mean"].tolist(), held["items"], held["ridge"].tolist(), strict=True)
            return tuple(Biased(mean, items, ridge) for mean, items, ridge in parts)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise RunError(f"{path}: {error}", hint="Remove it, and the next run does stage predict again.") from None


def settings() -> list[Json]:
    """All that the number depends on beside the data."""
    return [GROWTH, FACTORS, RIDGE, SEED, ROUNDS, FIRST, FOLDS]
