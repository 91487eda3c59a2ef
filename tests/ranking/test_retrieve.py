"""Candidates from the whole catalogue."""

from __future__ import annotations

import pytest

from making import Row, corpus_of
from reasoningrec.data.timeline import Timeline
from reasoningrec.ranking import retrieve
from reasoningrec.ranking.retrieve import unseen

ROWS = [
    Row(n, user, item)
    for n, (user, item) in enumerate(
        (("a", "i1"), ("a", "i2"), ("b", "i2"), ("b", "i3"), ("c", "i3"), ("c", "i4"), ("d", "i3"))
    )
]


def items(user: str) -> list[str]:
    line = Timeline.of(corpus_of(ROWS))
    return [line.items[code] for code in unseen(line, line.users.index(user))]


def test_items_with_the_most_reactions_come_first_and_ties_by_name() -> None:
    assert items("a") == ["i3", "i4", "i5", "i6"]
    assert items("d") == ["i2", "i1", "i4", "i5", "i6"]


def test_nothing_seen_is_offered_again() -> None:
    for user in "abcd":
        seen = {row.item for row in ROWS if row.user == user}
        assert seen.isdisjoint(items(user))
        assert len(items(user)) == 6 - len(seen)


def test_a_wide_catalogue_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "WIDEST", 2)
    assert items("d") == ["i2", "i1"]


def test_who_has_seen_everything_gets_nothing() -> None:
    line = Timeline.of(corpus_of([*ROWS, *(Row(50 + n, "z", f"i{n + 1}") for n in range(6))]))
    assert unseen(line, line.users.index("z")).size == 0
