"""Every clause can be said of every fact of its kind, on its side, without taking a stance of its own."""

from __future__ import annotations

import re
import string

import pytest

from making import DAY, Line, Row, corpus_of, demo_line
from reasoningrec.config import SplitConfig
from reasoningrec.data.facts import KINDS
from reasoningrec.llm import phrases
from reasoningrec.llm.stance import stance
from reasoningrec.records import Fact
from reasoningrec.teacher.answers import citations

BANKS = {"for": phrases.FOR, "against": phrases.AGAINST, "neutral": phrases.NEUTRAL}
CLAUSES = [(name, kind, clause) for name, bank in BANKS.items() for kind, options in bank.items() for clause in options]


def facts_by_kind() -> dict[str, list[Fact]]:
    """Facts of all kinds: of the shop, and of somebody who buys the same thing twice on a day."""
    twice = [Row(n, "a", "i1", stars, n // 3 * DAY) for n, stars in enumerate((5, 2, 4, 5, 5, 1, 4))]
    cases = demo_line(60).cases[:40] + Line(corpus_of(twice), SplitConfig(history=3, train_windows=0)).cases
    found: dict[str, list[Fact]] = {kind: [] for kind in KINDS}
    for case in cases:
        for fact in case.evidence.facts:
            found[fact.kind].append(fact)
    return found


FACTS = facts_by_kind()


def said(clause: str, fact: Fact) -> str:
    values = {name: value for name, value in fact.values.items() if name != "shared"}
    return clause.format(id=f"[{fact.id}]", shared=", also by Alder" if "shared" in fact.values else "", **values)


def test_every_kind_of_fact_that_can_weigh_has_words_on_both_sides() -> None:
    assert set(phrases.FOR) == set(phrases.AGAINST) == set(KINDS) - {"target"}
    assert set(phrases.NEUTRAL) <= set(KINDS)
    assert "target" in phrases.NEUTRAL  # always there, so something can always be said


@pytest.mark.parametrize(("bank", "kind", "clause"), CLAUSES)
def test_a_clause_can_be_said_of_the_facts_of_its_kind(bank: str, kind: str, clause: str) -> None:
    facts = [fact for fact in FACTS[kind] if bank == "neutral" or fact.weight]
    assert facts
    for fact in facts:
        text = said(clause, fact)
        assert fact.id in citations(text)
        assert "{" not in text
        numbers = set(re.findall(r"\d+", re.sub(r'"[^"]*"|\[\w+\]', "", text)))
        assert numbers <= set(re.findall(r"\d+", fact.text))


@pytest.mark.parametrize(("bank", "kind", "clause"), CLAUSES)
def test_a_clause_takes_no_side_by_itself(bank: str, kind: str, clause: str) -> None:
    """The side is the verdict's to take; a clause that took one would tilt what a program reads."""
    for fact in FACTS[kind][:3]:
        assert stance(said(clause, fact)) is None


def test_clauses_start_in_lower_case_and_end_no_sentence() -> None:
    for _, _, clause in CLAUSES:
        start = clause.lstrip('"{')
        assert start[0].islower() or clause.startswith(('"', "{"))
        assert not clause.rstrip().endswith(".")


def test_no_clause_stands_twice_on_a_side() -> None:
    for bank in BANKS.values():
        for options in bank.values():
            assert len(set(options)) == len(options)


def test_titles_stand_in_quotes_before_the_id_of_their_item() -> None:
    for _, kind, clause in CLAUSES:
        names = {name for _, name, _, _ in string.Formatter().parse(clause) if name}
        if "title" in names:
            assert f'"{{title}}" {"[{with}]" if kind == "co-liked" else "{id}"}' in clause


@pytest.mark.parametrize("side", [True, False])
def test_verdicts_take_their_side(side: bool) -> None:
    for verdict in phrases.VERDICTS[side]:
        assert stance(verdict.format(word="film")) is side
        assert stance(f"Still, {verdict.format(word='film')}.") is side


@pytest.mark.parametrize("side", [True, False])
def test_a_verdict_keeps_its_side_in_every_frame(side: bool) -> None:
    for verdict in phrases.VERDICTS[side]:
        for conceded in phrases.CONCEDED:
            for bank, kind, clause in CLAUSES:
                if bank == ("against" if side else "for"):
                    text = conceded.format(c=said(clause, FACTS[kind][0])) + verdict.format(word="film")
                    assert stance(text) is side, text


def test_no_clause_claims_more_than_a_comparison() -> None:
    """A weight above its base does not make a share high: one of four liked can be above the usual."""
    for _, _, clause in CLAUSES:
        assert not re.search(r"\b(?:most things|few things|always|never|the last time)\b", clause)
