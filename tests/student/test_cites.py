from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.student.cites import BETWEEN, LAST, OVER, REASONS, May, Pieces, Place, advance, is_free
from reasoningrec.student.shorthand import CITATION

IDS = frozenset(("T", "H1", "H12", "C3"))
MAY = May(IDS, end_line=False)


@pytest.mark.parametrize(
    ("begun", "piece", "after"),
    [
        (None, " and [", ""), (None, " [H", "H"), (None, "[H1", "H1"), (None, " [H1]", None), (None, "(", None),
        ("", "H", "H"), ("H", "1", "H1"), ("H1", "2", "H12"), ("H1", "2].", None), ("", "T],", None), ("H1", "]", None),
    ],
)  # fmt: skip
def test_what_keeps_to_an_id_may_be_written(begun: str | None, piece: str, after: str | None) -> None:
    found = advance(Place(begun=begun), piece, MAY)
    assert found is not None
    assert found.begun == after
    assert bool(found.cited) is ("]" in piece)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (None, "]"), (None, "[["), (None, "[]"), (None, "[H2]"), (None, "[U"), (None, "[ H1"), (None, " ["[:1] + "[h"),
        (None, "[H1][T]"), ("H1", "] ["), ("", "]"), ("H", "]"), ("H1", "3"), ("", " H1"), ("H1", "\n"), ("T", "1"),
        ("H1", "] and ["), ("C", "12"), ("", "Ｈ"), (None, "\r\n"),
    ],
)  # fmt: skip
def test_what_leads_elsewhere_may_not(begun: str | None, piece: str) -> None:
    assert advance(Place(begun=begun), piece, MAY) is None


def test_nothing_opens_where_nothing_may_be_cited() -> None:
    nothing = May(frozenset(), end_line=False)
    assert advance(Place(), " [", nothing) is None
    assert advance(Place(LAST), "[", MAY) is None, "nor on the second line"
    assert advance(Place(), " so.", nothing) == Place()


def test_the_second_line_has_its_head_and_is_the_last() -> None:
    assert advance(Place(), ".\n", MAY) == Place(BETWEEN)
    assert advance(Place(), "\nTaste: Mugs", MAY) == Place(LAST, head="Taste:")
    assert advance(Place(BETWEEN, head="Ta"), "ste", MAY) == Place(BETWEEN, head="Taste")
    assert advance(Place(BETWEEN), "taste", MAY) is None
    assert advance(Place(), "\n\n", MAY) is None
    assert advance(Place(LAST), "\n", MAY) is None
    assert advance(Place(LAST), ".\n", May(IDS, end_line=True)) == Place(OVER)
    assert advance(Place(LAST), "\nPrediction", May(IDS, end_line=True)) is None, "nothing after the end"


PIECES = ("[", "]", "[H", "H", "1", "2", "12", "T", "C3", "C", "3", " [", "],", "] [", "[]", "[T]", "so", " ", "\n",
          ".\n", "Taste", "Taste:", ":", "T]", "[H1", "[C3].", "U1", "aste:", "", "\r", "[[", "]]")  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.integers(0, 10**6), max_size=60), st.sets(st.sampled_from(sorted(IDS))))
def test_whatever_is_drawn_cites_only_what_may_be_cited(draws: list[int], ids: set[str]) -> None:
    """Each draw picks among the pieces allowed; the text as a whole is then read as a reader would."""
    pieces, place, left, text = Pieces(PIECES), Place(), set(ids), ""
    for draw in draws:
        may = May(frozenset(left), end_line=False)
        allowed = sorted({*pieces.allowed(place, may), *(pieces.plain if is_free(place) else ())})
        assert allowed == [n for n, piece in enumerate(PIECES) if piece and advance(place, piece, may) is not None]
        if not allowed:
            break
        piece = PIECES[allowed[draw % len(allowed)]]
        before, place = place, advance(place, piece, may)
        assert place is not None
        if place.begun is None and (before.begun is not None or place.cited != before.cited):
            left.discard(place.cited)
        text += piece
    found = CITATION.findall(text)
    assert len(found) == len(set(found))
    assert set(found) <= ids
    rest = CITATION.sub("", text)
    assert "]" not in rest
    assert rest.count("[") <= 1, "only the last may still be open"
    if "[" in rest:
        begun = re.split(r"\[", rest)[-1]
        assert any(id_.startswith(begun) for id_ in ids)
    assert place.line in (REASONS, BETWEEN, LAST)


def test_lists_are_by_what_can_be_wrong() -> None:
    pieces = Pieces(PIECES)
    assert {PIECES[n] for n in pieces.plain} >= {"so", "Taste:", "H", " "}
    assert not any(set("[]\n\r") & set(PIECES[n]) for n in pieces.plain)
    assert len(pieces.plain) + len(pieces.watched) == len(PIECES) - 1, "all but the empty one"
