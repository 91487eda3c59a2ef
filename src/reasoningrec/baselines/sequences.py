"""A user's rows cut into sequences that models can learn from, with every row of them as a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from reasoningrec.baselines.allowed import Allowed
from reasoningrec.data.timeline import Ints, Timeline

STEP: Final = 64
"""Questions of one sequence at most; each sees at least as many rows before it, where the user has them."""
LONGEST: Final = 2 * STEP
"""Rows of a sequence at most."""
LEVELS: Final = 10
"""Ratings that are told apart at most."""


@dataclass(frozen=True)
class Sequences:
    """C stretches of the timeline, start to stop, and the questions on them, sorted by stretch.

    `row` is a question's target; it is asked at place `known` of its stretch: so many rows of it are known by then.
    """

    start: Ints
    stop: Ints
    first: Ints
    """(C + 1,) stretch c has the questions first[c] to first[c + 1]."""
    row: Ints
    known: Ints

    @classmethod
    def of(cls, allowed: Allowed, rows: Ints) -> Self:
        """Stretches that hold all of `rows` (ascending) as questions; up to STEP of a user share one."""
        line = allowed.timeline
        group = line.position[rows] // STEP
        fresh = np.ones(rows.size, np.bool_)
        fresh[1:] = (line.user[rows][1:] != line.user[rows][:-1]) | (group[1:] != group[:-1])
        first = np.append(np.flatnonzero(fresh), rows.size)
        own = line.start[line.user[rows]]
        start = (own + np.maximum(0, (group - 1) * STEP))[first[:-1]]
        return cls._made(start, own + allowed.past[rows], first, rows)

    @classmethod
    def alone(cls, allowed: Allowed, rows: Ints) -> Self:
        """A stretch for each of `rows`, as long as may be."""
        own = allowed.timeline.start[allowed.timeline.user[rows]]
        stop = own + allowed.past[rows]
        return cls._made(np.maximum(own, stop - LONGEST), stop, np.arange(rows.size + 1), rows)

    @classmethod
    def _made(cls, start: Ints, known_to: Ints, first: Ints, rows: Ints) -> Self:
        each = np.repeat(start, np.diff(first))
        known = np.maximum(0, known_to - each)
        longest = np.maximum.reduceat(known, first[:-1]) if rows.size else np.zeros(0, np.int64)
        return cls(start, start + longest, first, rows, known)

    def batches(self, questions: int, rng: np.random.Generator | None) -> Iterator[Ints]:
        """Stretches of like length together, about so many questions (at least one stretch) to a batch.

        Args:
            questions: of a batch.
            rng: shuffles stretches and batches; None = in order of length.
        """
        length = self.stop - self.start
        order = np.argsort(length, kind="stable")
        if rng is not None:
            mixed = rng.permutation(length.size)
            order = mixed[np.argsort(length[mixed] // 4, kind="stable")]
        ends = np.cumsum(np.diff(self.first)[order]) // questions
        parts = np.split(order, np.flatnonzero(np.diff(ends)) + 1)
        for part in rng.permutation(len(parts)) if rng is not None else range(len(parts)):
            yield parts[part]

    def questions(self, stretches: Ints) -> tuple[Ints, Ints]:
        """The questions of these stretches, and which of the stretches each is on."""
        count = (self.first[1:] - self.first[:-1])[stretches]
        of = np.repeat(np.arange(stretches.size), count)
        within = np.arange(of.size) - np.repeat(np.cumsum(count) - count, count)
        return self.first[stretches][of] + within, of


def reaction_codes(line: Timeline, train: Ints) -> Ints:
    """(N,) what each row's user thought of it, as a number from 1: like and rating together, 2 LEVELS + 2 at most.

    Only the ratings of `train` set the levels, so that a rating nobody may know changes nothing.
    """
    rated = line.rating[train]
    levels = np.unique(rated[~np.isnan(rated)])
    if levels.size > LEVELS:
        levels = np.unique(np.quantile(levels, np.linspace(0, 1, LEVELS)))
    known = ~np.isnan(line.rating)
    level = np.searchsorted(levels, np.where(known, line.rating, 0.0), side="left").clip(0, max(0, levels.size - 1))
    return 1 + 2 * np.where(known, 1 + level, 0).astype(np.int64) + line.liked


def codes(size: int, learned: Ints, unknown: int) -> Ints:
    """(size,) a number for each name: those above `unknown` in turn for the learned ones, `unknown` for others."""
    found = np.full(size, unknown, np.int64)
    names = np.unique(learned)
    found[names] = unknown + 1 + np.arange(names.size)
    return found


def joined(parts: Sequence[Ints]) -> Ints:
    """All in one array."""
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
