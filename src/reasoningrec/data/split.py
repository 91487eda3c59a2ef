"""Which interactions are asked about, in whose past, and how much of it a prompt shows (DESIGN: records and protocol).

Per user in (time, file order): the last `tests_per_user` rows are test targets, the one before valid, the ones before
that train targets (`strict` leaves some out, see below). The history of a target is the last k rows that it may know. A
user's first row is never a target.

`strict` shows only what lies strictly before the target's time: rows of the target's own day are left out where times
are days. Nor is anything learned from them: valid is the user's last row strictly earlier than the first test target,
and train targets are strictly earlier than valid. `honest` and `paper` show, and learn from, what lies before a target
in (time, file order), as the paper does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

import numpy as np
import polars as pl

from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.timeline import Bools, Ints, Timeline
from reasoningrec.errors import DataError
from reasoningrec.records import Example, Query, Reaction, Role

NO_TARGET: Final = np.iinfo(np.int64).max
"""Rank of a row that nothing is asked about or learned from."""


def split(timeline: Timeline, config: SplitConfig, protocol: Protocol) -> pl.DataFrame:
    """The windows, one row each, sorted by id.

    Columns: `id`, `role`, `user`, `item`, `time`, `label`, `main` (one of the paper's three windows, or a further test
    target; the others are earlier train windows), and for the machine `at` (index into the timeline), `past` (how many
    of the user's rows, from the oldest, a prompt may know) and `profile` (how many of them, from the oldest, lie before
    all main windows and this one's history: what a profile may be written from).

    Raises:
        DataError: `strict` is asked of data without times, or no user has a window.
    """
    if protocol == "strict" and timeline.time is None:
        raise DataError(
            'protocol = "strict" needs times, and these data have none',
            hint='Use protocol = "honest": facts on others then come from other users\' train windows only.',
        )
    tests, rank = config.tests_per_user, _ranks(timeline, config.tests_per_user, protocol)
    role = np.select([rank < tests, rank == tests], ["test", "valid"], "train")
    most = tests + (config.train_windows or timeline.user.size)
    at = np.flatnonzero((timeline.position >= 1) & (rank <= most))
    if not at.size:
        raise DataError("no user has two interactions, so there is nothing to ask about")
    past, main = past_rows(timeline, at, protocol), rank[at] <= tests + 1
    frame = pl.DataFrame(
        {
            "role": role[at],
            "user": np.asarray(timeline.users, dtype=object)[timeline.user[at]].astype(str),
            "item": np.asarray(timeline.items, dtype=object)[timeline.item[at]].astype(str),
            "time": timeline.time[at] if timeline.time is not None else pl.Series([None] * at.size, dtype=pl.Int64),
            "label": timeline.liked[at],
            "main": main,
            "at": at,
            "past": past,
            "profile": _profile_rows(timeline, at, past, main, config.history),
        }
    )
    name = pl.concat_str(
        "role", pl.lit("/"), "user", pl.lit("/"), pl.Series(timeline.position[at]).cast(pl.String).str.zfill(6)
    )
    return frame.select(name.alias("id"), *frame.columns).sort("id")


def earlier(timeline: Timeline, config: SplitConfig, protocol: Protocol, most: int) -> pl.DataFrame:
    """Train targets before those of `split`: columns `role`, `label`, `at`, `past`, as there; in the timeline's order.

    The next target before the windows of every user, then the one before that, and so on, as long as all together are
    at most `most`.
    """
    rank = _ranks(timeline, config.tests_per_user, protocol)
    first = config.tests_per_user + config.train_windows + 1
    if not config.train_windows:  # all of them are windows already
        first = timeline.user.size
    at = np.flatnonzero((timeline.position >= 1) & (rank >= first) & (rank < NO_TARGET))
    total = np.cumsum(np.bincount(rank[at] - first))
    at = at[rank[at] - first < int((total <= most).sum())]
    return pl.DataFrame(
        {"role": ["train"] * at.size, "label": timeline.liked[at], "at": at, "past": past_rows(timeline, at, protocol)},
        schema={"role": pl.String, "label": pl.Boolean, "at": pl.Int64, "past": pl.Int64},
    )


def _ranks(timeline: Timeline, tests: int, protocol: Protocol) -> Ints:
    """(N,) which target of its user a row is: 0 to tests - 1 test, from the last on, then valid, then train's.

    `NO_TARGET` under `strict`: rows of the time of the first test target, or of valid, that are neither.
    """
    from_end: Ints = timeline.length[timeline.user] - 1 - timeline.position
    if protocol != "strict":
        return from_end
    rank = np.full_like(from_end, NO_TARGET)
    rank[from_end < tests] = from_end[from_end < tests]
    start = timeline.start[:-1]
    valid = start + past_rows(timeline, start + np.maximum(timeline.length - tests, 0), protocol) - 1
    user = np.flatnonzero(valid >= start)
    rank[valid[user]] = tests
    before = np.zeros_like(start)
    before[user] = past_rows(timeline, valid[user], protocol)
    back = before[timeline.user] - 1 - timeline.position
    rank[back >= 0] = tests + 1 + back[back >= 0]
    return rank


def past_rows(timeline: Timeline, at: Ints, protocol: Protocol) -> Ints:
    """How many of the user's rows, oldest first, count as known before each target."""
    if protocol != "strict":
        return timeline.position[at]
    width = int(timeline.clock.max()) + 1
    keys = timeline.user * width + timeline.clock  # ascending: rows are sorted by user, then clock
    first_of_moment = np.searchsorted(keys, keys[at], side="left")
    return (first_of_moment - timeline.start[timeline.user[at]]).astype(np.int64)


def _profile_rows(timeline: Timeline, at: Ints, past: Ints, main: Bools, history: int) -> Ints:
    first_main = timeline.length.copy()
    np.minimum.at(first_main, timeline.user[at[main]], timeline.position[at[main]])
    known: Ints = np.minimum(first_main[timeline.user[at]], past) - history
    return np.maximum(known, 0)


def examples(timeline: Timeline, windows: pl.DataFrame, history: int) -> Iterator[Example]:
    """The windows as records, in the frame's order, each with at most `history` reactions."""
    for row in windows.iter_rows(named=True):
        query = Query(
            id=row["id"],
            user=row["user"],
            item=row["item"],
            time=row["time"],
            history=reactions(timeline, row["at"], row["past"], history),
        )
        yield Example(query, bool(row["label"]), cast(Role, row["role"]))


def reactions(timeline: Timeline, at: int, past: int, history: int) -> tuple[Reaction, ...]:
    """The last `history` of the first `past` rows of the user who owns row `at` of the timeline, oldest first."""
    start = int(timeline.start[timeline.user[at]])
    return tuple(_reaction(timeline, index) for index in range(start + max(0, past - history), start + past))


def _reaction(timeline: Timeline, index: int) -> Reaction:
    rating = float(timeline.rating[index])
    return Reaction(
        item=timeline.items[timeline.item[index]],
        liked=bool(timeline.liked[index]),
        rating=None if np.isnan(rating) else rating,
        time=None if timeline.time is None else int(timeline.time[index]),
    )
