"""Numbers known before each question, all as of its moment and none from its own row.

A share of n reactions with s likes is drawn towards a base rate b by `smoothing` pseudo-reactions m, (s + m b) / (n +
m), and what it says is its weight of evidence over that base, logit(share) - logit(b), in nats (I. J. Good,
Probability and the Weighing of Evidence, 1950). Nothing is fitted here, so no label can travel through a fitted weight
into a prompt.

What counts as before: of the user's own rows the first `past` (see `split`); of others' rows those strictly earlier in
time, or, where times are missing, those of other users' train windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from reasoningrec.config import EvidenceConfig
from reasoningrec.data.attributes import Attributes
from reasoningrec.data.neighbours import Crowd, neighbours
from reasoningrec.data.timeline import Bools, CountsBefore, Floats, Ints, Timeline, members, running_sum

Columns = dict[str, Floats]
DAY = 86_400
RECENT = 3
"""Reactions that count as "the last ones"."""
MEMBERS = 5_000_000
"""Pairs (reaction, group of its item) counted at once."""


@dataclass(frozen=True)
class Questions:
    """Q questions as arrays: (user, item) codes, clock and time of the moment, and the user's known rows."""

    user: Ints
    item: Ints
    clock: Ints
    past: Ints
    time: Ints | None

    @classmethod
    def of_windows(cls, timeline: Timeline, windows: pl.DataFrame) -> Questions:
        """The questions that `split` made."""
        at = windows["at"].to_numpy()
        time = timeline.time[at] if timeline.time is not None else None
        clock = timeline.clock[at] if time is not None else np.ones(at.size, np.int64)
        return cls(timeline.user[at], timeline.item[at], clock, windows["past"].to_numpy(), time)


def logit(p: Floats) -> Floats:
    """ln(p / (1 - p)); p strictly between 0 and 1."""
    return np.asarray(np.log(p) - np.log1p(-p))


FOLDS = 10


def numbers(
    timeline: Timeline, attributes: Attributes, windows: pl.DataFrame, config: EvidenceConfig, history: int
) -> pl.DataFrame:
    """The numbers of every window, in the windows' order.

    Without times, others' rows are those of their train windows, and a train question is told of users outside its own
    fold of users alone. Otherwise "all others" would differ from "all" by just the label that is asked for, and what is
    fitted on such numbers reads the label off them (the leave-one-out leak of target encoding).
    """
    everyone = np.arange(timeline.user.size)
    if timeline.time is not None:
        table = EvidenceTable(timeline, attributes, config, history, everyone)
        return table.numbers(Questions.of_windows(timeline, windows))
    crowd = train_rows(timeline, windows)
    fold = np.where(windows["role"].to_numpy() == "train", timeline.user[windows["at"].to_numpy()] % FOLDS, -1)
    parts = []
    for one in range(-1, FOLDS):
        at = np.flatnonzero(fold == one)
        if at.size:
            rows = crowd if one < 0 else crowd[timeline.user[crowd] % FOLDS != one]
            table = EvidenceTable(timeline, attributes, config, history, rows)
            found = table.numbers(Questions.of_windows(timeline, windows[at]))
            parts.append(found.with_columns(pl.Series("_at", at)))
    return pl.concat(parts).sort("_at").drop("_at")


def crowd_now(timeline: Timeline, windows: pl.DataFrame) -> Ints:
    """The timeline's rows that may count as others' doings for a question of after all of them."""
    return train_rows(timeline, windows) if timeline.time is None else np.arange(timeline.user.size)


def train_rows(timeline: Timeline, windows: pl.DataFrame) -> Ints:
    """The timeline's rows that every valid and test target of their user may know."""
    held = windows.filter(pl.col("role") != "train")
    first_held = np.full(len(timeline.users), np.iinfo(np.int64).max)
    np.minimum.at(first_held, timeline.user[held["at"].to_numpy()], held["past"].to_numpy())
    return np.flatnonzero(timeline.position < first_held[timeline.user])


class EvidenceTable:
    """Counts over a timeline that answer any number of questions on it.

    Args:
        timeline: N rows.
        attributes: brand, categories, price band and title words of its items.
        config: smoothing and switches.
        history: k, how many reactions a prompt shows.
        crowd: the timeline's rows that may count as others' doings (the asking user's own are always left out).
    """

    def __init__(
        self, timeline: Timeline, attributes: Attributes, config: EvidenceConfig, history: int, crowd: Ints
    ) -> None:
        self.timeline, self.attributes, self.config, self.history = timeline, attributes, config, history
        liked = timeline.liked
        user, item, clock, says = timeline.user[crowd], timeline.item[crowd], timeline.clock[crowd], liked[crowd]
        self._crowd = Crowd.of(timeline, crowd, clock)
        self._all = CountsBefore(np.zeros_like(user), clock, says)
        self._own_all = CountsBefore(user, clock, says)
        self._item = CountsBefore(item, clock, says)
        self._own_item = CountsBefore(user * len(timeline.items) + item, clock, says)
        surprise = self._surprise()[crowd]
        self._item_surprise = CountsBefore(item, clock, surprise)
        self._own_item_surprise = CountsBefore(user * len(timeline.items) + item, clock, surprise)
        self._same = CountsBefore(timeline.user * len(timeline.items) + timeline.item, timeline.position, liked)
        self._likes = running_sum(liked)
        rated = ~np.isnan(timeline.rating)
        self._rated, self._stars = running_sum(rated), running_sum(np.where(rated, timeline.rating, 0.0))
        crowd = crowd[rated[crowd]]
        user, item, clock = timeline.user[crowd], timeline.item[crowd], timeline.clock[crowd]
        stars = timeline.rating[crowd]
        self._all_stars = CountsBefore(np.zeros_like(user), clock, stars)
        self._own_all_stars = CountsBefore(user, clock, stars)
        self._item_stars = CountsBefore(item, clock, stars)
        self._own_item_stars = CountsBefore(user * len(timeline.items) + item, clock, stars)

    def _surprise(self) -> Floats:
        """(N,) liked minus the share of likes among the user's earlier rows (one pseudo-like, one pseudo-dislike)."""
        line = self.timeline
        total = np.concatenate([[0.0], np.cumsum(line.liked)])
        before = total[:-1] - total[line.start[line.user]]
        return np.asarray(line.liked - (before + 1.0) / (line.position + 2.0))

    def shrunk(self, n: Floats, s: Floats, base: Floats) -> Floats:
        """(s + m base) / (n + m)."""
        m = self.config.smoothing
        return (s + m * base) / (n + m)

    def numbers(self, asked: Questions) -> pl.DataFrame:
        """One row per question: every counted number, of which facts are made (nats, unless named a count)."""
        columns = self._base_and_user(asked)
        columns |= self._item_by_others(asked, columns)
        columns |= self._same_item(asked)
        columns |= self._attributes(asked, columns)
        columns |= self._moment(asked, columns)
        columns |= self._history(asked, columns)
        return pl.DataFrame(columns)

    def _base_and_user(self, asked: Questions) -> Columns:
        n, s = self._all(np.zeros_like(asked.user), asked.clock)
        own_n, own_s = self._own_all(asked.user, asked.clock)
        base = (s - own_s + 1.0) / (n - own_n + 2.0)
        start = self.timeline.start[asked.user]
        stop = start + asked.past
        user_n, user_s = asked.past.astype(np.float64), self._likes[stop] - self._likes[start]
        user_p = self.shrunk(user_n, user_s, base)
        recent = np.maximum(start, stop - RECENT)
        window = np.maximum(start, stop - self.history)
        recent_n, recent_s = (stop - recent).astype(np.float64), self._likes[stop] - self._likes[recent]
        window_n, window_s = (stop - window).astype(np.float64), self._likes[stop] - self._likes[window]
        last = np.where(asked.past > 0, self._likes[stop] - self._likes[np.maximum(stop - 1, 0)], 0.5)
        rated = self._rated[stop] - self._rated[start]
        stars = (self._stars[stop] - self._stars[start]) / np.maximum(rated, 1.0)
        usual = self._usual_stars(asked, stars)
        return {
            "base": base,
            "user_n": user_n,
            "user_liked": user_s,
            "user_share": user_p,
            "user": logit(user_p) - logit(base),
            "window_n": window_n,
            "window_liked": window_s,
            "window": logit(self.shrunk(window_n, window_s, user_p)) - logit(user_p),
            "recent_n": recent_n,
            "recent_liked": recent_s,
            "recent": logit(self.shrunk(recent_n, recent_s, user_p)) - logit(user_p),
            "last": last - 0.5,
            "user_stars": (stars - usual) * rated / (rated + self.config.smoothing),
        }

    def _usual_stars(self, asked: Questions, own: Floats) -> Floats:
        """(Q,) mean rating of others before the moment; `own`, which then says nothing, where there is none."""
        n, s = self._all_stars(np.zeros_like(asked.user), asked.clock)
        own_n, own_s = self._own_all_stars(asked.user, asked.clock)
        return np.where(n > own_n, (s - own_s) / np.maximum(n - own_n, 1.0), own)

    def _item_by_others(self, asked: Questions, known: Columns) -> Columns:
        own = asked.user * len(self.timeline.items) + asked.item
        n, s = self._item(asked.item, asked.clock)
        own_n, own_s = self._own_item(own, asked.clock)
        _, surprise = self._item_surprise(asked.item, asked.clock)
        _, own_surprise = self._own_item_surprise(own, asked.clock)
        rated, stars = self._item_stars(asked.item, asked.clock)
        own_rated, own_stars = self._own_item_stars(own, asked.clock)
        rated, stars = rated - own_rated, stars - own_stars
        n, s = n - own_n, s - own_s
        share = self.shrunk(n, s, known["base"])
        m, usual = self.config.smoothing, self._usual_stars(asked, np.zeros(asked.user.size))
        return {
            "item_n": n,
            "item_liked": s,
            "item_share": share,
            "item": logit(share) - logit(known["base"]),
            "item_surprise": (surprise - own_surprise) / (n + m),
            "item_stars": (stars - usual * rated) / (rated + m),
            "item_log_n": np.log1p(n),
        }

    def _same_item(self, asked: Questions) -> Columns:
        n, s = self._same(asked.user * len(self.timeline.items) + asked.item, asked.past)
        return {"same_n": n, "same_liked": s, "same": (2.0 * s - n) / (n + 1.0)}

    def _attributes(self, asked: Questions, known: Columns) -> Columns:
        columns: Columns = {}
        for name, groups in self.attributes.groups.items():
            columns |= self._own_group(name, groups, asked, known["user_share"])
            columns |= self._crowd_group(name, groups, asked, known["base"])
        return columns | self._crowd_group("word", self.attributes.titles, asked, known["base"])

    def _own_group(self, name: str, groups: tuple[Ints, Ints], asked: Questions, user_p: Floats) -> Columns:
        """The user's own reactions to items that share a brand, category or price band with the target.

        Several categories: the mean of their weights, and the one of the largest absolute weight for the words.
        """
        line, kinds = self.timeline, int(groups[1].max(initial=0)) + 1
        of, value = _members(groups, line.item)
        counts = CountsBefore(line.user[of] * kinds + value, line.position[of], line.liked[of])
        query, value = _members(groups, asked.item)
        n, s = counts(asked.user[query] * kinds + value, asked.past[query])
        weight = logit(self.shrunk(n, s, user_p[query])) - logit(user_p[query])
        q = asked.user.size
        best = _largest(query, np.abs(weight).round(9), q)  # no last bit parts equal weights
        taken = np.where(best >= 0, best, 0)
        there = (best >= 0) & (n[taken] > 0 if n.size else False)

        def picked(values: Floats, none: float) -> Floats:
            return np.where(there, values[taken], none) if values.size else np.full(q, none)

        mean = np.bincount(query, weight, q) / np.maximum(np.bincount(query, minlength=q), 1)
        return {
            f"own_{name}": mean,
            f"own_{name}_n": picked(n, 0.0),
            f"own_{name}_liked": picked(s, 0.0),
            f"own_{name}_best": picked(weight, 0.0),
            f"own_{name}_which": picked(value.astype(np.float64), -1.0),
        }

    def _crowd_group(self, name: str, groups: tuple[Ints, Ints], asked: Questions, base: Floats) -> Columns:
        """Others' reactions to items of the target's brand, category or price band, or with a word of its title.

        Several groups: the mean of their weights, and of their counts.
        """
        crowd, q, items = self._crowd, asked.user.size, np.arange(len(self.timeline.items) + 1)
        rows = np.searchsorted(crowd.item, items)
        order = np.argsort(asked.item, kind="stable")
        questions = np.searchsorted(asked.item[order], items)
        weights, counted, total = np.zeros(q), np.zeros(q), np.zeros(q)
        for part in _parts(groups, np.diff(rows)):
            of, value = _by_item(part, rows)
            kinds = int(part[1].max(initial=0)) + 1
            everyone = CountsBefore(value, crowd.clock[of], crowd.liked[of])
            own = CountsBefore(crowd.user[of] * kinds + value, crowd.clock[of], crowd.liked[of])
            query, value = _by_item(part, questions)
            query = order[query]
            n, s = everyone(value, asked.clock[query])
            own_n, own_s = own(asked.user[query] * kinds + value, asked.clock[query])
            n, s = n - own_n, s - own_s
            weight = logit(self.shrunk(n, s, base[query])) - logit(base[query])
            weights += np.bincount(query, weight, q)
            counted += np.bincount(query, n, q)
            total += np.bincount(query, minlength=q)
        total = np.maximum(total, 1)
        return {f"crowd_{name}": weights / total, f"crowd_{name}_n": counted / total}

    def _moment(self, asked: Questions, known: Columns) -> Columns:
        """Reactions the user gave on the target's own day before it, and the days since the last one."""
        q = asked.user.size
        if asked.time is None or self.timeline.time is None:
            return {}
        line, day = self.timeline, asked.time // DAY
        own_day = line.time // DAY if line.time is not None else line.clock
        days, code = np.unique(np.concatenate([own_day, day]), return_inverse=True)
        counts = CountsBefore(line.user * days.size + code[: own_day.size], line.position, line.liked)
        n, s = counts(asked.user * days.size + code[own_day.size :], asked.past)
        stop = line.start[asked.user] + asked.past
        last_day = np.where(asked.past > 0, own_day[np.maximum(stop - 1, 0)], day)
        same_day = logit(self.shrunk(n, s, known["user_share"])) - logit(known["user_share"])
        assert n.size == q
        return {
            "day_n": n,
            "day_liked": s,
            "day": same_day,
            "gap": np.log1p(np.maximum(day - last_day, 0)),
        }

    def history_of(self, asked: Questions) -> tuple[Ints, Bools]:
        """(Q, k) item codes of the history, oldest first, -1 padding on the left, and whether they were liked."""
        back = np.arange(self.history, 0, -1)
        index = (self.timeline.start[asked.user] + asked.past)[:, None] - back
        there = index >= self.timeline.start[asked.user][:, None]
        index = np.maximum(index, 0)
        return np.where(there, self.timeline.item[index], -1), self.timeline.liked[index] & there

    def _history(self, asked: Questions, known: Columns) -> Columns:
        """Per place of the history ([H1] is the oldest shown): neighbours, likeness, and their sums."""
        item, liked = self.history_of(asked)
        likeness = np.where(item >= 0, self.attributes.likeness(item, asked.item), 0.0)
        surprise = np.where(liked, 1.0, 0.0) - known["user_share"][:, None]
        columns: Columns = {
            "alike": (likeness * surprise * (item >= 0)).sum(1),
            "alike_liked": np.where(liked, likeness, 0.0).max(1, initial=0.0),
            "alike_disliked": np.where(liked, 0.0, likeness).max(1, initial=0.0),
        }
        if self.config.neighbours:
            found = neighbours(self._crowd, asked.user, asked.item, asked.clock, (item, liked))
            share = known["item_share"][:, None]
            weight = logit(self.shrunk(found.n, found.liked, share)) - logit(share)
            columns |= {"co_liked": weight.mean(1), "co_liked_max": weight.max(1), "co_liked_min": weight.min(1)}
            columns["vote"] = found.vote
        else:
            found, weight = None, np.zeros(item.shape)
        for place in range(self.history):
            columns[f"h{place}_alike"] = likeness[:, place]
            columns[f"h{place}_co"] = weight[:, place]
            columns[f"h{place}_co_n"] = found.n[:, place] if found else np.zeros(asked.user.size)
            columns[f"h{place}_co_liked"] = found.liked[:, place] if found else np.zeros(asked.user.size)
        return columns


def _members(groups: tuple[Ints, Ints], item: Ints) -> tuple[Ints, Ints]:
    """For each entry of `item`, its groups: (which entry, which group), entries without one left out.

    `groups` is (offsets of each item into values, values).
    """
    offset, values = groups
    of, place = members(offset[item], np.diff(offset)[item])
    return of, values[place]


def _by_item(groups: tuple[Ints, Ints], start: Ints) -> tuple[Ints, Ints]:
    """The same of entries in the order of their items, where item i has start[i] : start[i + 1], but item by item.

    The cost is that of what is found: `groups` may be a part, of which most items have none.
    """
    offset, values = groups
    item = np.repeat(np.arange(offset.size - 1), np.diff(offset))
    of, entry = members(start[item], np.diff(start)[item])
    return entry, values[of]


def _parts(groups: tuple[Ints, Ints], size: Ints) -> Iterator[tuple[Ints, Ints]]:
    """`groups` in parts of whole groups, each with about `MEMBERS` entries, or one group; `size`: (I,) of each item.

    What is held at once is then bounded, however many words a title has.
    """
    offset, values = groups
    entries = np.bincount(values, np.repeat(size, np.diff(offset)), int(values.max(initial=0)) + 1)
    part_of = (np.cumsum(entries) - 1).astype(np.int64) // MEMBERS
    for part in np.unique(part_of[values]):
        taken = part_of[values] == part
        before = np.concatenate([[0], np.cumsum(taken)])
        yield before[offset], values[taken]


def _largest(query: Ints, size: Floats, q: int) -> Ints:
    """(Q,) index of the largest `size` of each query (first on ties), -1 where it has none."""
    best = np.full(q, -1, np.int64)
    order = np.lexsort((-np.arange(size.size), size))
    best[query[order]] = order
    return best
