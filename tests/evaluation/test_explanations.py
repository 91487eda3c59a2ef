from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.evaluation.explanations import (
    Check,
    TrueReasons,
    check_explanations,
    cited_ids,
    count_frames,
    frame,
    split_sentences,
    true_reason_hits,
)
from reasoningrec.records import Evidence, Explanation, Fact


def explain(query: str = "q", why: str = "They will like it [H1].", **changes: object) -> Explanation:
    values = {"decision": True, "taste": "", "citations": ("H1",), "origin": "student", **changes}
    return Explanation(query_id=query, why=why, **values)  # type: ignore[arg-type]


def evidence(*ids: str) -> Evidence:
    return Evidence("q", tuple(Fact(id_, "history", "a line", 0.0) for id_ in ids), {})


def found(explanations: list[Explanation], known: Evidence) -> dict[str, Check]:
    checks = check_explanations(explanations, {"q": known})
    return {check.measure: check for check in checks}


def test_citations_are_those_declared_and_those_in_the_text() -> None:
    text = 'See [C1, H2] and [H1]; not "Vitamin [C] Cream", [sic] or [Blu-ray].'
    assert cited_ids(explain(why=text, citations=("U1", "H1"))) == ("U1", "H1", "C1", "H2")


def test_citations_that_do_not_exist_are_caught_in_list_and_text() -> None:
    known = evidence("H1", "T")
    assert found([explain()], known)["citations_exist"].value == 1
    assert found([explain(citations=("H1", "H7"))], known)["citations_exist"].value == 0.5
    assert found([explain(why="They will like it [H1] [C9].")], known)["citations_exist"] == Check(
        "citations_exist", 0.5, 2, "share", "citations that name a line of evidence that exists"
    )
    assert check_explanations([explain()], {})[0].value == 0


def test_an_explanation_without_citation_is_counted() -> None:
    checks = found([explain(), explain(why="They will like it.", citations=())], evidence("H1"))
    assert checks["cited"].value == 0.5


def test_stance_is_read_from_why_and_silence_is_no_agreement() -> None:
    known = evidence("H1")
    assert found([explain(taste="They would not enjoy tea.")], known)["stance_agreement"].value == 1
    assert found([explain(decision=False)], known)["stance_agreement"].value == 0
    assert found([explain(why="A lamp [H1].")], known)["stance_agreement"].value == 0
    assert found([explain(why="They will skip it [H1].", decision=False)], known)["stance_agreement"].value == 1


def test_four_reasons_are_too_many() -> None:
    known = evidence("H1", "H2", "H3", "H4")
    three = explain(why="They will like it [H1, H2, H3] [H1].")
    four = explain(why="They will like it [H1, H2] [H3, H4].")
    assert found([three, four], known)["at_most_three"].value == 0.5


def test_lengths_origins_and_distinct_texts() -> None:
    rows = [explain(taste="Likes tea."), explain(taste="Likes tea."), explain(why="Yes, they will.", origin="offline")]
    checks = found(rows, evidence("H1"))
    assert checks["words_most"].value == 7
    assert checks["words_mean"].value == pytest.approx((7 + 7 + 3) / 3)
    assert checks["distinct_texts"].value == pytest.approx(2 / 3)
    assert (checks["from_student"].value, checks["from_offline"].value) == pytest.approx((2 / 3, 1 / 3))


def test_no_explanations_give_no_figures() -> None:
    checks = check_explanations([], {})
    assert {(check.value, check.n) for check in checks} == {(None, 0)}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('They liked "Tea Cup" [H1].', 'They liked "A lamp, large. Really" [H2, C1].'),
        ("They liked 3 of 4 items [U1].", "They liked 12 of 1,040 items."),
        ("It costs $4.99 and 80% liked it.", "It costs $12 and 7.5% liked it."),
        ('They liked "A" and "B".', 'They liked "A", "B" and "C".'),
        ("Two of three others liked it.", "Five of nine others liked it."),
        ("They like Acme pens.", "they like Mega Corp+ pens."),
    ],
)
def test_frames_are_alike_once_what_varies_is_out(one: str, two: str) -> None:
    names = ["Acme", "Mega Corp+", "Mega"]
    assert frame(one, names) == frame(two, names)


def test_frames_of_different_sentences_differ() -> None:
    assert frame("They liked 3 of 4 items.") != frame("They disliked 3 of 4 items.")
    assert frame("They like Acme pens.") != frame("They like Mega pens.")
    assert frame("Liked 4 of 5, a lot [U1].") == "liked # of #, a lot."


def test_the_most_frequent_frame_is_found() -> None:
    rows = [
        explain(taste=f"Liked {n} of 9.", why=f'They will like "T{n}" [H1].' if n < 3 else "A hit.") for n in range(5)
    ]
    frames = count_frames(rows, {})
    assert (frames.top, frames.top_count, frames.sentences, frames.distinct_texts) == ("liked # of #.", 5, 10, 2)


def test_sentences_are_not_cut_inside_titles() -> None:
    assert split_sentences('Saw "Who? Me. You!" twice. Liked it!\nTrue') == [
        'Saw "Who? Me. You!" twice.',
        "Liked it!",
        "True",
    ]


@given(st.text(max_size=200))
def test_any_text_can_be_framed(text: str) -> None:
    assert sum(len(part) for part in split_sentences(text)) <= len(text)
    frame(text, ["a", "", "("])


def test_true_reasons_first_and_among() -> None:
    truth = {
        "a": TrueReasons(("brand", "price"), {"brand": {"U3", "C3"}, "price": {"U5"}}),
        "b": TrueReasons(("brand",), {"brand": {"U3"}}),
        "c": TrueReasons(("taste",), {}),
        "d": TrueReasons((), {}),
        "unexplained": TrueReasons(("brand",), {"brand": {"U3"}}),
    }
    rows = [
        explain("a", "Good [C3].", citations=("C3", "U5")),
        explain("b", "Good [U5] [U3].", citations=("U5", "U3")),
        explain("c", "Good.", citations=()),
        explain("d"),
        explain("not liked"),
    ]
    first, among = true_reason_hits(rows, truth)
    assert (first.value, first.n) == (pytest.approx(1 / 3), 3)
    assert (among.value, among.n) == (pytest.approx(2 / 3), 3)
