"""The order of everything, and counts as of a moment, against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from making import DAY, Row, corpus_of
from reasoningrec.data.timeline import CountsBefore, Timeline, running_sum

ROWS = (
    Row(0, "u2", "i3", 5, 2 * DAY),
    Row(1, "u1", "i2", 2, DAY),
    Row(2, "u2", "i1", None, DAY, like=True),
    Row(3, "u1", "i1", 4, DAY),
    Row(4, "u1", "i6", 1, 0),
)


def test_rows_stand_by_user_then_time_then_place_in_the_file() -> None:
    line = Timeline.of(corpus_of(ROWS))
    assert line.users == ("u1", "u2")
    assert line.row.tolist() == [4, 1, 3, 2, 0]
    assert [line.items[code] for code in line.item] == ["i6", "i2", "i1", "i1", "i3"]
    assert line.start.tolist() == [0, 3, 5]
    assert line.length.tolist() == [3, 2]
    assert line.position.tolist() == [0, 1, 2, 0, 1]
    assert line.liked.tolist() == [False, False, True, True, True]
    assert np.isnan(line.rating).tolist() == [False, False, False, True, False]
    assert line.time is not None
    assert line.time.tolist() == [0, DAY, DAY, DAY, 2 * DAY]
    assert line.clock.tolist() == [0, 1, 1, 1, 2]


def test_without_times_rows_stand_by_user_then_place_in_the_file() -> None:
    line = Timeline.of(corpus_of(Row(row.row, row.user, row.item, row.rating, None, like=row.like) for row in ROWS))
    assert line.time is None
    assert line.row.tolist() == [1, 3, 4, 0, 2]
    assert line.clock.tolist() == [0] * 5


def test_one_missing_time_makes_all_times_unknown() -> None:
    line = Timeline.of(corpus_of([*ROWS, Row(5, "u1", "i1", 4, None)]))
    assert line.time is None
    assert line.row.tolist() == [1, 3, 4, 5, 0, 2]


def test_every_item_of_the_catalogue_has_a_code() -> None:
    assert Timeline.of(corpus_of(ROWS)).items == ("i1", "i2", "i3", "i4", "i5", "i6")


counted = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-4, 4)), max_size=30)


@given(counted, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=10))
def test_counts_before_are_those_of_a_plain_loop(
    rows: list[tuple[int, int, int]], asked: list[tuple[int, int]]
) -> None:
    group, moment, value = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    counts = CountsBefore(group, moment, value.astype(np.float64))
    asked_group, asked_moment = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    n, s = counts(asked_group, asked_moment)
    for at, (g, m) in enumerate(asked):
        before = [v for row_group, row_moment, v in rows if row_group == g and row_moment < m]
        assert (n[at], s[at]) == (len(before), sum(before))


values = st.floats(-5, 5, allow_nan=False)


@settings(max_examples=300)
@given(st.lists(values, max_size=8), st.lists(values, min_size=1, max_size=5), st.lists(values, max_size=8))
def test_a_difference_of_sums_knows_nothing_of_other_values(
    before: list[float], inside: list[float], after: list[float]
) -> None:
    whole, alone = running_sum(np.array([*before, *inside, *after])), running_sum(np.array(inside))
    found = whole[len(before) + len(inside)] - whole[len(before)]
    assert found == alone[-1]
    assert abs(found - sum(inside)) <= 1e-6 * len(inside)


def test_plain_sums_would_not_do() -> None:
    """Why sums are kept exact: in floating point a value outside shows in the last bits."""
    outside, inside = 0.1, [0.2, 0.3]
    sums = np.cumsum([outside, *inside])
    assert sums[2] - sums[0] != sum(inside)
