"""All interactions as arrays sorted by (user, time, file order), and counts as of any moment.

Everything that split, evidence and texts know of the past goes through here, so that one place decides what "before"
means. A row's `position` is its place in its user's sequence, 0 the oldest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from reasoningrec.data.corpus import Corpus

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Timeline:
    """The interactions of a corpus, N rows sorted by (user, time, row); without times by (user, row).

    `user`, `item` are codes into `users`, `items` (sorted names); `clock` is the dense rank of the time, 0 everywhere
    where times are missing; `start` has one more entry than there are users: user u owns rows start[u]:start[u + 1].
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    row: Ints
    user: Ints
    item: Ints
    liked: Bools
    rating: Floats  # nan where there is none
    time: Ints | None
    clock: Ints
    start: Ints
    position: Ints

    @property
    def length(self) -> Ints:
        """Rows of each user."""
        return np.diff(self.start)

    @classmethod
    def of(cls, corpus: Corpus) -> Timeline:
        """Sort and code the interactions of `corpus`."""
        has_times = corpus.has_times
        users, items = corpus.interactions["user"].unique().sort(), corpus.items["item"].sort()
        frame = corpus.interactions.with_columns(
            _coded(corpus.interactions["user"], users), _coded(corpus.interactions["item"], items)
        ).sort(["user", "time", "row"] if has_times else ["user", "row"])
        user = frame["user"].to_numpy()
        start = np.searchsorted(user, np.arange(len(users) + 1)).astype(np.int64)
        time = frame["time"].to_numpy().astype(np.int64) if has_times else None
        clock = np.unique(time, return_inverse=True)[1] if time is not None else np.zeros(len(frame), np.int64)
        return cls(
            users=tuple(users.to_list()),
            items=tuple(items.to_list()),
            row=frame["row"].to_numpy().astype(np.int64),
            user=user.astype(np.int64),
            item=frame["item"].to_numpy().astype(np.int64),
            liked=frame["liked"].to_numpy().astype(np.bool_),
            rating=frame["rating"].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64),
            time=time,
            clock=clock.astype(np.int64),
            start=start,
            position=np.arange(len(frame), dtype=np.int64) - start[user],
        )

    def first_twin(self) -> Ints:
        """(U,) of each user, the first (by code) who has the same items in the same order: perhaps the user alone."""
        first: dict[bytes, int] = {}
        own = np.split(self.item, self.start[1:-1])
        return np.array([first.setdefault(items.tobytes(), code) for code, items in enumerate(own)], np.int64)

    def pasts(self, user: Ints, past: Ints) -> tuple[Ints, Ints]:
        """(P,) which of the questions, and (P,) which row: each question's user's first `past` rows, in order."""
        return members(self.start[user], past)


def _coded(values: pl.Series, names: pl.Series) -> pl.Series:
    """The place of each of `values` among the distinct `names`."""
    code = pl.DataFrame({"name": names, "code": np.arange(len(names))})
    found = values.to_frame("name").join(code, on="name", how="left", maintain_order="left")["code"]
    return found.alias(values.name)


def members(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """For runs first[i] : first[i] + count[i], the run of each member and the member itself."""
    of = np.repeat(np.arange(first.size), count)
    offset = np.arange(of.size) - np.repeat(np.cumsum(count) - count, count)
    return of, first[of] + offset


def running_sum(values: Floats | Bools) -> Floats:
    """(N + 1,) sums of the first 0, 1, ... N values, each value kept to a multiple of 2**-20.

    Sums are then exact up to 2**33, so the difference of two depends on the values between them alone: not even the
    last bit tells of values before or after them. A value loses at most 5e-7.
    """
    sums = np.zeros(values.size + 1)  # one array for all steps: at millions of rows, fresh ones cost more than the sums
    np.multiply(values, 2.0**20, out=sums[1:])
    np.cumsum(np.round(sums, out=sums), out=sums)
    sums /= 2.0**20
    return sums


class CountsBefore:
    """How many rows of a group lie before a moment, and the sum of their values.

    Built once in O(N log N); each of Q questions costs O(log N). Groups and moments are integers below 2**31.

    Args:
        group: (N,) the group of each row, such as its item.
        moment: (N,) when each row happened: a clock, or a position.
        values: (N,) what to sum, such as likes.
    """

    def __init__(self, group: Ints, moment: Ints, values: Floats | Bools) -> None:
        self._width = int(moment.max(initial=0)) + 2
        key = group * self._width + moment
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        self._sum = running_sum(values[order])

    def __call__(self, group: Ints, moment: Ints) -> tuple[Floats, Floats]:
        """(Q,) counts and (Q,) sums over rows of `group` with a moment strictly below `moment`."""
        inside = np.clip(moment, 0, self._width - 1)
        first, last = self._place(group * self._width), self._place(group * self._width + inside)
        last = np.maximum(last, first)
        return (last - first).astype(np.float64), self._sum[last] - self._sum[first]

    def _place(self, key: Ints) -> Ints:
        """(Q,) the first row of each key or of a later one; searched in order, which stays near what was read last."""
        order = np.argsort(key)
        place = np.empty_like(key)
        place[order] = np.searchsorted(self._key, key[order])
        return place
