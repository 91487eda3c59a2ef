"""What those who shared a reaction of the user's history did with the target.

For a question (user, target, moment) and a history item Hj, the neighbours are the other users who, before that moment,
reacted to both Hj (as the user did) and the target. One join per chunk of questions: raters of the target x history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reasoningrec.data.timeline import Bools, Floats, Ints, Timeline, members

CHUNK = 4_000_000
"""Pairs (rater, history item) held at once."""
MARKS = 8
"""Places in the filter of pairs for each pair that exists."""
GOLDEN = 0x9E3779B97F4A7C15
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
    n, liked, vote = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    if not crowd.item.size or not shape[1]:
        return Neighbours(n, liked, vote)
    pairs = _Pairs.of(crowd, int(max(crowd.user.max(), user.max())) + 1)
    first = np.searchsorted(crowd.item, item, side="left")
    raters = np.searchsorted(crowd.item, item, side="right") - first
    for part in _chunks(raters * shape[1]):
        of, row = members(first[part], raters[part])  # a rater of a question's target: the question, the rater's row
        fresh = (crowd.clock[row] < clock[part][of]) & (crowd.user[row] != user[part][of])
        of, row = of[fresh], row[fresh]
        rater, place, seen = pairs.find(history[0][part][of], crowd.user[row])
        before = crowd.clock[seen] < clock[part][of[rater]]
        rater, place, seen = rater[before], place[before], seen[before]
        agree = crowd.liked[seen] == history[1][part][of[rater], place]
        cell, likes = of[rater] * shape[1] + place, crowd.liked[row]
        size = (part.stop - part.start) * shape[1]
        n[part] = np.bincount(cell[agree], minlength=size).reshape(-1, shape[1])
        liked[part] = np.bincount(cell[agree & likes[rater]], minlength=size).reshape(-1, shape[1])
        shared, agreed = (np.bincount(rater[which], minlength=row.size) for which in (slice(None), agree))
        likeness = (2.0 * agreed - shared) / (shared + NO_VOTES)
        votes = np.bincount(of, likeness * (likes - 0.5), part.stop - part.start)
        vote[part] = votes / np.maximum(np.bincount(of, minlength=part.stop - part.start), 1) ** 0.5
    return Neighbours(n, liked, vote)


@dataclass(frozen=True)
class _Pairs:
    """Who reacted to what: `key` item x users + user, ascending, and the crowd's first row of each.

    Most pairs that are asked for do not exist. `marks` tells this of nearly all of them in one look: it is true at the
    hash of every key that does (a Bloom filter of one hash: Bloom, Communications of the ACM, 1970).
    """

    users: int
    key: Ints
    first: Ints
    marks: Bools
    shift: int

    @classmethod
    def of(cls, crowd: Crowd, users: int) -> _Pairs:
        key = crowd.item * users + crowd.user
        first = np.flatnonzero(np.diff(key, prepend=-1))
        bits = int(first.size * MARKS).bit_length()
        marks = np.zeros(1 << bits, np.bool_)
        marks[_hash(key[first], 64 - bits)] = True
        return cls(users, key[first], first, marks, 64 - bits)

    def find(self, item: Ints, user: Ints) -> tuple[Ints, Ints, Ints]:
        """The pairs (item[r, h], user[r]) that exist, by key: r, h, and the first row; a negative item is none.

        `item` is (R, H), `user` is (R,).
        """
        key = item * self.users + user[:, None]
        rater, place = np.nonzero(self.marks[_hash(key, self.shift)])
        key = key[rater, place]
        order = np.argsort(key)  # searching in order stays near what was read last
        rater, place, key = rater[order], place[order], key[order]
        found = np.clip(np.searchsorted(self.key, key), 0, self.key.size - 1)
        there = self.key[found] == key
        return rater[there], place[there], self.first[found[there]]


def _hash(key: Ints, shift: int) -> Ints:
    """The leading 64 - `shift` bits of key x 2**64 / golden ratio (Knuth, The Art of Computer Programming 3, 6.4)."""
    return ((key.view(np.uint64) * np.uint64(GOLDEN)) >> np.uint64(shift)).view(np.int64)


def _chunks(cost: Ints) -> Iterator[slice]:
    """Runs of questions whose costs sum to at most CHUNK (a dearer one stands alone)."""
    start, total = 0, 0
    for stop, one in enumerate(cost.tolist()):
        if total and total + one > CHUNK:
            yield slice(start, stop)
            start, total = stop, 0
        total += one
    yield slice(start, len(cost))
