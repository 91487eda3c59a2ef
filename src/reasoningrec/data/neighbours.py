"""What those who shared a reaction of the user's history did with the target.

For a question (user, target, moment) and a history item Hj, the neighbours are the other users who, before that moment,
reacted to both Hj (as the user did) and the target. One join per chunk of questions: raters of the target x history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reasoningrec.data.timeline import Bools, Floats, Ints, Timeline

CHUNK = 4_000_000
"""Pairs (rater, history item) held at once."""
NO_VOTES = 6.0
"""Pseudo-comparisons that draw a rater's agreement with the user towards none."""


@dataclass(frozen=True)
class Neighbours:
    """Q questions x H places of the history, oldest first, padded on the left.

    `n`, `liked`: how many others shared the user's reaction to Hj and reacted to the target, and how many of them liked
    it. `vote`: (Q,) sum of agreement x (liked - 1/2) over those who rated the target before the moment, over the square
    root of their number; 0 where there is none.
    """

    n: Floats
    liked: Floats
    vote: Floats


@dataclass(frozen=True)
class Crowd:
    """The rows that count as others' doings, sorted by (item, user, clock)."""

    user: Ints
    item: Ints
    clock: Ints
    liked: Bools

    @classmethod
    def of(cls, timeline: Timeline, rows: Ints, clock: Ints) -> Crowd:
        """The timeline's `rows`; `clock` is aligned with them."""
        order = np.lexsort((clock, timeline.user[rows], timeline.item[rows]))
        rows = rows[order]
        return cls(timeline.user[rows], timeline.item[rows], clock[order], timeline.liked[rows])


def neighbours(crowd: Crowd, user: Ints, item: Ints, clock: Ints, history: tuple[Ints, Bools]) -> Neighbours:
    """Count for Q questions.

    Args:
        crowd: others' rows (the asking user's own are left out here).
        user: (Q,) who asks.
        item: (Q,) the target.
        clock: (Q,) rows count whose clock is strictly below.
        history: (Q, H) item codes, -1 = no such place, and (Q, H) whether the user liked them.
    """
    shape = history[0].shape
    n, liked, vote, voters = np.zeros(shape), np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[0])
    if not crowd.item.size or not shape[1]:
        return Neighbours(n, liked, vote)
    users = int(max(crowd.user.max(), user.max())) + 1
    pair, pair_first = np.unique(crowd.item * users + crowd.user, return_index=True)
    first = np.searchsorted(crowd.item, item, side="left")
    raters = np.searchsorted(crowd.item, item, side="right") - first
    for part in _chunks(raters * shape[1]):
        of, row = _raters(first[part], raters[part])
        query = np.arange(part.start, part.stop)[of]
        fresh = (crowd.clock[row] < clock[query]) & (crowd.user[row] != user[query])
        query, row = query[fresh], row[fresh]
        past_item, past_liked = history[0][query], history[1][query]
        key = past_item * users + crowd.user[row][:, None]
        found = np.clip(np.searchsorted(pair, key), 0, pair.size - 1)
        seen = pair_first[found]  # the rater's first reaction to Hj
        shared = (pair[found] == key) & (past_item >= 0) & (crowd.clock[seen] < clock[query][:, None])
        agree = shared & (crowd.liked[seen] == past_liked)
        np.add.at(n, query, agree)
        np.add.at(liked, query, agree & crowd.liked[row][:, None])
        likeness = (2.0 * agree.sum(1) - shared.sum(1)) / (shared.sum(1) + NO_VOTES)
        np.add.at(vote, query, likeness * (crowd.liked[row] - 0.5))
        np.add.at(voters, query, 1.0)
    return Neighbours(n, liked, vote / np.maximum(voters, 1) ** 0.5)


def _chunks(cost: Ints) -> Iterator[slice]:
    """Runs of questions whose costs sum to at most CHUNK (a dearer one stands alone)."""
    start, total = 0, 0
    for stop, one in enumerate(cost.tolist()):
        if total and total + one > CHUNK:
            yield slice(start, stop)
            start, total = stop, 0
        total += one
    yield slice(start, len(cost))


def _raters(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """For runs first[i] : first[i] + count[i], the run of each member and the member itself."""
    of = np.repeat(np.arange(first.size), count)
    offset = np.arange(of.size) - np.repeat(np.cumsum(count) - count, count)
    return of, first[of] + offset
