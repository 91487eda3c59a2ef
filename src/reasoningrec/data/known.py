"""What a question may know, written apart from the code that the audit checks with it."""

from __future__ import annotations

import numpy as np
import polars as pl

from reasoningrec.data.timeline import Bools, Ints, Timeline


class Known:
    """What a question may know, by the rules of `honest` or `strict`, a row at a time.

    Of the asking user's own rows those before the target in (time, file order), and under `strict` strictly earlier;
    of others' rows those strictly earlier in time, or, where there are no times, those before every valid and test
    target of their user. Texts on items know besides no review of any target.
    """

    def __init__(self, timeline: Timeline, windows: pl.DataFrame, *, strict: bool) -> None:
        self.line, self.strict = timeline, strict
        self.at = dict(zip(windows["id"], windows["at"].to_list(), strict=True))
        self.targets = frozenset(self.at.values())
        held = windows.filter(pl.col("role") != "train")["at"].to_numpy()
        self._first_held = np.full(len(timeline.users), np.iinfo(np.int64).max)
        np.minimum.at(self._first_held, timeline.user[held], timeline.position[held])
        self._by_item = np.argsort(timeline.item, kind="stable")
        self._first_of_item = np.searchsorted(timeline.item[self._by_item], np.arange(len(timeline.items) + 1))

    def rows_of(self, item: int) -> Ints:
        """Places of all rows of an item."""
        return self._by_item[self._first_of_item[item] : self._first_of_item[item + 1]]

    def others(self, query_id: str, rows: Ints) -> Bools:
        """Which of `rows` are others' and may be known."""
        line, at = self.line, self.at[query_id]
        if line.time is None:
            before = line.position[rows] < self._first_held[line.user[rows]]
        else:
            before = line.time[rows] < line.time[at]
        return np.asarray(before & (line.user[rows] != line.user[at]))

    def admits(self, query_id: str, row: int, *, item_text: bool = False) -> bool:
        """Whether the question may know the row at place `row` of the timeline."""
        line, at = self.line, self.at[query_id]
        if item_text and row in self.targets:
            return False
        if line.user[row] == line.user[at]:
            before = line.position[row] < line.position[at]
            return bool(before and (not self.strict or line.clock[row] < line.clock[at]))
        return bool(self.others(query_id, np.array([row]))[0])

    def own(self, query_id: str) -> range:
        """Places of the user's rows that the question may know, oldest first."""
        at = self.at[query_id]
        start = int(self.line.start[self.line.user[at]])
        stop = at
        while self.strict and stop > start and self.line.clock[stop - 1] >= self.line.clock[at]:
            stop -= 1
        return range(start, stop)
