"""What a student may write next, learned from the texts it was trained on."""

from __future__ import annotations

from reasoningrec.student.phrasing import Phrasing, Wording, kinds

CITES = {90: "U1", 91: "C1", 92: "H1", 93: "H2"}


def best(table: Phrasing, label: bool, kind: str, tokens: list[int]) -> frozenset[int]:
    return next((found for found in table.after(label, kind, tokens) if found), frozenset())


def test_only_attested_tokens_follow() -> None:
    table = Phrasing([Wording(True, ("U1",), (1, 2, 90, 9)), Wording(True, ("U1",), (1, 3, 90, 9))], CITES)
    assert best(table, True, "U1", []) == {1}
    assert best(table, True, "U1", [1]) == {2, 3}
    assert best(table, True, "U1", [1, 2]) == {90}
    assert best(table, True, "", [1, 2, 90]) == {9}


def test_side_and_kind_of_the_next_line_part_the_wording() -> None:
    texts = [
        Wording(True, ("U1",), (1, 90, 9)),
        Wording(False, ("U1",), (2, 90, 9)),
        Wording(True, ("C1",), (3, 91, 9)),
    ]
    table = Phrasing(texts, CITES)
    assert best(table, True, "U1", []) == {1}
    assert best(table, False, "U1", []) == {2}
    assert best(table, True, "C1", []) == {3}


def test_history_items_count_as_one() -> None:
    table = Phrasing([Wording(True, ("H", "U1"), (5, 92, 6, 90, 9))], CITES)
    assert best(table, True, "H", [5]) == {92, 93}
    assert best(table, True, "U1", [5, 93]) == {6}


def test_an_unseen_context_falls_back_to_a_shorter_one_but_not_to_none() -> None:
    table = Phrasing([Wording(True, ("U1",), (1, 2, 90, 9))], CITES)
    assert best(table, True, "U1", [7, 7, 1, 2]) == {90}
    assert best(table, True, "U1", [7, 7, 7, 2]) == frozenset()
    assert best(table, False, "U1", [1]) == frozenset()


def test_kinds_of_a_plan() -> None:
    assert kinds(("U4", "H2", "C2", "H1"), "H1", {"C2": "H2"}) == ("U4", "H>C2", "C2", "but H")
    assert kinds(("H2",), "", {"C2": "H2"}) == ("H",)
