"""Which reviews a text may be written from."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from making import DAY, Line, Row, corpus_of
from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.texts import AllowedReviews, text_key

I1 = 0


def rows(times: bool = True) -> list[Row]:
    """Eight users whose first row is a review of i1, on days 0 to 7, and a ninth who comes to it last."""
    found = []
    for user in range(8):
        day = user * DAY if times else None
        found += [Row(10 * user, f"u{user}", "i1", 4, day, f"first {user}")]
        for n in (1, 2, 3):
            later = (20 + user + 10 * n) * DAY if times else None
            found.append(Row(10 * user + n, f"u{user}", f"i{n + 1}", 4, later, f"own {user} {n}"))
    return [
        *found,
        Row(90, "z", "i2", 5, 0 if times else None),
        Row(91, "z", "i1", 5, 8 * DAY if times else None, "mine"),
    ]


def line_of(protocol: Protocol = "honest", most: int = 32, times: bool = True) -> Line:
    return Line(corpus_of(rows(times)), SplitConfig(history=3), protocol, most_reviews=most)


def count(line: Line, *clocks: int) -> list[int]:
    reviews = line.reviews(line.windows)
    return reviews.count(np.full(len(clocks), I1), np.array(clocks)).tolist()


def texts(line: Line, n: int) -> list[str]:
    return list(line.reviews(line.windows).texts(I1, n))


def test_a_query_knows_the_reviews_strictly_before_rounded_down_to_a_power_of_two() -> None:
    line = line_of()
    assert count(line, 0, 1, 2, 3, 4, 5, 7, 8, 9) == [0, 1, 2, 2, 4, 4, 4, 8, 8]
    assert texts(line, 4) == ["first 0", "first 1", "first 2", "first 3"]
    assert texts(line, 0) == []


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_reviews_of_targets_are_never_read(protocol: Protocol) -> None:
    line = line_of(protocol)
    late = int(line.timeline.clock.max()) + 1
    reviews = line.reviews(line.windows)
    for code in range(len(line.timeline.items)):
        for said in reviews.texts(code, 99):
            assert said.startswith("first")
    assert count(line, late) == [8]


def test_paper_reads_them_all_the_targets_own_included() -> None:
    line = line_of("paper")
    assert count(line, 0) == [8]
    assert "mine" in texts(line, 99)


def test_at_most_so_many_reviews_are_read() -> None:
    assert count(line_of(most=3), 9) == [2]
    assert count(line_of(most=4), 9) == [4]


def test_without_times_all_reviews_count_that_belong_to_no_target() -> None:
    line = line_of(times=False)
    assert count(line, 0, 1) == [8, 8]
    assert set(texts(line, 99)) == {f"first {user}" for user in range(8)}


def test_an_item_without_reviews_has_none() -> None:
    line = line_of()
    reviews = line.reviews(line.windows)
    assert reviews.count(np.array([5]), np.array([99])).tolist() == [0]
    assert list(reviews.texts(5, 4)) == []


def test_summary_and_text_stand_together() -> None:
    line = line_of()
    said = line.corpus.reviews.with_columns(summary=pl.lit("Nice"))
    corpus = dataclasses.replace(line.corpus, reviews=said)
    reviews = AllowedReviews(corpus, line.timeline, line.windows, "honest", 4)
    assert list(reviews.texts(I1, 1)) == ["Nice. first 0"]


def test_a_key_names_what_a_text_is_written_from() -> None:
    assert text_key("i1", 4) == "i1@4"
