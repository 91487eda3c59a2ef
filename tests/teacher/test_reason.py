"""Requests for rationales, their answers, and which examples get one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from making import WORDING, demo_line
from reasoningrec.errors import TeacherError
from reasoningrec.llm.client import ReasonMaterial, Reply
from reasoningrec.records import Case, Example, Query
from reasoningrec.teacher import reason

CASE: Case = next(case for case in demo_line(60).cases if case.profile and case.description)


def material(label: bool) -> ReasonMaterial:
    return ReasonMaterial(CASE, label, "product", 60, 80, 3)


def test_the_prompt_shows_every_line_of_evidence_with_its_id() -> None:
    asked = reason.request(material(True), WORDING)
    assert asked.id == CASE.query.id
    lines = asked.messages[0].text.splitlines()
    for fact in CASE.evidence.facts:
        assert f"[{fact.id}] {fact.text}" in lines
    assert f"Profile: {CASE.profile}" in lines
    assert f"About [T]: {CASE.description}" in lines


def test_the_prompt_is_told_the_label_and_the_limits() -> None:
    yes, no = (reason.request(material(label), WORDING).messages[0].text for label in (True, False))
    assert "A person liked the product [T]" in yes
    assert "A person did not like the product [T]" in no
    assert "Under Prediction, say Yes." in yes
    assert "Under Prediction, say No." in no
    for words in ("at most 60 words", "at most 80 words", "at most 3 reasons"):
        assert words in yes


def test_an_answer_becomes_a_rationale() -> None:
    found = reason.parse(Reply("q", "Taste: a\nPrediction: No.\nWhy: b [U1] then [H2], [U1]."), "someone")
    assert (found.query_id, found.label, found.taste, found.why) == ("q", False, "a", "b [U1] then [H2], [U1].")
    assert (found.citations, found.origin) == (("U1", "H2"), "someone")


@pytest.mark.parametrize(
    "text", ["", "Why: b", "Taste: a\nPrediction: Perhaps\nWhy: b", "Taste: a\nPrediction: Yes\nPrediction: No\nWhy: b"]
)
def test_an_answer_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(TeacherError):
        reason.parse(Reply("q", text), "someone")


def made(labels: list[bool]) -> list[Example]:
    return [Example(Query(f"q{n:03d}", "u", "i", None, ()), label, "train") for n, label in enumerate(labels)]


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 3))
def test_shots_are_balanced_as_far_as_may_be(labels: list[bool], count: int, seed: int) -> None:
    pool = made(labels)
    drawn = reason.shots(pool, count, seed)
    ids = [example.query.id for example in drawn]
    assert ids == sorted(set(ids))
    assert set(drawn) <= set(pool)
    assert len(drawn) == (min(count, len(pool)) if count else len(pool))
    if count and count < len(pool):
        have, all_ = (Counter(example.label for example in some) for some in (drawn, pool))
        fewer = min(all_[True], all_[False])
        assert min(have[True], have[False]) == min(count // 2, fewer)


def test_shots_follow_their_seed_alone() -> None:
    pool = made([n % 3 == 0 for n in range(90)])
    assert reason.shots(pool, 16, 0) == reason.shots(pool, 16, 0)
    assert reason.shots(pool, 16, 0) != reason.shots(pool, 16, 1)
    assert len({tuple(reason.shots(pool, 16, seed)) for seed in range(5)}) == 5


def test_every_example_has_the_same_chance() -> None:
    pool = made([n < 5 for n in range(10)])
    drawn = Counter(example.query.id for seed in range(400) for example in reason.shots(pool, 4, seed))
    assert all(abs(drawn[example.query.id] - 160) < 50 for example in pool)
