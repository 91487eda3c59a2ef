"""Whatever a server sends is read as something, and nothing of it raises."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.llm.received import LONGEST_WAIT, MOST_TOKENS, Outcome, pause_of, received, refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def shapes() -> st.SearchStrategy[Any]:
    """Chat answers in which anything may stand in any place."""

    def either(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return good | JSON

    texts = either(st.text())
    message = st.fixed_dictionaries(
        {}, optional={"content": texts, "refusal": texts, "reasoning_content": texts, "reasoning": texts}
    )
    choice = st.fixed_dictionaries({}, optional={"message": either(message), "finish_reason": texts})
    counts = either(st.integers() | st.text("0123456789-. "))
    usage = st.fixed_dictionaries({}, optional={"prompt_tokens": counts, "completion_tokens": counts})
    choices = either(st.lists(either(choice), max_size=2))
    return either(st.fixed_dictionaries({}, optional={"choices": choices, "usage": either(usage), "error": JSON}))


def sound(outcome: Outcome) -> None:
    answer = outcome.answer
    assert all(isinstance(text, str) for text in (answer.text, answer.thinking, answer.finish, answer.error))
    assert 0 <= answer.usage.input_tokens <= MOST_TOKENS
    assert 0 <= answer.usage.output_tokens <= MOST_TOKENS
    assert answer.received or answer.error
    assert not (answer.received and outcome.again)
    json.dumps(answer.text)


@settings(deadline=None)
@given(shapes())
def test_any_json_is_an_answer_or_a_failure(whole: Any) -> None:
    sound(received(json.dumps(whole), 0.1, 10))
    sound(refused(500, json.dumps(whole), {}))


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "replace")), st.integers(201, 599), st.text())
def test_any_text_and_header_is_read(text: str, status: int, after: str) -> None:
    sound(received(text, 0.1, 10))
    sound(refused(status, text, {"Retry-After": after, "Location": after}))


@pytest.mark.parametrize("text", ["[" * 10**6, '{"choices":' * 10**5, "9" * 10**5, '"' + "\\u0000" * 10**5 + '"'])
def test_monstrous_json_is_no_answer(text: str) -> None:
    outcome = received(text, 0.1, 10)
    assert outcome.again
    assert outcome.answer.error.startswith("the answer is not one of a chat server")
    assert len(outcome.answer.error) < 400


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, (7, 3)),
        ({"prompt_tokens": None, "completion_tokens": -3}, (99, 6)),
        ({"prompt_tokens": 10**30, "completion_tokens": float("nan")}, (99, 6)),
        ({"prompt_tokens": "many", "completion_tokens": [3]}, (99, 6)),
        ([7, 3], (99, 6)),
        (None, (99, 6)),
    ],
)
def test_tokens_are_guessed_where_the_server_does_not_count(usage: Any, expected: tuple[int, int]) -> None:
    text = json.dumps({"choices": [{"message": {"content": "Why: so"}}], "usage": usage})
    outcome = received(text, 0.1, 99)
    assert outcome.answer.text == "Why: so"
    assert (outcome.answer.usage.input_tokens, outcome.answer.usage.output_tokens) == expected


def test_retry_after_is_seconds_or_a_date() -> None:
    assert pause_of("0") == 0
    assert pause_of("2.5") == 2.5
    assert pause_of("-3") == 0
    assert pause_of(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert pause_of(formatdate(time.time() + 30).replace("-0000", "+0000")) == pytest.approx(30, abs=2)
    assert pause_of(formatdate(time.time() + 30)) == pytest.approx(30, abs=2), "-0000 is UTC as well"
    assert pause_of(formatdate(time.time() - 30, usegmt=True)) == 0
    for nonsense in ("", "soon", "Wed, 99999999999999999999 Oct 2026 07:28:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359"):
        assert pause_of(nonsense) in (None, 0)


def test_a_pause_too_long_stops_the_run() -> None:
    assert refused(429, "", {"Retry-After": str(LONGEST_WAIT)}).pause == LONGEST_WAIT
    assert "come back in 901 seconds" in refused(503, "", {"Retry-After": "901"}).fatal
    assert refused(429, "", {"Retry-After": "inf"}).fatal


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"error": {"message": "Too  long\\n"}}', "Too long"),
        ('{"error": "Too long"}', "Too long"),
        ('{"detail": "Too long"}', "Too long"),
        ('{"detail": [{"msg": "Too long"}]}', "[{'msg': 'Too long'}]"),
        ('"Too long"', "Too long"),
        ("Too long", "Too long"),
        ('{"error": {}}', '{"error": {}}'),
        ("", "no reason given"),
        ("null", "null"),
    ],
)
def test_the_reason_is_found_in_an_error(text: str, detail: str) -> None:
    assert refused(400, text, {}).answer.error == f"HTTP 400: {detail}"
