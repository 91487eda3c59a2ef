"""Thinking is parted from the answer, and an answer is asked for in one of two forms."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.llm.client import Message, Request
from reasoningrec.llm.forms import chat, part_thinking, schema


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("Why: so", "Why: so", ""),
        ("<think>hm</think>\n\nWhy: so", "Why: so", "hm"),
        ("<THINKING>hm</Thinking>Why: so", "Why: so", "hm"),
        ("hm</think>Why: so", "Why: so", "hm"),
        ("hm</think>hm2</think>Why: so", "Why: so", "hm\nhm2"),
        ("<think>a<think>b</think>c</think>Why: so", "Why: so", "a<think>b\nc"),
        ("<think>a</think>Why: <think>b</think>so", "Why: so", "a\nb"),
        ("<think>on and on", "", "on and on"),
        ("Why: so\n<think>on and on", "Why: so", "on and on"),
        ("<think></think>Why: so", "Why: so", ""),
        ("<think>a</reasoning>Why: so", "Why: so", "a"),
        ("Why: 3 < 4 and <b>bold</b>", "Why: 3 < 4 and <b>bold</b>", ""),
        ("", "", ""),
    ],
)
def test_thinking_is_parted(text: str, answer: str, thinking: str) -> None:
    assert part_thinking(text) == (answer, thinking)


PARTS = st.sampled_from(["<think>", "</think>", "<reasoning>", "</THINK>", "a", " ", "Why: b", "<", "\n"])


@settings(deadline=None)
@given(st.lists(PARTS).map("".join))
def test_no_tag_is_left_in_an_answer_and_no_word_is_lost(text: str) -> None:
    answer, thinking = part_thinking(text)
    assert not any(tag in answer.lower() for tag in ("<think>", "</think>", "<reasoning>"))
    assert (answer + thinking).count("b") == text.count("b")
    assert part_thinking(answer) == (answer, "")


@pytest.mark.parametrize("loop", ["<think>", "</think>", "<think>a</think>", "<think>a</reasoning>", "<<think>"])
def test_a_model_in_a_loop_takes_no_time(loop: str) -> None:
    begun = time.process_time()
    part_thinking(loop * 200_000)
    assert time.process_time() - begun < 2


def test_the_form_is_asked_for_at_the_end() -> None:
    request = Request("r", (Message("system", "S"), Message("user", "U")), ("Prediction", "Why"))
    system, user = chat(request, "lines")
    assert system == {"role": "system", "content": "S"}
    assert user["content"] == "U\n\nAnswer in 2 lines and write nothing else:\nPrediction: Yes or No\nWhy: ..."
    asked = chat(request, "schema")[-1]["content"]
    assert asked == (
        'U\n\nAnswer with one JSON object and nothing else, with these keys: "prediction" ("Yes" or "No"), "why".'
    )
    assert "this key" in str(chat(Request("r", request.messages, ("Why",)), "schema")[-1]["content"])


def test_the_schema_holds_the_fields_in_order() -> None:
    found = schema(("Taste", "Prediction", "Why"))
    assert json.loads(json.dumps(found)) == {
        "type": "object",
        "properties": {
            "taste": {"type": "string"},
            "prediction": {"type": "string", "enum": ["Yes", "No"]},
            "why": {"type": "string"},
        },
        "required": ["taste", "prediction", "why"],
        "additionalProperties": False,
    }
