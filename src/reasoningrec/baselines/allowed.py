"""What a trained baseline may learn from: where there are times, rows before the question; else, train rows only.

A model that is fitted once on all rows would know of an item what others said of it after the moment asked about. So
the valid and test queries are parted by time into blocks, and each block is answered by a model of its own, fitted on
rows strictly earlier than the block's first query: the rows that the evidence counts (see `data.evidence`), earlier
targets of valid and test among them. Without times there is one block and one model, fitted on all train rows, as the
evidence's counts are. A user's own past, up to the query, is read as well: as the sequence, or folded in.

A train row is one that lies before all valid and test targets of its user. Shots are of train windows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from reasoningrec.baselines.regression import prior
from reasoningrec.config import Protocol
from reasoningrec.data.evidence import crowd_now, train_rows
from reasoningrec.data.split import past_rows
from reasoningrec.data.timeline import Bools, Floats, Ints, Timeline


@dataclass(frozen=True)
class Block:
    """The rows of the timeline that a model is fitted on, and the places of the queries (0 to Q - 1) it answers.

    `shift` is added to its log-odds, see `drawn_shift`.
    """

    rows: Ints
    asked: Ints
    shift: float = 0.0


@dataclass(frozen=True)
class Allowed:
    """A timeline of N rows, and Q queries on it: the valid and test windows, in the windows' order.

    Attributes:
        timeline: the interactions. Its labels may be read in `crowd` before a block and, as history, in a query's past.
        past: (N,) how many of the user's rows, from the oldest, each row may know as its history.
        crowd: rows that may be fitted on, ascending: all where there are times, else `train`.
        train: rows before all valid and test targets of their user, ascending.
        main: those of them that are train windows.
        at: (Q,) the targets' rows.
        window: (Q,) their places among the windows.
        valid: (Q,) which of them are valid's.
        valid_labels: (V,) labels of valid's; of test's, those are known that lie in `crowd` before a block, no others.
        history: k, how many reactions a prompt shows.
    """

    timeline: Timeline
    past: Ints
    crowd: Ints
    train: Ints
    main: Ints
    at: Ints
    window: Ints
    valid: Bools
    valid_labels: Bools
    history: int

    @classmethod
    def of(cls, timeline: Timeline, windows: pl.DataFrame, protocol: Protocol, history: int) -> Self:
        """From the split's windows."""
        role, at = windows["role"].to_numpy(), windows["at"].to_numpy()
        window = np.flatnonzero(role != "train")
        return cls(
            timeline=timeline,
            past=past_rows(timeline, np.arange(timeline.user.size), protocol),
            crowd=crowd_now(timeline, windows),
            train=train_rows(timeline, windows),
            main=np.sort(at[role == "train"]),
            at=at[window],
            window=window,
            valid=role[window] == "valid",
            valid_labels=timeline.liked[at[role == "valid"]],
            history=history,
        )

    def blocks(self, refits: int, shots: int, seed: int) -> Iterator[Block]:
        """What to fit, and what to answer with it.

        A block ends where queries and train rows that are known by then, each as a share of all, have together grown by
        an equal part. By queries alone, the first block could hold a good part of them and no row to learn from; by
        rows alone, most queries would be in the last one.

        Args:
            refits: how many blocks of time at most; 1 = one model fitted on train rows of any time.
            shots: K train windows to learn from, as many of each label, drawn anew for each block from those that it
                may know; 0 = every row that it may know.
            seed: of the draws.
        """
        rng = np.random.default_rng(seed)
        clock = self.timeline.clock
        if self.timeline.time is None or refits == 1:
            yield self._block(self.main if shots else self.train, np.arange(self.at.size), shots, rng)
            return
        order = np.sort(clock[self.at])
        known = np.searchsorted(np.sort(clock[self.train]), order)
        grown = np.arange(order.size) / order.size + (known - known[0]) / max(1, known[-1] - known[0])
        cuts = np.unique(order[np.searchsorted(grown, grown[-1] * np.arange(refits) / refits)])
        block_of = np.searchsorted(cuts, clock[self.at], side="right") - 1
        rows = self.main if shots else self.crowd
        for block, cut in enumerate(cuts):
            yield self._block(rows[clock[rows] < cut], np.flatnonzero(block_of == block), shots, rng)

    def _block(self, rows: Ints, asked: Ints, shots: int, rng: np.random.Generator) -> Block:
        if not shots:
            return Block(rows, asked)
        liked = self.timeline.liked
        drawn = rows[balanced(liked[rows], shots, rng)]
        return Block(drawn, asked, drawn_shift(liked[rows], liked[drawn]))

    @property
    def known_labels(self) -> Bools:
        """(Q,) labels of valid's queries; False for test's, whose labels are not known here."""
        labels = np.zeros(self.at.size, np.bool_)
        labels[self.valid] = self.valid_labels
        return labels

    def by_halves(self) -> list[tuple[Bools, Bools]]:
        """Pairs of (Q,) the valid queries that decide and (Q,) the queries they decide for.

        Test is decided for by all of valid, each half of valid's users by the other half, twins on one side. So what is
        chosen or fitted on valid answers valid no better than it answers the rest, and valid can be asked which method
        is the best.
        """
        odd = self.timeline.first_twin()[self.timeline.user[self.at]] % 2 == 1
        return [(self.valid, ~self.valid), (self.valid & odd, self.valid & ~odd), (self.valid & ~odd, self.valid & odd)]

    def pasts(self, asked: Ints) -> tuple[Ints, Ints]:
        """The rows that each of these queries may know of its user, as (which query, which row)."""
        at = self.at[asked]
        return self.timeline.pasts(self.timeline.user[at], self.past[at])

    def own_mean(self, asked: Ints, values: Floats, middle: float) -> Floats:
        """(asked,) the mean of the (N,) values in each query's past and of one `middle`: all there is to go by where
        nothing was fitted."""
        query, past = self.pasts(asked)
        sums = np.bincount(query, values[past], asked.size) + middle
        return np.asarray(sums / (np.bincount(query, minlength=asked.size) + 1))

    def with_past(self, rows: Ints, most: int = 0) -> Ints:
        """Rows and, of each, the (last `most`; 0 = all) rows of its history; ascending, each once."""
        first = self.timeline.start[self.timeline.user[rows]]
        stop = first + self.past[rows]
        if most:
            first = np.maximum(first, stop - most)
        change = np.zeros(self.timeline.user.size + 1, np.int64)
        np.add.at(change, first, 1)
        np.add.at(change, stop, -1)
        inside = np.cumsum(change[:-1]) > 0
        inside[rows] = True
        return np.flatnonzero(inside)


def balanced(labels: Bools, shots: int, rng: np.random.Generator) -> Ints:
    """Places of `shots` of the labels, half of each kind; where one kind is short of it, the other fills up."""
    likes, others = np.flatnonzero(labels), np.flatnonzero(~labels)
    n = min(likes.size, max(shots // 2, shots - others.size))
    drawn = (rng.choice(likes, n, replace=False), rng.choice(others, min(others.size, shots - n), replace=False))
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def drawn_shift(labels: Bools, drawn: Bools) -> float:
    """What to add to the log-odds of a model that was fitted on `drawn`, some of `labels` in another proportion.

    The log-odds of a like among all, less those among the drawn (prior correction: King and Zeng, Logistic Regression
    in Rare Events Data, Political Analysis 9(2), 2001, section 4.1). It orders no two answers of a model anew.
    """
    return prior(labels) - prior(drawn)
