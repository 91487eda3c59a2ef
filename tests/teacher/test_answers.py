"""The labelled lines of an answer, however a model mangles them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.errors import TeacherError
from reasoningrec.teacher.answers import citations, decision, labelled

NAMES = ["Taste", "Prediction", "Why"]
GOOD = {"Taste": "Loves lamps.", "Prediction": "Yes", "Why": "You liked [H1]."}


@pytest.mark.parametrize(
    "text",
    [
        "Taste: Loves lamps.\nPrediction: Yes\nWhy: You liked [H1].",
        "\n\n  Taste:   Loves lamps.  \n\nPrediction:Yes\n\n\nWhy: You liked [H1].\n\n",
        "TASTE: Loves lamps.\nprediction: Yes\nWHY: You liked [H1].",
        "**Taste:** Loves lamps.\n**Prediction:** Yes\n**Why:** You liked [H1].",
        "**Taste**: Loves lamps.\n**Prediction**: Yes\n**Why**: You liked [H1].",
        "Sure, here it is:\n\nTaste: Loves lamps.\nPrediction: Yes\nWhy: You liked [H1].",
        "Why: You liked [H1].\nTaste: Loves lamps.\nPrediction: Yes",
        "Taste: Loves\n  lamps.\nPrediction: Yes\nWhy: You\nliked\t[H1].",
        "Taste: Loves lamps.\r\nPrediction: Yes\r\nWhy: You liked [H1].\r\n",
        "Taste: Loves\x1b \u202elamps.\nPrediction: Yes\nWhy: You liked\x00 [H1].",
    ],
)
def test_answers_in_the_asked_form(text: str) -> None:
    assert labelled(text, NAMES) == GOOD


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no line `Taste: ...`"),
        ("I cannot help with that.", "no line `Taste: ...`"),
        ("Taste: Loves lamps.\nWhy: You liked [H1].", "no line `Prediction: ...`"),
        ("Taste: a\nPrediction: Yes\nWhy:", "no line `Why: ...`"),
        ("Taste: a\nPrediction: Yes\nWhy:   \n\n", "no line `Why: ...`"),
        ("Taste: a\nTaste: b\nPrediction: Yes\nWhy: c", "two lines `Taste:`"),
        ("Taste: a\nPrediction: Yes\nWhy: c\nWhy: d", "two lines `Why:`"),
        ("Taste: a Prediction: Yes Why: c", "no line `Prediction: ...`"),
        ('{"Taste": "a", "Prediction": "Yes", "Why": "c"}', "no line `Taste: ...`"),
    ],
)
def test_answers_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(TeacherError) as raised:
        labelled(text, NAMES)
    assert problem in str(raised.value)


def test_a_label_inside_a_sentence_parts_nothing() -> None:
    text = "Taste: one might ask Why: because\nPrediction: No\nWhy: the Taste: is odd"
    assert labelled(text, NAMES) == {
        "Taste": "one might ask Why: because", "Prediction": "No", "Why": "the Taste: is odd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [("Yes", True), ("no", False), (" **Yes** ", True), ("NO.", False), ("yes.", True)]
)
def test_decisions(text: str, said: bool) -> None:
    assert decision(text) is said


@pytest.mark.parametrize("text", ["", "Maybe", "Yes and no", "Yes, surely", "No doubt yes", "1", "nope", "true"])
def test_what_is_no_decision(text: str) -> None:
    with pytest.raises(TeacherError, match="neither Yes nor No"):
        decision(text)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ()),
        ("[H1] then [U2], [C3] and [T].", ("H1", "U2", "C3", "T")),
        ("[H2] and [H2] again, then [H1]", ("H2", "H1")),
        ("[H0] [U01] [X1] [h1] [H1234] (H1) H1 [T1] [ H1 ] [H1, H2]", ()),
        ("[H10][H100]", ("H10", "H100")),
        ('"Vitamin [C3] Cream" [H1], “Wool [U3] Socks” [H2]', ("H1", "H2")),
    ],
)
def test_citations(text: str, ids: tuple[str, ...]) -> None:
    assert citations(text) == ids


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        found = labelled(text, NAMES)
    except TeacherError:
        return
    assert set(found) == set(NAMES)
    assert all(value == " ".join(value.split()) and value for value in found.values())


values = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30).filter(lambda v: ":" not in v)


@given(values, values)
def test_what_was_asked_for_is_read_back(taste: str, why: str) -> None:
    assert labelled(f"Taste: {taste}\nPrediction: No\nWhy: {why}", NAMES) == {
        "Taste": taste, "Prediction": "No", "Why": why,
    }  # fmt: skip
