"""The rules that hold for every source, each with its test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REVIEWS, BadRow, Corpus
from reasoningrec.data.files import LINE, Table
from reasoningrec.data.intake import LATEST, Raw, corpus, price, seconds, unescape
from reasoningrec.errors import DataError

COLUMNS = ("user", "item", "rating", "time", "text")
Row = tuple[str | None, ...]


def table(rows: list[Row], columns: tuple[str, ...] = COLUMNS, bad: tuple[BadRow, ...] = (), file: str = "f") -> Table:
    schema: dict[str, Any] = {LINE: pl.Int64, **dict.fromkeys(columns, pl.String)}
    return Table(file, pl.DataFrame([(n, *row) for n, row in enumerate(rows, 1)], schema=schema, orient="row"), bad)


def config(**values: Any) -> DataConfig:
    return DataConfig(source="tables", path="made", **values)


def build(rows: list[Row], items: Table | None = None, **values: Any) -> Corpus:
    return corpus(config(**values), "x", Raw((table(rows),), items))


def column(made: Corpus, name: str) -> list[Any]:
    return made.interactions[name].to_list()


def test_frames_have_the_columns_and_types_of_the_contract() -> None:
    made = build([("u", "i", "4", "10", "good"), ("u", "j", "2", "11", None)])
    assert dict(made.interactions.schema) == dict(INTERACTIONS)
    assert dict(made.items.schema) == dict(ITEMS)
    assert dict(made.reviews.schema) == dict(REVIEWS)
    assert made.interactions.rows() == [(0, "u", "i", 4.0, True, 10), (1, "u", "j", 2.0, False, 11)]
    assert made.reviews.rows() == [(0, "", "good")]
    assert made.notes == ("items without a title, whose id stands for it: 2",)


def test_exact_repeats_are_dropped_all_but_the_first() -> None:
    same = ("u", "i", "4", "10", "good")
    made = build([same, ("u", "i", "4", "10", "other"), same, ("u", "i", "4", "11", "good"), same])
    assert column(made, "row") == [0, 1, 3]
    assert "exact repeats of a row (same user, item, time, rating, text), dropped but for the first: 2" in made.notes


def test_exact_repeats_stay_where_the_source_means_them() -> None:
    made = corpus(config(), "x", Raw((table([("u", "i", "4", "10", None)] * 3),), repeats_are_meant=True))
    assert column(made, "row") == [0, 1, 2]


def test_ties_in_time_keep_the_order_of_the_file() -> None:
    made = build([("u", name, "4", "10", None) for name in "cab"])
    assert made.interactions.sort("time", "row")["item"].to_list() == ["c", "a", "b"]


def test_rows_of_several_files_follow_one_another() -> None:
    files = (table([("u", "i", "4", "1", None)], file="a"), table([("u", "j", "4", "1", None)], file="b"))
    made = corpus(config(), "x", Raw(files))
    assert made.interactions.select("row", "item").rows() == [(0, "i"), (1, "j")]


def test_the_first_rating_stands_for_every_repeat_and_so_does_its_label() -> None:
    rows: list[Row] = [("u", "i", "2", "20", None), ("u", "i", "5", "10", None), ("u", "j", "5", "30", None)]
    assert column(build(rows), "rating") == [2, 5, 5]
    first = build(rows, repeats="first")
    assert column(first, "rating") == [5, 5, 5]
    assert column(first, "liked") == [True, True, True]
    assert "ratings of a repeated (user, item), replaced by its first rating: 1" in first.notes


@given(st.lists(st.tuples(*map(st.sampled_from, ("ab", "xy", "12345", "1234"))), min_size=1, max_size=12))
def test_first_ratings_equal_a_plain_loop(drawn: list[tuple[str, str, str, str]]) -> None:
    rows: list[Row] = [(*row, str(n)) for n, row in enumerate(drawn)]
    first: dict[tuple[str, str], float] = {}
    for user, item, rating, _ in sorted(drawn, key=lambda row: int(row[3])):
        first.setdefault((user, item), float(rating))
    assert column(build(rows, repeats="first"), "rating") == [first[user, item] for user, item, *_ in drawn]


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        (("", "i", "4", "1", None), "user", "is empty"),
        ((None, "i", "4", "1", None), "user", "is empty"),
        (("u", "  ", "4", "1", None), "item", "is empty"),
        (("u", "i", None, "1", None), "rating", "is empty"),
        (("u", "i", "good", "1", None), "rating", '"good" is no number'),
        (("u", "i", "NaN", "1", None), "rating", '"NaN" is outside data.scale (1 to 5)'),
        (("u", "i", "inf", "1", None), "rating", '"inf" is outside data.scale (1 to 5)'),
        (("u", "i", "5.5", "1", None), "rating", '"5.5" is outside data.scale (1 to 5)'),
        (("u", "i", "0", "1", None), "rating", '"0" is outside data.scale (1 to 5)'),
        (("u", "i", "4", "", None), "time", "is empty"),
        (("u", "i", "4", "soon", None), "time", '"soon" is neither unix seconds nor an ISO date'),
        (("u", "i", "4", "2020-02-31", None), "time", '"2020-02-31" is neither unix seconds nor an ISO date'),
        (
            ("u", "i", "4", "2020-02-01T25:00", None),
            "time",
            '"2020-02-01T25:00" is neither unix seconds nor an ISO date',
        ),
        (("u", "i", "4", "-5", None), "time", '"-5" is before 1970'),
        (("u", "i", "4", "99999999999", None), "time", '"99999999999" is after 2099'),
        (("u", "i", "4", "1e300", None), "time", '"1e300" is after 2099'),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_field(row: Row, field: str, problem: str) -> None:
    good: Row = ("u", "j", "4", "1", None)
    with pytest.raises(DataError) as caught:
        build([good, row])
    assert f"1 bad row:\n  f:2: {field}: {problem}\n" in str(caught.value)
    made = build([good, row], on_bad_rows="skip")
    assert made.bad_rows == (BadRow("f", 2, field, problem),)
    assert column(made, "item") == ["j"]


def test_bad_rows_are_collected_the_first_ten_shown_and_all_counted() -> None:
    unread = (BadRow("f", 40, "row", "is not valid JSON"),)
    rows: list[Row] = [("u", "i", "9", "1", None)] * 30
    with pytest.raises(DataError) as caught:
        corpus(config(), "x", Raw((table(rows, bad=unread),)))
    message = str(caught.value)
    assert message.startswith("31 bad rows:\n")
    assert message.count("f:") == 10
    assert "and 21 more" in message
    assert 'data.on_bad_rows = "skip"' in message


GOOD = st.tuples(st.sampled_from("uv"), st.sampled_from("ij"), st.sampled_from("12345"), st.integers(0, 99).map(str))
BAD = st.tuples(st.just("u"), st.just("i"), st.sampled_from(["6", "x", ""]), st.just("1"))


@settings(deadline=None)
@given(
    st.lists(st.one_of(GOOD.map(lambda row: (True, row)), BAD.map(lambda row: (False, row))), min_size=1, max_size=10)
)
def test_skipping_keeps_every_good_row_in_its_place(drawn: list[tuple[bool, Row]]) -> None:
    rows = [(*row, str(n)) for n, (_, row) in enumerate(drawn)]
    good = [n for n, (whole, _) in enumerate(drawn) if whole]
    if not good:
        with pytest.raises(DataError, match="holds no interactions"):
            build(rows, on_bad_rows="skip")
        return
    made = build(rows, on_bad_rows="skip")
    assert column(made, "row") == good
    assert [bad.line for bad in made.bad_rows] == [n + 1 for n, (whole, _) in enumerate(drawn) if not whole]


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="made: holds no interactions"):
        build([])


def test_without_ratings_every_row_is_a_like_and_without_times_they_are_unknown() -> None:
    made = corpus(config(), "x", Raw((table([("u", "i")], ("user", "item")),)))
    assert made.interactions.rows() == [(0, "u", "i", None, True, None)]
    assert not made.has_times
    assert any(note.startswith("the data have no ratings: every row counts as a like") for note in made.notes)
    assert "the data have no times: file order stands for time" in made.notes


def test_dates_without_dashes_are_read_where_all_are() -> None:
    def read(*texts: str | None) -> list[int | None]:
        return seconds(pl.Series(texts, dtype=pl.String)).to_list()

    assert read("20240110", "20231231.0", None, "soon") == [1704844800, 1703980800, None, None]
    assert read("20240110", "2024-01-11 01:00") == [1704844800, 1704934800]
    assert read("20240110", "20240132") == [20240110, 20240132], "half of them are dates"
    assert read(*["20240110"] * 9, "20240132") == [1704844800] * 9 + [None]
    assert read(*["20240110"] * 99, "0") == [1704844800] * 99 + [None]
    assert read("", None) == [None, None]
    with pytest.raises(DataError, match=r'f:10: time: "20240230" is neither unix seconds nor an ISO date'):
        build([*[("u", f"i{n}", "4", "20240110", None) for n in range(9)], ("u", "j", "4", "20240230", None)])
    made = build([("u", "i", "4", "20240110", None), ("u", "j", "4", "20240111", None)])
    assert "times such as 20240110 were read as dates" in made.notes


def test_what_cannot_be_seen_is_taken_out_and_brackets_of_brands_are_round() -> None:
    items = table([("i\u200e", "A\x1b[31m \u202eLamp [C1]", "[C2]")], ("item", "title", "brand"))
    items = replace(items, rows=items.rows.with_columns(categories=pl.Series([["a\tb", "[T]"]])))
    made = build([("u\x00", "i", "4", "10", None)], items)
    assert made.interactions.rows() == [(0, "u", "i", 4.0, True, 10)]
    assert "ids of users and items in rows, less what cannot be seen in them: 1" in made.notes
    assert made.items.select("item", "title", "brand", "categories").rows() == [
        ("i", "A[31m Lamp [C1]", "(C2)", ["a b", "(T)"])
    ]


def test_milliseconds_are_read_and_said() -> None:
    made = build([("u", "i", "4", "1588687728923", None)])
    assert column(made, "time") == [1588687728]
    assert "times above 1e11 were read as milliseconds" in made.notes


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["seconds", "minutes", "microseconds"]),
)
def test_iso_times_are_the_moment_they_name(moment: datetime, minutes: int, spec: str) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    shown = [local.isoformat(timespec=spec), moment.isoformat(" ", spec), moment.date().isoformat(), "12", "7.9"]
    kept = datetime.fromisoformat(shown[0]), datetime.fromisoformat(shown[1]).replace(tzinfo=UTC)
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    expected = [*(int(time.timestamp() // 1) for time in (*kept, midnight)), 12, 7]
    assert seconds(pl.Series(shown)).to_list() == expected


def test_times_clip_to_the_bounds_that_make_them_bad() -> None:
    assert seconds(pl.Series(["-0.5", "-1e30", "9e300", "nan", "2015-09-04Z", "2100-01-01"])).to_list() == [
        *(-1, -1, LATEST, None),
        *(1441324800, LATEST),
    ]


def test_every_item_stands_in_the_items_once_and_in_order() -> None:
    items = table([("j", "Kettle  One "), ("i", ""), ("j", "Other"), ("k", "Unsold")], ("item", "title"), file="items")
    made = build([("u", "i", "4", "1", None), ("u", "j", "4", "1", None), ("u", "z", "4", "1", None)], items)
    assert made.items.select("item", "title").rows() == [("i", "i"), ("j", "Kettle One"), ("k", "Unsold"), ("z", "z")]
    assert made.notes == (
        "rows of the items table that name an item again, left out: 1",
        "items unknown to the items table: 1",
        "items without a title, whose id stands for it: 2",
    )


def test_an_items_row_without_an_id_is_bad() -> None:
    items = table([("", "Lamp"), ("i", "Lamp")], ("item", "title"), file="items.csv")
    with pytest.raises(DataError, match=r"items\.csv:1: item: is empty"):
        build([("u", "i", "4", "1", None)], items)
    made = build([("u", "i", "4", "1", None)], items, on_bad_rows="skip")
    assert made.items["title"].to_list() == ["Lamp"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$27.19", 27.19),
        ("$1,027.19", 1027.19),
        ("$10.00 - $20.00", 15.0),
        ("12", 12.0),
        ("EUR 9.50", 9.5),
        ("", None),
        ("None", None),
        ("-3", None),
        ("from $3", None),
        (".a-box-inner{padding:3px}", None),
        (None, None),
    ],
)
def test_a_price_is_a_number_or_the_mean_of_a_range(text: str | None, expected: float | None) -> None:
    found = pl.DataFrame({"price": [text]}, schema={"price": pl.String}).select(found=price("price"))["found"][0]
    assert found == (None if expected is None else pytest.approx(expected))


def test_entities_become_the_characters_they_stand_for() -> None:
    texts = pl.Series("t", ["Clean &amp; Renew", None, "plain", "&#39;s"])
    assert unescape(texts).to_list() == ["Clean & Renew", None, "plain", "'s"]
