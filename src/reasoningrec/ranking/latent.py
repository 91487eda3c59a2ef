"""What people of a like mind made of an item: a factorisation as of the question's moment, one number of the decision.

The numbers of `data.evidence` are counted, never fitted, so that they can stand in a prompt. This one is fitted, and
the decision alone reads it; no prompt and no fact is made of it. It is as of the question's moment all the same:
whenever the rows have grown by a share, items' biases and factors are fitted anew from all rows strictly earlier, and a
question is answered by the last fit before it. Of its user, it reads the rows of the past that the question may know.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import polars as pl

from reasoningrec.baselines.factors import Biased, values_of
from reasoningrec.data.evidence import Questions, crowds
from reasoningrec.data.timeline import Floats, Ints, Timeline
from reasoningrec.errors import RunError
from reasoningrec.rows import Json, replacing

GROWTH: Final = 1.25
"""By how much rows grow until the next fit: fits then cost 1 / (1 - 1 / 1.25) = 5 times the last one, however many
rows there are."""
FACTORS: Final = 4
RIDGE: Final = 3.0
"""In rows of the mean rating: lambda of Koren et al."""
ROWS: Final = 1_000_000
"""Rows of pasts that are read at once, about."""
FILE: Final = Path("predict", "latent.npz")
"""In a run: the fit for questions of after its data."""
SEED: Final = 0
"""Of the first factors; the same for every seed of a run, as the other numbers are."""


def of_windows(timeline: Timeline, windows: pl.DataFrame) -> Floats:
    """(Q,) the target's rating above the mean of all, as expected from its user's past; 0 where nothing is earlier.

    In stars, or in likes where there are no ratings.

    Args:
        timeline: N rows.
        windows: Q questions, with the columns `role`, `at` and `past` that `split` and `earlier` give.
    """
    found = np.zeros(windows.height)
    for at, crowd in crowds(timeline, windows):
        asked = Questions.of_windows(timeline, windows[at])
        for rows, places in _fits(timeline, crowd, asked):
            found[at[places]] = answer(timeline, fit(timeline, rows), asked, places)
    return found


def fit(timeline: Timeline, rows: Ints) -> Biased:
    """The factorisation of some rows of the timeline, one at least."""
    return Biased.fit(timeline, rows, values_of(timeline), FACTORS, RIDGE, SEED)


def answer(timeline: Timeline, model: Biased, asked: Questions, places: Ints) -> Floats:
    """(places,) what the model expects of these questions."""
    values, found = values_of(timeline), []
    read = np.cumsum(asked.past[places])
    for some in np.split(places, np.flatnonzero(np.diff(read // ROWS)) + 1):
        query, rows = timeline.pasts(asked.user[some], asked.past[some])
        found.append(model.above_mean(query, timeline.item[rows], values[rows], asked.item[some]))
    return np.concatenate(found)


def _fits(timeline: Timeline, crowd: Ints, asked: Questions) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit on, and the places of the questions that this fit answers; those without any row are left out."""
    if timeline.time is None:
        if crowd.size:
            yield crowd, np.arange(asked.user.size)
        return
    crowd = crowd[np.argsort(timeline.clock[crowd], kind="stable")]
    clock = timeline.clock[crowd]
    steps = np.unique(np.ceil(GROWTH ** np.arange(1 + np.log(crowd.size) / np.log(GROWTH))).astype(np.int64))
    steps = steps[steps <= crowd.size]
    of_step = np.searchsorted(steps, np.searchsorted(clock, asked.clock), side="right") - 1
    for step, rows in enumerate(steps.tolist()):
        places = np.flatnonzero(of_step == step)
        if places.size:  # all rows of a moment, or none
            yield crowd[: np.searchsorted(clock, clock[rows - 1], side="right")], places


def save(model: Biased, path: Path) -> None:
    """Write the model, for questions of after the run's data."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, mean=model.mean, items=model.items, ridge=model.ridge)


def load(path: Path) -> Biased:
    """Read what `save` wrote. Raises RunError where it is damaged."""
    try:
        with np.load(BytesIO(path.read_bytes())) as held:
            return Biased(float(held["mean"]), np.asarray(held["items"], np.float64), float(held["ridge"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise RunError(f"{path}: {error}", hint="Remove it, and the next run does stage predict again.") from None


def settings() -> list[Json]:
    """All that the number depends on beside the data."""
    return [GROWTH, FACTORS, RIDGE, SEED]
