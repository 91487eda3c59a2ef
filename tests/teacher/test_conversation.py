"""How one text comes about, step by step, with a list of replies in place of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from making import WORDING, demo_line
from reasoningrec.llm.client import ItemMaterial, Message, ReasonMaterial, Reply, Request, Usage
from reasoningrec.records import Case, Item, Rationale
from reasoningrec.teacher import describe, judge, reason
from reasoningrec.teacher.conversation import Conversation, Result, finished

LAMP = ItemMaterial(Item("i1", "Lamp"), "product", "", (), 25)
CASE: Case = demo_line(60).cases[0]
ONE = Usage(1, 10, 2)
YES = "Taste: Lamps.\nPrediction: Yes\nWhy: You will like it [U1]."
NO = "Taste: Lamps.\nPrediction: No\nWhy: You will not like it [U1]."


def held(conversation: Conversation[Any], answers: Iterable[str | Reply]) -> tuple[list[Request], Result[Any]]:
    """(what was asked, what came of it) when these answers come in turn."""
    asked, left = [], iter(answers)
    state = finished(conversation)
    while isinstance(state, Request):
        asked.append(state)
        answer = next(left)
        reply = answer if isinstance(answer, Reply) else Reply(state.id, answer, ONE)
        state = finished(conversation, reply)
    assert not list(left), "answers were left over"
    return asked, state


def description(*answers: str | Reply) -> tuple[list[Request], Result[Any]]:
    return held(describe.conversation("i1@0", LAMP, WORDING, "m"), answers)


def test_a_good_answer_is_the_text() -> None:
    asked, result = description("Description: A lamp.")
    assert (len(asked), result.text.text, result.usage, result.answered) == (1, "A lamp.", ONE, True)
    assert result.row() == {
        "key": "i1@0", "item": "i1", "text": "A lamp.", "origin": "m", "status": "done",
        "calls": 1, "input_tokens": 10, "output_tokens": 2, "tries": 1,
    }  # fmt: skip


def test_an_answer_by_schema_is_read_as_well() -> None:
    assert description('```json\n{"description": "A lamp."}\n```')[1].text.text == "A lamp."


def test_a_wrong_answer_is_asked_for_again_with_the_reason() -> None:
    asked, result = description("A lamp.", "Description: A lamp.")
    first, second = asked
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[-2] == Message("assistant", "A lamp.")
    assert "the answer has no line `Description: ...`" in second.messages[-1].text
    assert (second.id, second.fields, second.material) == (first.id, first.fields, first.material)
    assert (result.text.text, result.usage) == ("A lamp.", Usage(2, 20, 4))


def test_two_wrong_answers_are_a_failure_with_all_that_was_said() -> None:
    asked, result = description("A lamp.", "Lamp!")
    row = result.row()
    assert result.text is None
    assert (row["status"], row["key"], row["answer"], row["calls"]) == ("failed", "i1@0", "Lamp!", 2)
    assert row["error"] == "the answer has no line `Description: ...`"
    assert [message["role"] for message in row["messages"]] == ["user", "assistant", "user"]
    assert len(asked) == 2


def test_a_refusal_is_asked_once_more_too() -> None:
    refusal = Reply("i1@0", "I cannot.", ONE, "the model refuses")
    asked, result = description(refusal, "Description: A lamp.")
    assert "the model refuses" in asked[1].messages[-1].text
    assert result.text.text == "A lamp."


def test_what_got_no_answer_is_not_repaired() -> None:
    asked, result = description(Reply("i1@0", "", Usage(), "HTTP 500", answered=False))
    assert (len(asked), result.answered, result.error, result.usage) == (1, False, "HTTP 500", Usage())


def rationale(
    *answers: str | Reply, label: bool = True, unhinted: bool = False, tries: int = 3, wrong: Iterable[str] = ()
) -> tuple[list[Request], Result[Any]]:
    """`wrong`: texts that fail a gate."""
    bad = set(wrong)

    def problems(text: Rationale) -> list[str]:
        return ["no line is cited twice"] if text.why in bad else []

    how = reason.Asking(WORDING, "m", unhinted, tries, problems, seed=7)
    return held(reason.conversation(ReasonMaterial(CASE, label, "product", 60, 80, 3), how), answers)


def told(request: Request) -> bool:
    """Whether the request tells the label."""
    return "liked the product [T]. From the evidence" in request.messages[0].text


def test_hinted_the_label_is_told_at_once() -> None:
    asked, result = rationale(YES)
    assert [told(request) for request in asked] == [True]
    assert (result.text.hinted, result.tries, asked[0].seed) == (True, 1, 7)


def test_unhinted_first_a_right_answer_is_kept_and_was_not_told() -> None:
    asked, result = rationale(YES, unhinted=True)
    assert [told(request) for request in asked] == [False]
    assert asked[0].material.label is None  # type: ignore[union-attr]
    assert result.text.hinted is False


def test_unhinted_first_a_wrong_answer_is_followed_by_one_that_is_told() -> None:
    asked, result = rationale(NO, YES, unhinted=True)
    assert [told(request) for request in asked] == [False, True]
    assert [request.seed for request in asked] == [7, 8]
    assert (result.text.label, result.text.hinted, result.tries, result.usage.calls) == (True, True, 2, 2)


def test_what_fails_a_gate_is_asked_for_again_with_what_is_wrong() -> None:
    asked, result = rationale(YES, YES.replace("will", "should"), wrong=["You will like it [U1]."])
    assert "no line is cited twice" in asked[1].messages[-1].text
    assert told(asked[1])
    assert (result.text.why, result.tries) == ("You should like it [U1].", 2)


def test_an_unhinted_text_that_fails_a_gate_stays_unhinted() -> None:
    asked, result = rationale(YES, YES.replace("will", "should"), unhinted=True, wrong=["You will like it [U1]."])
    assert not any(told(request) for request in asked)
    assert result.text.hinted is False


def test_after_all_tries_the_last_readable_text_is_left_to_the_gates() -> None:
    asked, result = rationale(YES, YES, tries=2, wrong=["You will like it [U1]."])
    assert len(asked) == 2
    assert (result.text.why, result.tries, result.usage.calls) == ("You will like it [U1].", 2, 2)


def test_an_unreadable_answer_costs_a_try_with_its_repair() -> None:
    asked, result = rationale("?", "?", YES)
    assert len(asked) == 3
    assert len(asked[2].messages) == 1  # begun anew
    assert (result.tries, result.usage.calls) == (2, 3)


def test_a_readable_text_is_not_lost_to_later_unreadable_ones() -> None:
    _, result = rationale(YES, "?", "?", tries=2, wrong=["You will like it [U1]."])
    assert result.text.why == "You will like it [U1]."
    assert (result.tries, result.usage.calls) == (2, 3)


def test_want_of_an_answer_ends_the_conversation() -> None:
    gone = Reply(CASE.query.id, "", Usage(), "HTTP 500", answered=False)
    asked, result = rationale(NO, gone, unhinted=True)
    assert (len(asked), result.text, result.answered, result.usage.calls) == (2, None, False, 1)


JUDGED = Rationale("q", True, "Lamps.", "You will like it: you liked lamps [U1].", ("U1",), "m")


@pytest.mark.parametrize(("answer", "said"), [("Prediction: Yes", True), ('{"prediction": "No"}', False)])
def test_a_judge_says_yes_or_no(answer: str, said: bool) -> None:
    asked, result = held(judge.conversation(JUDGED, WORDING), [answer])
    assert result.text is said
    assert "will like" not in asked[0].messages[0].text.replace("will like\nit", "").split("Taste:")[1]


def test_a_judge_that_does_not_decide_says_nothing() -> None:
    _, result = held(judge.conversation(JUDGED, WORDING), ["Prediction: Perhaps", "Who knows"])
    assert result.text is None
    assert result.error
