from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.errors import StudentError
from reasoningrec.records import Case, Evidence, Fact, Item, Query, Reaction
from reasoningrec.student.shorthand import Shorthand, leanings

TITLES = (
    st.text(st.characters(exclude_characters='"[]<>', exclude_categories=["C"]), min_size=1).map(str.strip).filter(bool)
)
PROSE = st.text("abc ,.;:'—é!?\n", max_size=12)


def case_of(titles: list[str], target: str = "Target", *facts: Fact) -> Case:
    history = [Fact(f"H{n}", "history", f'"{t}"', 0.1, {"title": t}, True) for n, t in enumerate(titles, 1)]
    evidence = Evidence("q", (*history, Fact("T", "target", f'"{target}"', 0.0, {"title": target}), *facts), {})
    return Case(Query("q", "u", "i", 0, ()), Item("i", target), {}, evidence)


def fact(id_: str, **values: Any) -> Fact:
    return Fact(id_, "any", "text", 0.5, values)


BRAND = fact("U3", n=9, liked=7, which="Acme")
CROWD = fact("C1", n=9, liked=9, usual=62)
CO_LIKED = Fact("C2", "co-liked", "text", 0.5, {"n": 4, "liked": 3, "with": "H1", "title": "Mug", "did": "liked"})


@given(st.lists(TITLES, min_size=1, max_size=12), TITLES, st.data())
def test_titles_go_and_come_back(titles: list[str], target: str, data: st.DataObject) -> None:
    case = case_of(titles, target)
    by_id = {fact.id: str(fact.values["title"]) for fact in case.evidence.facts}
    ids = data.draw(st.lists(st.sampled_from([*by_id, "U1", "C2"]), max_size=6))
    parts = [data.draw(PROSE)]
    for id_ in ids:
        parts += [f'"{by_id[id_]}" [{id_}]' if id_ in by_id else f"[{id_}]", data.draw(PROSE)]
    text, short = "".join(parts), Shorthand.of(case)
    compact = short.compact(text)
    assert short.expand(compact) == text
    assert short.expand(text) == text
    assert short.compact(compact) in (compact, text)
    assert not any(f'"{title}" [{id_}]' in compact for id_, title in by_id.items())


@given(st.text('ab"[]<>H1TUC3 .,0947nlikedwhich', max_size=60))
def test_any_text_comes_back_or_is_left_alone(text: str) -> None:
    short = Shorthand.of(case_of(["Mug", 'b" [H1]'], "Target", BRAND, CROWD))
    compact = short.compact(text)
    assert compact == text or short.expand(compact) == text


@pytest.mark.parametrize(
    ("text", "compact"),
    [
        ("you liked 7 of 9 by Acme [U3]", "you liked <liked> of <n> by <which> [U3]"),
        ("Acme suits you, 7 of 9 [U3].", "Acme suits you, <liked> of <n> [U3]."),
        ("So. Acme: 7 of 9 [U3]", "So. <which>: <liked> of <n> [U3]"),
        ("9 of 9 against a usual 62 % [C1]", "<liked> of <n> against a usual <usual> % [C1]"),
        ("of the 9 you had you liked 9 [C1]", "of the <n> you had you liked <liked> [C1]"),
        ('3 of 4 with your view of "Mug" [H1] liked it [C2]', "<liked> of <n> with your view of [H1] liked it [C2]"),
        ("7 of 9 once. Then 7 of 9 [U3]", "7 of 9 once. Then <liked> of <n> [U3]"),
        ("17 of 9.5 and 9,7 [U3]", "17 of 9.5 and 9,7 [U3]"),
        ("so be it [U9]", "so be it [U9]"),
    ],
)
def test_values_give_way_to_slots(text: str, compact: str) -> None:
    facts = (fact("U3", n=9, liked=7, which="Acme"), CROWD, CO_LIKED)
    short = Shorthand.of(case_of(["Mug"], "Target", *facts))
    if text.startswith("Acme"):
        compact = compact.replace("Acme", "<which>")
    assert short.compact(text) == compact
    assert short.expand(compact) == text


def test_a_capital_comes_back() -> None:
    short = Shorthand.of(case_of(["Mug"], "Target", fact("U4", n=5, liked=0, which="recycled things")))
    assert short.compact("Recycled things fail you, 0 of 5 [U4].") == "<Which> fail you, <liked> of <n> [U4]."
    assert short.expand("<Which>, not <which> [U4].") == "Recycled things, not recycled things [U4]."


def test_what_is_shared_stands_behind() -> None:
    liked = Fact("H1", "history", "text", 0.5, {"title": "Mug", "liked": True, "shared": "also by Acme"})
    short = Shorthand.of(case_of([], "Target", liked, BRAND))
    text = '"Mug" [H1] pleased you, also by Acme. You liked 7 of 9 by Acme [U3].'
    assert short.compact(text) == "[H1] pleased you, <shared>. You liked <liked> of <n> by <which> [U3]."
    assert short.expand(short.compact(text)) == text


@pytest.mark.parametrize("text", ["<n> of them", "[U3] <n>", "<n> [H1]", "<shared> [U3]", "<good1>"])
def test_a_slot_without_a_value_is_an_error(text: str) -> None:
    with pytest.raises(StudentError, match="<"):
        Shorthand.of(case_of(["Mug"], "Target", BRAND)).expand(text)


def test_a_slot_is_filled_by_the_next_that_has_the_value() -> None:
    short = Shorthand.of(case_of(["Mug"], "Target", BRAND, CROWD))
    assert short.expand("<n> [H1] <usual> [U3] [C1]") == '9 "Mug" [H1] 62 [U3] [C1]'


def test_no_title_is_taken_apart() -> None:
    short = Shorthand.of(case_of(["b", 'b" [H1]'], "x"))
    assert short.compact('so "b" [H1]" [H2] it is') == "so [H2] it is"
    assert short.compact('"b" [H2]') == '"b" [H2]', "a title with another's id is left as it is"


def leaning_case() -> Case:
    items = [
        Item("a", "A", "Acme", None, ("lamps", "small")),
        Item("b", "B", "Acme", None, ("lamps",)),
        Item("c", "C", "Bolt", None, ("mugs", "small")),
        Item("d", "D", "Bolt", None, ("mugs", "lamp")),
    ]
    history = tuple(Reaction(item.id, item.brand == "Acme") for item in items)
    return Case(
        Query("q", "u", "t", 0, history), Item("t", "T"), {item.id: item for item in items}, Evidence("q", (), {})
    )


def test_leanings_are_what_fares_better_than_the_whole() -> None:
    assert leanings(leaning_case()) == (["Acme", "lamps"], ["mugs", "Bolt"])


def test_names_go_and_come_back() -> None:
    short = Shorthand.of(leaning_case())
    text = "You like Acme and lamps, a lamp less, not mugs."
    assert short.compact(text) == "You like <good1> and <good2>, a lamp less, not <bad1>."
    assert short.expand(short.compact(text)) == text
    assert short.compact("Acmes, <good1>") == "Acmes, <good1>", "what would come back otherwise is left alone"
