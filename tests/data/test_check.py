"""Counts of `data check`: against a plain loop on made data, and against what is known of the real sets."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.config import DataConfig, SplitConfig
from reasoningrec.data.check import DAY, Findings, check
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, BadRow, Corpus, empty
from reasoningrec.data.load import load

Row = tuple[str, str, bool, int]


def corpus(rows: list[Row], *, times: bool = True) -> Corpus:
    data = [
        (n, user, item, 4.0 if liked else 2.0, liked, time if times else None)
        for n, (user, item, liked, time) in enumerate(rows)
    ]
    items = pl.DataFrame({"item": sorted({item for _, item, *_ in rows} | {"unsold"})})
    items = items.with_columns(pl.lit(None, kind).alias(name) for name, kind in ITEMS.items() if name != "item")
    return Corpus("made", pl.DataFrame(data, schema=dict(INTERACTIONS), orient="row"), items)


def plain(rows: list[Row], history: int, *, times: bool) -> dict[str, Any]:
    """The counts by a loop that follows their definitions word for word."""
    past: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[3]) if times else rows:
        past[row[0]].append(row)
    tests = {user: own for user, own in past.items() if len(own) > 1}
    sequences = Counter(tuple(row[1] for row in own) for own in past.values())
    windows = Counter(tuple(row[1:3] for row in own[-history - 1 :]) for own in tests.values())

    def others(user: str, target: Row) -> bool:
        return any(who != user and item == target[1] and (not times or time < target[3]) for who, item, _, time in rows)

    return {
        "users": len(past),
        "interactions": len(rows),
        "repeated_rows": sum(len(own) - len({row[1] for row in own}) for own in past.values()),
        "users_with_repeats": sum(len({row[1] for row in own}) < len(own) for own in past.values()),
        "constant_users": sum(len({row[2] for row in own}) == 1 for own in past.values()),
        "one_day_users": sum(len({row[3] // DAY for row in own}) == 1 for own in past.values()) if times else None,
        "twin_users": sum(count for count in sequences.values() if count > 1),
        "sequences": len(sequences),
        "twin_windows": sum(count for count in windows.values() if count > 1),
        "windows": {
            role: sum(len(own) > n for own in past.values()) for role, n in (("train", 3), ("valid", 2), ("test", 1))
        },
        "strict_windows": _strict(past) if times else None,
        "short_users": sum(len(own) < 4 for own in past.values()),
        "short_histories": sum(len(own) - 1 < history for own in tests.values()),
        "strict_short_histories": sum(sum(row[3] < own[-1][3] for row in own) < history for own in tests.values())
        if times
        else None,
        "targets_in_window": sum(own[-1][1] in [row[1] for row in own[-history - 1 : -1]] for own in tests.values()),
        "targets_seen": sum(own[-1][1] in [row[1] for row in own[:-1]] for own in tests.values()),
        "same_time": sum(own[-1][3] == own[-2][3] for own in tests.values()) if times else None,
        "same_day": sum(own[-1][3] // DAY == own[-2][3] // DAY for own in tests.values()) if times else None,
        "cold": sum(not others(user, own[-1]) for user, own in tests.items()),
    }


def _strict(past: dict[str, list[Row]]) -> dict[str, int]:
    """Users with a row before a test, valid and train target, each strictly earlier than the next."""
    found = {"train": 0, "valid": 0, "test": 0}
    for rows in past.values():
        own = rows
        for role in ("test", "valid", "train"):
            if len(own) < 2:
                break
            found[role] += 1
            target = own[-1]
            own = [row for row in own if row[3] < target[3]]
    return found


ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"), st.sampled_from("abc"), st.booleans(), st.sampled_from([0, 1, DAY - 1, DAY, 3 * DAY])
    ),
    min_size=1,
    max_size=14,
)


@settings(deadline=None)
@given(ROWS, st.integers(1, 5), st.booleans())
def test_counts_equal_a_plain_loop(rows: list[Row], history: int, times: bool) -> None:
    found = check(corpus(rows, times=times), SplitConfig(history=history))
    expected = plain(rows, history, times=times)
    assert {name: getattr(found, name) for name in expected} == expected


def test_windows_are_those_of_the_split() -> None:
    rows = [("u", item, item in "ace", 10 * place) for place, item in enumerate("abcdef")]
    found = check(
        corpus([*rows, ("v", "a", True, 0), ("v", "b", True, 5)]), SplitConfig(tests_per_user=2, train_windows=0)
    )
    assert found.windows == found.strict_windows == {"train": 2, "valid": 1, "test": 3}
    assert found.short_users == 1  # five rows are needed for two test targets
    assert found.last_rows == 2


def test_rows_say_it_in_words() -> None:
    made = corpus([("u", "a", True, 0), ("u", "b", False, 10), ("v", "a", True, 5), ("v", "b", False, DAY)])
    lines = list(check(made, SplitConfig(history=4)).rows())
    said = {what: figure for _, what, figure in lines}
    assert said["users"] == "2"
    assert said["items"] == "3 (1 of them without a row)"
    assert said["likes"] == "50.0%"
    assert said["times"] == "1970-01-01 to 1970-01-02 (UTC)"
    assert said["twins"] == "2 of 2 users; 1 distinct item sequences"
    assert said["test target of the last history row's day"] == "1 of 2 targets"
    assert said["train windows"] == "0 (0 under strict)"
    assert {section for section, *_ in lines} == {"found", "odd", "would happen"}


def test_without_times_it_says_so() -> None:
    said = {
        what: figure
        for _, what, figure in check(corpus([("u", "a", True, 0)], times=False), SplitConfig(history=4)).rows()
    }
    assert said["times"] == "unknown"
    assert said["protocols"] == "honest, paper (no times)"
    assert said["all on one day"] == "unknown: no times"


def test_notes_and_bad_rows_are_shown() -> None:
    made = corpus([("u", "a", True, 0)])
    bad = tuple(BadRow("f.csv", line, "rating", "is empty") for line in range(30))
    lines = list(
        check(Corpus("x", made.interactions, made.items, bad_rows=bad, notes=("a rule: 3",)), SplitConfig()).rows()
    )
    assert ("rules applied", "1", "a rule: 3") in lines
    assert ("bad rows left out", "f.csv:0", "rating: is empty") in lines
    assert lines[-1] == ("bad rows left out", "in all", "30")


def test_a_corpus_of_single_rows_has_no_targets() -> None:
    found = check(corpus([("u", "a", True, 0), ("v", "a", True, 0)]), SplitConfig())
    assert found.windows == {"train": 0, "valid": 0, "test": 0}
    assert found.test_like_share == 0
    assert empty(INTERACTIONS).height == 0


def real(root: Path, source: str, place: str, history: int, **values: Any) -> Findings:
    data = DataConfig.model_validate({"source": source, "path": str(root / place), **values})
    return check(load(data, "real"), SplitConfig(history=history))


def test_the_real_fashion(data_root: Path) -> None:
    found = real(data_root, "release", "paper-release/fashion", 4, repeats="first")
    assert (found.twin_users, found.sequences, found.twin_windows) == (322, 961, 341)
    assert found.same_day == 599
    assert found.windows == {"train": 1273, "valid": 1273, "test": 1273}
    assert found.strict_windows == {"train": 817, "valid": 898, "test": 1273}


def test_the_real_beauty(data_root: Path) -> None:
    found = real(data_root, "release", "paper-release/beauty", 5, repeats="first")
    assert (found.twin_users, found.sequences, found.twin_windows) == (296, 405, 303)
    assert found.same_day == 427 + 1  # and the target appended for user 273, which takes the time of the row before
    assert (found.users_with_repeats, found.targets_in_window) == (480, 77)
    assert any("misaligned test windows" in note and note.endswith(": 6") for note in found.notes)


def test_the_real_100k(data_root: Path) -> None:
    found = real(data_root, "movielens", "ml-100k", 20)
    assert (found.users, found.items, found.interactions) == (943, 1682, 100_000)
    assert found.same_time == 415
    assert found.twin_users == 0


def test_the_real_fashion_5_core(data_root: Path) -> None:
    path = data_root / "amazon-2018" / "AMAZON_FASHION_5.json"
    found = real(data_root, "amazon", "amazon-2018/AMAZON_FASHION_5.json", 4)
    assert (found.users, found.items) == (406, 31)
    assert (found.constant_users, found.one_day_users) == (393, 382)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    whole = corpus([(row["reviewerID"], row["asin"], row["overall"] > 3, row["unixReviewTime"]) for row in rows])
    assert check(whole, SplitConfig(history=4)).same_day == 401
