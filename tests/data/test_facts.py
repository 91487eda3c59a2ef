"""Evidence in words: ids, texts, and lines only where something stands behind them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from making import CATALOGUE, DAY, Line, Row, corpus_of, demo_line
from reasoningrec.config import SplitConfig
from reasoningrec.data.facts import KINDS, LIKENESS_NATS, describe_item, short_title
from reasoningrec.records import Case, Evidence, Fact, Item

IDS = {
    "target": "T", "user-share": "U1", "recent": "U2", "own-brand": "U3", "own-category": "U4", "own-price": "U5",
    "same-item": "U6", "same-day": "U7", "item-share": "C1", "co-liked": "C2", "crowd-brand": "C3",
}  # fmt: skip


def told(rows: list[Row], id_: str, history: int = 3) -> dict[str, Fact]:
    line = Line(corpus_of(rows), SplitConfig(history=history, train_windows=0))
    return next(case for case in line.cases if case.query.id == id_).evidence.by_id()


ROWS = [
    Row(0, "a", "i1", 5, 0),  # Alder, kettle and quiet
    Row(1, "b", "i1", 4, 0),
    Row(2, "c", "i1", 4, 0),
    Row(3, "b", "i2", 2, DAY),
    Row(4, "c", "i2", 5, DAY),
    Row(5, "a", "i3", 1, 2 * DAY),  # Corvo, kettle
    Row(6, "d", "i2", 5, 2 * DAY),
    Row(7, "a", "i5", 4, 3 * DAY),  # nothing known
    Row(8, "a", "i2", 5, 3 * DAY + 60),  # the target: Alder, lamp and quiet
]


def test_the_texts_of_all_kinds() -> None:
    found = told(ROWS, "test/a/000003")
    texts = {id_: fact.text for id_, fact in found.items()}
    assert texts == {
        "H1": '"Blue Kettle One" (Alder, $10.00, kettle, quiet): liked, rated 5',
        "H2": '"Red Kettle Three" (Corvo, $30.00, kettle): did not like, rated 1',
        "H3": '"Green Clock Five" ($50.00): liked, rated 4',
        "T": '"Blue Lamp Two" (Alder, $20.00, lamp, quiet)',
        "U1": "liked 2 of 3 rated so far (67 %; usual here: 71 %)",
        "U2": "the last 3: liked, not, liked",
        "U3": "has liked 1 of 1 by Alder",
        "U4": "has liked 1 of 1 in quiet",
        "U7": "liked 1 of 1 rated on the same day, before this one",
        "C1": "2 of 3 others liked it (67 %; usual here: 71 %)",
        "C2": "of 2 who also liked [H1], 1 liked this one",
        "C3": "others like items by Alder more than usual (5 ratings)",
    }
    assert {id_: fact.values["shared"] for id_, fact in found.items() if fact.kind == "history"} == {
        "H1": "also by Alder", "H2": "", "H3": "",
    }  # fmt: skip


def test_where_all_is_liked_nothing_is_above_the_usual() -> None:
    people = [Row(n, f"p{n % 41}", f"i{(1, 2, 3, 5)[n % 4]}", 5, n * 60) for n in range(400)]
    mine = [Row(400 + n, "a", item, 5, DAY + n * 60) for n, item in enumerate(("i1", "i2", "i3", "i5"))]
    found = told([*people, *mine], "test/a/000003")
    assert found["U1"].text.endswith("usual here: 100 %)")
    assert [found[id_].weight for id_ in ("U1", "C1", "C2")] == [0.0, 0.0, 0.0]
    assert [fact.id for fact in found.values() if fact.weight > 0 and fact.kind != "history"] == []
    worse = told([*people, Row(500, "q", "i5", 1, 5000), *mine], "test/a/000003")
    assert worse["C1"].weight < 0, "below 100 % there is room"


def test_nothing_known_leaves_out_what_cannot_be_said() -> None:
    lonely = [
        Row(0, "a", "i5", 5, 0),
        Row(1, "a", "i4", 5, 5 * DAY),
        Row(2, "b", "i1", 1, 0),
        Row(3, "b", "i3", 1, DAY),
    ]
    found = told(lonely, "test/a/000001")
    assert set(found) == {"H1", "T", "U1", "C1", "C3"}
    assert found["C1"].text == "no one else has rated it yet"
    assert found["C1"].weight == 0.0
    strict = Line(corpus_of([Row(0, "a", "i1"), Row(1, "a", "i5")]), SplitConfig(), "strict")
    assert {fact.id for fact in strict.cases[0].evidence.facts} == {"T", "C1"}


def test_a_repeated_item_is_named() -> None:
    rows = [
        Row(0, "a", "i1", 5, 0),
        Row(1, "a", "i1", 2, DAY),
        Row(2, "a", "i1", 5, 2 * DAY),
        Row(3, "a", "i1", 5, 9 * DAY),
    ]
    found = told(rows, "test/a/000003")
    assert found["U6"].text == "has rated this very item 3 times before, liked 2"
    assert found["U6"].weight > 0
    assert found["H1"].values["shared"] == "the very same item"
    assert told(rows, "valid/a/000002")["U6"].weight == 0
    assert told(rows, "train/a/000001")["U6"].text == "has rated this very item 1 time before, liked 1"


def test_the_place_of_the_history_is_not_lost_by_padding() -> None:
    short, long = told(ROWS, "test/a/000003", 3), told(ROWS, "test/a/000003", 9)
    assert {id_: fact.text for id_, fact in short.items()} == {id_: fact.text for id_, fact in long.items()}
    assert short["H1"].weight == pytest.approx(long["H1"].weight)
    assert short["H1"].values["alike"] == long["H1"].values["alike"] != 0


def test_a_history_item_weighs_by_likeness_and_surprise() -> None:
    line = Line(corpus_of(ROWS), SplitConfig(history=3))
    case = next(case for case in line.cases if case.query.id == "test/a/000003")
    numbers, fact = case.evidence.numbers, case.evidence.by_id()["H1"]
    assert fact.weight == pytest.approx(LIKENESS_NATS * numbers["h0_alike"] * (1 - numbers["user_share"]))
    assert case.evidence.by_id()["H3"].weight == 0


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("One", "One"),
        ("a b c d e f g h", "a b c d e f g h"),
        ("a b c d e f g h i", "a b c d e f g h …"),
        ('The "Big"  Lamp', "The 'Big' Lamp"),
    ],
)
def test_short_titles(title: str, short: str) -> None:
    assert short_title(title) == short


def test_describing_an_item() -> None:
    assert describe_item(CATALOGUE[4]) == '"Green Clock Five" ($50.00)'
    assert describe_item(Item("x", "X")) == '"X"'
    assert describe_item(Item("x", "X", "B", 0.0, tuple("abcde"))) == '"X" (B, $0.00, a, b, c, d)'


def check(case: Case) -> None:
    evidence: Evidence = case.evidence
    ids = [fact.id for fact in evidence.facts]
    assert len(set(ids)) == len(ids)
    assert [id_ for id_ in ids if id_[0] == "H"] == [f"H{n + 1}" for n in range(len(case.query.history))]
    assert {"T", "C1"} <= set(ids)
    for fact in evidence.facts:
        assert fact.kind in KINDS
        assert fact.kind == "history" or IDS[fact.kind] == fact.id
        assert fact.text
        assert "\n" not in fact.text
        n, liked = fact.values.get("n"), fact.values.get("liked")
        if isinstance(n, int) and isinstance(liked, int) and fact.id != "C1":
            assert 0 <= liked <= n
            assert n > 0
        if fact.kind == "history":
            assert (fact.weight > 0) <= bool(liked)  # a like never speaks against, a dislike never for
        if fact.kind == "co-liked":
            assert fact.values["with"] in ids
            assert f"[{fact.values['with']}]" in fact.text
    check_sides(evidence.by_id())


def check_sides(facts: dict[str, Fact]) -> None:
    """All liked never speaks against, none liked never for."""
    for id_ in ("U1", "U3", "U4", "U5", "U6", "U7", "C1", "C2"):
        if id_ in facts and facts[id_].values["n"]:
            n, liked = facts[id_].values["n"], facts[id_].values["liked"]
            assert not (liked == n and facts[id_].weight < 0)
            assert not (liked == 0 and facts[id_].weight > 0)


def test_the_facts_of_the_shop() -> None:
    line = demo_line(60)
    for case in line.cases:
        check(case)
        if price := case.evidence.by_id().get("U5"):
            assert re.fullmatch(r"has liked \d+ of \d+ priced \$\d+\.\d\d to \$\d+\.\d\d", price.text)
    kinds = {fact.kind for case in line.cases for fact in case.evidence.facts}
    assert set(KINDS) - kinds == {"same-item", "same-day"}  # nobody of the shop buys twice, or two things on a day


rows_of = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3)), min_size=4, max_size=25
)


@settings(max_examples=50, deadline=None)
@given(rows_of, st.sampled_from(("honest", "strict")), st.integers(1, 5))
def test_the_facts_of_any_rows(told_rows: list[tuple[str, int, int, int]], protocol: str, history: int) -> None:
    rows = [Row(n, user, f"i{item}", stars, day * DAY) for n, (user, item, stars, day) in enumerate(told_rows)]
    if max(sum(row.user == user for row in rows) for user in "abc") < 2:
        return
    line = Line(corpus_of(rows), SplitConfig(history=history, train_windows=0), protocol)  # type: ignore[arg-type]
    for case in line.cases:
        check(case)


def test_shared_lines_are_the_same_for_every_target_of_a_moment() -> None:
    """Lines marked shared stand in the prefix all candidates share, so their words may not depend on the target."""
    rows = {item: [*ROWS[:-1], Row(8, "a", item, 5, 3 * DAY + 60)] for item in ("i2", "i4", "i6")}
    shared = [
        {fact.id: fact.text for fact in told(made, "test/a/000003").values() if fact.shared} for made in rows.values()
    ]
    assert set(shared[0]) == {"H1", "H2", "H3", "U1", "U2", "U7"}
    assert shared[0] == shared[1] == shared[2]


def test_one_person_alone_is_no_crowd() -> None:
    """What those who share a reaction did is said from two people on."""
    alone = [row for row in ROWS if row.user != "c"]
    assert "C2" in told(ROWS, "test/a/000003")
    assert "C2" not in told(alone, "test/a/000003")
