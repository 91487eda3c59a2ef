"""Every gate seen to refuse, and none of them without cause."""

from __future__ import annotations

import pytest

from reasoningrec.config import ReasonConfig
from reasoningrec.records import Evidence, Explanation, Fact, Rationale
from reasoningrec.teacher.answers import citations
from reasoningrec.teacher.verify import GATES, PLAIN, verify

LIMITS = ReasonConfig(taste_words=10, why_words=30)
EVIDENCE = Evidence(
    "q",
    (
        Fact("H1", "history", '"Lamp 12 Pro" (Dr. Alder, $12.50): liked', 0.5, {"title": "Lamp 12 Pro", "liked": True}),
        Fact("H2", "history", '"It is not for you" (Corvo): did not like', -0.5, {"title": "It is not for you"}),
        Fact("T", "target", '"Clock"', 0.0, {"title": "Clock"}),
        Fact("U1", "user-share", "liked 18 of 21 rated so far (86 %; usual: 50 %)", 0.4, {"n": 21, "liked": 18}),
        Fact("U3", "own-brand", "has liked 2 of 3 by Dr. Alder", 0.4, {"n": 3, "liked": 2, "which": "Dr. Alder"}),
        Fact("C1", "item-share", "16 of 41 others liked it (39 %; usual: 50 %)", -0.4, {"n": 41, "liked": 16}),
        Fact(
            "C2", "co-liked", "of 4 who also did not like [H2], 3 liked this one", 0.6,
            {"n": 4, "liked": 3, "with": "H2", "title": "It is not for you", "did": "did not like"},
        ),
    ),
    {},
)  # fmt: skip
YES = 'You liked "Lamp 12 Pro" [H1], so you will like it.'
NO = "Only 16 of 41 others liked it [C1]. You will not like it."


def failed(why: str, decision: bool = True, taste: str = "Lamps.", label: bool | None = None) -> tuple[str, ...]:
    text = Rationale("q", decision if label is None else label, taste, why, citations(why), "someone")
    return verify(text, decision, EVIDENCE, LIMITS).failures


@pytest.mark.parametrize(("why", "decision"), [(YES, True), (NO, False), ("You should enjoy it [U1]!", True)])
def test_good_texts_pass(why: str, decision: bool) -> None:
    assert failed(why, decision) == ()


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("form", "You liked [H1], so you will like it"),
        ("form", "You liked [H1], so you will like it …"),
        ("length", YES + " It is a good match for you" * 4 + "."),
        ("stance", "You liked [H1], so you will not like it."),
        ("stance", "You liked [H1]."),
        ("citations", "You will like it [H1] [H9]."),
        ("citations", "You will like it [H1], [U3], [U1], [C1]."),
        ("repeats", "You will like it [H1], for [U1] and [H1]."),
        ("support", "You will like it [C1]."),
        ("support", "You will like it [C1], [U1]."),
        ("support", "You will like it [U1], [C1], [H2]."),
        ("titles", 'As "Lamp 13 Pro" [H1] says, you will like it.'),
        ("titles", 'You liked "Lamp 12 Pro" [U1], so you will like it.'),
        ("titles", 'You liked "Lamp 12 Pro", so you will like it [H1].'),
        ("numbers", "You liked 9 of 21 [U1], so you will like it."),
        ("numbers", "You liked 18 of 21 [U3], so you will like it."),
        ("numbers", "You will like it [U1]. You liked 18 of 21."),
        ("claims", "At 18 of 21 you are harder to please than most [U1]. You will like it."),
        ("claims", "18 of 21 others liked it [U1]. You will like it."),
        ("leak", "We know that you liked [H1], so you will like it."),
        ("leak", "You rated it highly [H1], so you will like it."),
        ("leak", "You gave five stars to [H1], so you will like it."),
        ("leak", "The correct answer is that you will like it [H1]."),
        ("leak", "It turned out that you will like it [H1]."),
    ],
)
def test_each_gate_refuses(gate: str, why: str) -> None:
    assert failed(why) == (gate,)


def test_a_text_without_a_citation_has_no_support_either() -> None:
    assert failed("You will like it.") == ("citations", "support")


def test_every_gate_is_seen_to_refuse() -> None:
    refused = {gate for gate, _ in test_each_gate_refuses.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert refused == set(GATES) - {"history"}  # has tests of its own, below


@pytest.mark.parametrize(
    ("why", "holds"),
    [
        ('You liked "Lamp 12 Pro", so you will like it.', True),
        ('You liked the "lamp 12 pro", so you will like it.', True),
        ("You enjoyed “Lamp 12 Pro”, so you will like it.", True),
        ('Its "warm light" suits you, so you will like it.', True),
        ('You liked "Lamp 13 Pro", so you will like it.', False),
        ('You did not like "Lamp 12 Pro", but you will like it.', False),
        ('You disliked "Lamp 12 Pro", but you will like it.', False),
    ],
)
def test_what_is_said_of_the_history_must_stand_there(why: str, holds: bool) -> None:
    text = Rationale("q", True, "Lamps.", why, (), "someone")
    assert verify(text, True, EVIDENCE, LIMITS, PLAIN).failures == (() if holds else ("history",))


def test_only_the_gates_that_are_asked_for_are_judged() -> None:
    assert failed("You will like it.") == ("citations", "support")
    text = Rationale("q", True, "Lamps.", "You will like it.", (), "someone")
    assert verify(text, True, EVIDENCE, LIMITS, ("citations",)).failures == ("citations",)
    assert verify(text, True, EVIDENCE, LIMITS, PLAIN).kept


def test_an_empty_taste_or_a_long_one_is_refused() -> None:
    assert failed(YES, taste="") == ("form",)
    assert failed(YES, taste="lamps " * 10 + "lamps.") == ("length",)


def test_a_claimed_label_must_be_the_decision() -> None:
    assert failed(YES, True, label=False) == ("stance",)
    assert failed(NO, True, label=False) == ("stance", "support")


def test_explanations_are_judged_by_their_decision() -> None:
    text = Explanation("q", False, "Lamps.", NO, ("C1",), "student")
    assert verify(text, False, EVIDENCE, LIMITS).kept
    assert verify(text, True, EVIDENCE, LIMITS).failures == ("stance", "support")


def test_titles_are_no_opinion_no_number_and_no_leak() -> None:
    assert failed('[U1] says it. You did not warm to "It is not for you" [H2], but you will like it.') == ()
    assert failed('You liked "Lamp 12 Pro" [H1], and you will enjoy it.') == ()


def test_a_stop_inside_a_name_ends_no_sentence() -> None:
    assert failed("You will like it: you liked 2 of 3 by Dr. Alder [U3].") == ()


def test_a_number_must_stand_in_a_line_cited_in_its_own_sentence() -> None:
    assert failed("You liked 18 of 21 [U1] and 2 of 3 by Dr. Alder [U3]. You will like it.") == ()
    assert failed("You liked 18 of 21 [U1]. With Dr. Alder it is 18 of 3 [U3]. You will like it.") == ("numbers",)


def test_an_item_named_within_anothers_line_is_no_reason_of_its_own() -> None:
    assert (
        failed('Of 4 people who also did not like "It is not for you" [H2], 3 liked this one [C2]. You will like it.')
        == ()
    )
    assert failed("You will like it [H2], [U1].") == ("support",)


def test_where_no_line_supports_the_decision_any_may_be_cited() -> None:
    thin = Evidence("q", EVIDENCE.facts[2:4], {})
    text = Rationale(
        "q", False, "Lamps.", "There is little to hold [T] against. You will not like it.", ("T",), "someone"
    )
    assert verify(text, False, thin, LIMITS).kept


def test_all_failures_are_named_in_the_order_of_the_gates() -> None:
    found = failed('We know 99 things of "X"', taste="")
    assert found == ("form", "stance", "citations", "support", "titles", "numbers", "leak")
    assert [gate for gate in GATES if gate in found] == list(found)
