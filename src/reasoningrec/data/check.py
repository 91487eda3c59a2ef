"""What is in a corpus, what is odd about it, and what a split would make of it; nothing is changed.

A user's order is (time, file order). Windows are counted as the split would make them; what is odd about targets is
counted of one per user, the last row. Twins are users whose whole item sequence equals
another user's: their windows are no independent evidence. A target is cold when nobody else had the item strictly
before; where the data have no times, when nobody else had it at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.corpus import BadRow, Corpus
from reasoningrec.data.split import split
from reasoningrec.data.timeline import Timeline
from reasoningrec.errors import DataError

DAY = 86_400
BAD_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts on one corpus; shares lie in [0, 1]; None where the data have no times and the count needs them."""

    name: str
    history: int
    users: int
    items: int
    interactions: int
    like_share: float
    first_time: int | None
    last_time: int | None
    reviews: int
    items_without_rows: int
    repeated_rows: int
    """Rows whose (user, item) stands in an earlier row."""
    users_with_repeats: int
    constant_users: int
    """Users who give every row the same rating (or label, where there are no ratings)."""
    one_day_users: int | None
    twin_users: int
    sequences: int
    """Distinct item sequences."""
    twin_windows: int
    """Users who share the test window (at most k items and the target) and its labels with another."""
    windows: dict[str, int]
    """Test, valid and train windows of the split."""
    strict_windows: dict[str, int] | None
    """The same under `strict`, where valid and train targets are strictly earlier than the next."""
    short_users: int
    """Users with too few rows for all their test targets, a valid and a train target, and one to know before them."""
    short_histories: int
    """Test windows with fewer than k items of history."""
    strict_short_histories: int | None
    """The same under `strict`, which knows fewer rows."""
    test_like_share: float
    last_rows: int
    """Users with a row before their last; the counts of targets below are of these last rows."""
    targets_in_window: int
    """Test targets that stand in their own history of k."""
    targets_seen: int
    """Test targets that the user had at any earlier time."""
    same_time: int | None
    """Test targets with the very time of the user's row before: only file order puts one before the other."""
    same_day: int | None
    """Test targets of the same UTC day as the user's row before."""
    cold: int
    """Test targets that nobody else had strictly earlier; without times: that nobody else had at all."""
    given_descriptions: int
    given_profiles: int
    bad_rows: tuple[BadRow, ...]
    notes: tuple[str, ...]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(section, what, figure) for people, in reading order."""
        yield from _found(self)
        yield from _odd(self)
        yield from _would(self)
        for place, note in enumerate(self.notes, 1):
            yield "rules applied", str(place), note
        for bad in self.bad_rows[:BAD_SHOWN]:
            yield "bad rows left out", f"{bad.file}:{bad.line}", f"{bad.field}: {bad.problem}"
        if len(self.bad_rows) > BAD_SHOWN:
            yield "bad rows left out", "in all", str(len(self.bad_rows))


def check(corpus: Corpus, config: SplitConfig) -> Findings:
    """Count what `Findings` names, of the windows that the split would make."""
    has_times = corpus.has_times
    rows = corpus.interactions.sort("user", *(["time"] if has_times else []), "row").with_columns(
        left=pl.len().over("user") - 1 - pl.int_range(pl.len()).over("user"), day=pl.col("time") // DAY
    )
    first, last = (rows["time"].min(), rows["time"].max()) if has_times else (None, None)
    return Findings(
        name=corpus.name,
        history=config.history,
        items=corpus.items.height,
        interactions=rows.height,
        like_share=_share(rows["liked"]),
        first_time=first if isinstance(first, int) else None,
        last_time=last if isinstance(last, int) else None,
        reviews=corpus.reviews.height,
        items_without_rows=corpus.items.join(rows, on="item", how="anti").height,
        given_descriptions=corpus.given_descriptions.height,
        given_profiles=corpus.given_profiles.height,
        bad_rows=corpus.bad_rows,
        notes=corpus.notes,
        **_on_users(rows, config.history, has_times=has_times),
        **_on_targets(rows, config.history, has_times=has_times),
        **_on_windows(corpus, config),
        short_users=rows.group_by("user").len().filter(pl.col("len") < config.tests_per_user + 3).height,
    )


def _on_windows(corpus: Corpus, config: SplitConfig) -> dict[str, Any]:
    timeline = Timeline.of(corpus)
    windows = _windows(timeline, config, "honest")
    strict = _windows(timeline, config, "strict") if corpus.has_times else None
    tests, short = pl.col("role") == "test", pl.col("past") < config.history
    return {
        "windows": _roles(windows),
        "strict_windows": None if strict is None else _roles(strict),
        "short_histories": windows.filter(tests, short).height,
        "strict_short_histories": None if strict is None else strict.filter(tests, short).height,
        "test_like_share": _share(windows.filter(tests)["label"]),
    }


def _windows(timeline: Timeline, config: SplitConfig, protocol: Protocol) -> pl.DataFrame:
    try:
        return split(timeline, config, protocol).select("role", "label", "past")
    except DataError:  # nobody has a past: no windows is what there is to say
        return pl.DataFrame(schema={"role": pl.String, "label": pl.Boolean, "past": pl.Int64})


def _roles(windows: pl.DataFrame) -> dict[str, int]:
    return {role: windows.filter(pl.col("role") == role).height for role in ("train", "valid", "test")}


def _on_users(rows: pl.DataFrame, history: int, *, has_times: bool) -> dict[str, Any]:
    users = rows.group_by("user", maintain_order=True).agg(
        pl.len().alias("size"),
        pl.col("item").alias("sequence"),
        pl.col("item").tail(history + 1).alias("window"),
        pl.col("liked").tail(history + 1).alias("labels"),
        pl.coalesce("rating", pl.col("liked").cast(pl.Float64)).n_unique().alias("ratings"),
        pl.col("item").n_unique().alias("distinct"),
        pl.col("day").n_unique().alias("days"),
    )
    size = users["size"]
    return {
        "users": users.height,
        "repeated_rows": int((size - users["distinct"]).sum()),
        "users_with_repeats": int((size > users["distinct"]).sum()),
        "constant_users": int((users["ratings"] == 1).sum()),
        "one_day_users": int((users["days"] == 1).sum()) if has_times else None,
        "twin_users": _shared(users, ["sequence"]),
        "sequences": users["sequence"].n_unique(),
        "twin_windows": _shared(users.filter(pl.col("size") > 1), ["window", "labels"]),
    }


def _on_targets(rows: pl.DataFrame, history: int, *, has_times: bool) -> dict[str, Any]:
    before = rows.filter(pl.col("left") > 0)
    tests = rows.filter(pl.col("left") == 0).join(before, on="user", how="semi")
    near = before.filter(pl.col("left") <= history)
    pairs = tests.join(before.filter(pl.col("left") == 1), on="user", suffix="_before")
    return {
        "last_rows": tests.height,
        "targets_in_window": tests.join(near, on=["user", "item"], how="semi").height,
        "targets_seen": tests.join(before, on=["user", "item"], how="semi").height,
        "same_time": int((pairs["time"] == pairs["time_before"]).sum()) if has_times else None,
        "same_day": int((pairs["day"] == pairs["day_before"]).sum()) if has_times else None,
        "cold": _cold(rows, tests, has_times=has_times),
    }


def _share(labels: pl.Series) -> float:
    return float(labels.cast(pl.Float64).sum()) / max(len(labels), 1)


def _shared(users: pl.DataFrame, columns: list[str]) -> int:
    """Users who agree with at least one other in `columns`."""
    sizes = users.group_by(columns).len()["len"]
    return int(sizes.filter(sizes > 1).sum())


def _cold(rows: pl.DataFrame, tests: pl.DataFrame, *, has_times: bool) -> int:
    """Test targets without a strictly earlier row of another user."""
    when = pl.col("time") if has_times else pl.lit(0)
    firsts = rows.group_by("item", "user").agg(when.min().alias("first")).sort("item", "first")
    two = firsts.group_by("item", maintain_order=True).head(2)  # the earliest of others is one of an item's first two
    others = tests.select("item", "user", "time").join(two, on="item", suffix="_other")
    others = others.filter(pl.col("user") != pl.col("user_other"))
    if has_times:
        others = others.filter(pl.col("first") < pl.col("time"))
    return tests.join(others, on="user", how="anti").height


def _found(f: Findings) -> Iterator[tuple[str, str, str]]:
    section = "found"
    yield section, "users", f"{f.users:,}"
    yield section, "items", f"{f.items:,} ({f.items_without_rows:,} of them without a row)"
    yield section, "interactions", f"{f.interactions:,}"
    yield section, "likes", f"{f.like_share:.1%}"
    known = f.first_time is not None and f.last_time is not None
    yield section, "times", f"{_day(f.first_time)} to {_day(f.last_time)} (UTC)" if known else "unknown"
    yield section, "reviews", f"{f.reviews:,}"
    if f.given_descriptions or f.given_profiles:
        yield section, "given texts", f"{f.given_descriptions:,} descriptions, {f.given_profiles:,} profiles"


def _odd(f: Findings) -> Iterator[tuple[str, str, str]]:
    section, tests = "odd", f.last_rows
    yield section, "repeats of a (user, item)", f"{f.repeated_rows:,} rows of {f.users_with_repeats:,} users"
    yield section, "twins", f"{f.twin_users:,} of {f.users:,} users; {f.sequences:,} distinct item sequences"
    yield section, "same test window and labels as another", f"{f.twin_windows:,} users"
    yield section, "one constant rating", f"{f.constant_users:,} of {f.users:,} users"
    yield section, "all on one day", _of(f.one_day_users, f.users, "users")
    yield section, "test target in its own history", f"{f.targets_in_window:,} of {tests:,}"
    yield section, "test target had before by the user", f"{f.targets_seen:,} of {tests:,}"
    yield section, "test target of the last history row's day", _of(f.same_day, tests, "targets")
    yield section, "test target of the last history row's very time", _of(f.same_time, tests, "targets")
    cold = "nobody else had it before" if f.first_time is not None else "nobody else had it"
    yield section, f"cold test target ({cold})", f"{f.cold:,} of {tests:,}"


def _would(f: Findings) -> Iterator[tuple[str, str, str]]:
    section = "would happen"
    for role in ("train", "valid", "test"):
        strict = f" ({f.strict_windows[role]:,} under strict)" if f.strict_windows else ""
        yield section, f"{role} windows", f"{f.windows[role]:,}{strict}"
    yield section, "likes among test targets", f"{f.test_like_share:.1%}"
    yield section, "users too short for all three", f"{f.short_users:,}"
    strict = f" ({f.strict_short_histories:,} under strict)" if f.strict_short_histories is not None else ""
    yield section, f"test histories shorter than {f.history}", f"{f.short_histories:,}{strict}"
    yield section, "protocols", "honest, strict, paper" if f.first_time is not None else "honest, paper (no times)"


def _of(count: int | None, total: int, what: str) -> str:
    return "unknown: no times" if count is None else f"{count:,} of {total:,} {what}"


def _day(time: int | None) -> str:
    return datetime.fromtimestamp(time or 0, UTC).date().isoformat()
