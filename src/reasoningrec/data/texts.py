"""Which reviews and rows a text may be written from (protocols: DESIGN, records and protocol).

`honest` and `strict`: a description as of a query is written from the item's reviews that are strictly earlier than
the query and belong to no target of any window; so neither a target's own review nor anything later can touch a
prompt. As the allowed reviews of an item are always its first n in time, a text is named by (item, n); n is rounded
down to a power of two, so that an item has few texts over time. `paper`: all reviews of the item, the target's own too
(the leak).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from reasoningrec.config import Protocol
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.timeline import CountsBefore, Ints, Timeline


class AllowedReviews:
    """Reviews by item in time order, and how many of them a query may know.

    Args:
        corpus: its reviews.
        timeline: its interactions.
        windows: the split; their targets' reviews are left out (save in `paper`).
        protocol: see above.
        most: at most this many reviews are read for one text.
    """

    def __init__(
        self, corpus: Corpus, timeline: Timeline, windows: pl.DataFrame, protocol: Protocol, most: int
    ) -> None:
        self._most, self._all = most, protocol == "paper" or timeline.time is None
        allowed = np.isin(timeline.row, corpus.reviews["row"].to_numpy())
        if protocol != "paper":
            allowed[windows["at"].to_numpy()] = False
        at = np.flatnonzero(allowed)
        self._at = at[np.lexsort((timeline.row[at], timeline.clock[at], timeline.item[at]))]
        item = timeline.item[self._at]
        self._start = np.searchsorted(item, np.arange(len(timeline.items) + 1))
        self._row = timeline.row[self._at]
        self._count = CountsBefore(item, timeline.clock[self._at], np.zeros(item.size))
        self._texts = dict(
            corpus.reviews.select(
                "row", pl.concat_str(["summary", "text"], separator=". ").str.strip_chars(". ")
            ).iter_rows()
        )

    def count(self, item: Ints, clock: Ints) -> Ints:
        """(Q,) how many reviews of each item a query at `clock` may know, rounded down to a power of two."""
        moment = np.full_like(clock, np.iinfo(np.int32).max) if self._all else clock
        n = np.minimum(self._count(item, moment)[0], self._most).astype(np.int64)
        return np.where(n > 0, 1 << np.floor(np.log2(np.maximum(n, 1))).astype(np.int64), 0)

    def texts(self, item: int, n: int) -> Sequence[str]:
        """The first n allowed reviews of an item, oldest first."""
        return [self._texts[row] for row in self._row[self._first(item, n)].tolist()]

    def places(self, item: int, n: int) -> Ints:
        """Where in the timeline the first n allowed reviews of an item stand, oldest first."""
        return self._at[self._first(item, n)]

    def _first(self, item: int, n: int) -> slice:
        first = self._start[item]
        return slice(first, min(first + n, self._start[item + 1]))


def text_key(name: str, n: int) -> str:
    """The id of a text on an item or user written from its first n reviews or rows."""
    return f"{name}@{n}"
