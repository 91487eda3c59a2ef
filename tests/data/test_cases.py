"""What a prompt may show of a query, put together."""

from __future__ import annotations

import dataclasses

import pytest

from making import CATALOGUE, DAY, Line, Row, corpus_of, demo_line
from reasoningrec.config import SplitConfig
from reasoningrec.data.cases import Texts, cases, items_of
from reasoningrec.records import Case

ROWS = [Row(n, "u", f"i{n + 1}", 4 - n % 2 * 2, n * DAY) for n in range(5)]
LINE = Line(corpus_of(ROWS), SplitConfig(history=2))
NO_TEXTS = Texts({}, {}, {}, {})


def made(texts: Texts) -> list[Case]:
    queries = [example.query for example in LINE.examples]
    return list(cases(queries, LINE.numbers, items_of(LINE.corpus), LINE.attributes, texts))


def test_items_are_those_of_the_catalogue() -> None:
    assert items_of(LINE.corpus) == {item.id: item for item in CATALOGUE}


def test_a_case_shows_its_target_its_history_and_its_own_numbers() -> None:
    for case, example, numbers in zip(made(NO_TEXTS), LINE.examples, LINE.numbers.iter_rows(named=True), strict=True):
        assert case.query == example.query
        assert case.target.id == case.query.item
        assert set(case.items) == {reaction.item for reaction in case.query.history}
        assert case.evidence.numbers == numbers
        assert case.evidence.query_id == case.query.id
        assert (case.description, case.profile) == ("", "")


def test_a_case_has_no_label() -> None:
    names = {field.name for record in (Case, type(LINE.examples[0].query)) for field in dataclasses.fields(record)}
    assert "label" not in names


def test_each_query_shows_the_texts_meant_for_it() -> None:
    test, train, valid = (example.query.id for example in LINE.examples)
    texts = Texts(
        {"i5@2": "new", "i4@1": "old"}, {"u@1": "a person"}, {test: "i5@2", valid: "i4@1", train: "i3@0"}, {test: "u@1"}
    )
    shown = {case.query.id: (case.description, case.profile) for case in made(texts)}
    assert shown == {test: ("new", "a person"), valid: ("old", ""), train: ("", "")}


def test_queries_and_numbers_must_match() -> None:
    queries = [example.query for example in LINE.examples]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        list(cases(queries, LINE.numbers[:2], items_of(LINE.corpus), LINE.attributes, NO_TEXTS))


def test_the_shop_gives_a_case_for_every_window() -> None:
    line = demo_line(60)
    assert len(line.cases) == line.windows.height == 180
    assert sum(bool(case.description) for case in line.cases) > 100
    assert sum(bool(case.profile) for case in line.cases) > 60
