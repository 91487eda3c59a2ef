"""Which interactions are asked about, in whose past, and how much of it a prompt shows (DESIGN: records and protocol).

Per user in (time, file order): the last `tests_per_user` rows are test targets, the one before valid, the ones before
that train targets. The history of a target is the k rows before it. A row with nothing before it is never a target.

`strict` shows only what lies strictly before the target's time: rows of the target's own day are left out where times
are days. `honest` and `paper` show what lies before it in (time, file order), as the paper does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import polars as pl

from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.timeline import Ints, Timeline
from reasoningrec.errors import DataError
from reasoningrec.records import Example, Query, Reaction, Role


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
    tests = config.tests_per_user
    from_end = timeline.length[timeline.user] - 1 - timeline.position
    role = np.select([from_end < tests, from_end == tests], ["test", "valid"], "train")
    wanted = timeline.position >= 1
    if config.train_windows:
        wanted &= from_end <= tests + config.train_windows
    at = np.flatnonzero(wanted)
    if not at.size:
        raise DataError("no user has two interactions, so there is nothing to ask about")
    past = past_rows(timeline, at, protocol)
    frame = pl.DataFrame(
        {
            "role": role[at],
            "user": np.asarray(timeline.users, dtype=object)[timeline.user[at]].astype(str),
            "item": np.asarray(timeline.items, dtype=object)[timeline.item[at]].astype(str),
            "time": timeline.time[at] if timeline.time is not None else pl.Series([None] * at.size, dtype=pl.Int64),
            "label": timeline.liked[at],
            "main": from_end[at] <= tests + 1,
            "at": at,
            "past": past,
            "profile": _profile_rows(timeline, at, past, config),
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
    from_end = timeline.length[timeline.user] - 1 - timeline.position
    first = config.tests_per_user + config.train_windows + 1
    if not config.train_windows:  # all of them are windows already
        first = timeline.user.size
    at = np.flatnonzero((timeline.position >= 1) & (from_end >= first))
    total = np.cumsum(np.bincount(from_end[at] - first))
    at = at[from_end[at] - first < int((total <= most).sum())]
    return pl.DataFrame(
        {"role": ["train"] * at.size, "label": timeline.liked[at], "at": at, "past": past_rows(timeline, at, protocol)},
        schema={"role": pl.String, "label": pl.Boolean, "at": pl.Int64, "past": pl.Int64},
    )


def past_rows(timeline: Timeline, at: Ints, protocol: Protocol) -> Ints:
    """How many of the user's rows, oldest first, count as known before each target."""
    if protocol != "strict":
        return timeline.position[at]
    width = int(timeline.clock.max()) + 1
    keys = timeline.user * width + timeline.clock  # ascending: rows are sorted by user, then clock
    first_of_moment = np.searchsorted(keys, keys[at], side="left")
    return (first_of_moment - timeline.start[timeline.user[at]]).astype(np.int64)


def _profile_rows(timeline: Timeline, at: Ints, past: Ints, config: SplitConfig) -> Ints:
    main_start = timeline.length[timeline.user[at]] - 2 - config.tests_per_user - config.history
    return np.clip(np.minimum(main_start, past - config.history), 0, None)


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
