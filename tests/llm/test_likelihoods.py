"""Log-probabilities as servers write them, and the decision read from them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.llm.likelihoods import Likelihood, Word, chance, dumps, loads, read

NO, YES = Word(11, " No"), Word(12, " Yes")
WORDS = (NO, YES)


def of(logprobs: Any) -> float | None:
    found = read(logprobs)
    assert found
    return chance(found, WORDS).p


@pytest.mark.parametrize(
    "logprobs",
    [
        {"top_logprobs": [{" No": -2.0, " Yes": -1.0, "x": -5.0}]},
        {"top_logprobs": [{"token_id:12": -1.0, "token_id:11": -2.0}], "content": None},
        {"top_logprobs": [{"▁No": -2.0, "▁Yes": -1.0}]},
        {"top_logprobs": [{"ĠNo": -2.0, "ĠYes": -1.0}]},
        {"top_logprobs": [{"No": -2.0, "Yes": -1.0, "no": 0.0}]},
        {"top_logprobs": [{"No": -0.1, " No": -2.0, " Yes": -1.0, "Yes": -0.3}]},
        {
            "content": [
                {"top_logprobs": [{"token": "?", "id": 12, "logprob": -1.0}, {"token": "", "id": 11, "logprob": -2}]}
            ]
        },
        {"content": [{"top_logprobs": [{"token": " Yes", "logprob": -1.0}, {"token": " No", "logprob": -2.0}]}]},
    ],
)
def test_however_tokens_are_named(logprobs: Any) -> None:
    assert of(logprobs) == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("nothing", [None, {}, {"top_logprobs": None}, {"top_logprobs": [None]}, {"top_logprobs": []}])
def test_none_are_none(nothing: Any) -> None:
    assert read(nothing) is None


@pytest.mark.parametrize(
    "other",
    [
        7,
        "x",
        {"top_logprobs": [3]},
        {"top_logprobs": [{"a": "b"}]},
        {"top_logprobs": [{"a": None}]},
        {"top_logprobs": [{"token_id:x": -1.0}]},
        {"content": [{}]},
        {"content": []},
        {"content": [{"top_logprobs": [{"token": "a"}]}]},
    ],
)
def test_another_form_is_an_error_that_reading_knows(other: Any) -> None:
    with pytest.raises((KeyError, IndexError, TypeError, ValueError, AttributeError)):
        read(other)


def named(**logs: float) -> list[Likelihood]:
    return [Likelihood(name.replace("_", " "), None, log) for name, log in logs.items()]


def test_a_missing_decision_is_bounded_by_the_least() -> None:
    found = chance(named(_Yes=-0.5, a=-3.0, b=-2.0), WORDS)
    assert found.bounded
    assert found.p == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert chance(named(_No=-0.5, a=-3.0), WORDS).p == pytest.approx(1 / (1 + math.exp(2.5)))


@pytest.mark.parametrize(
    "given",
    [
        named(a=-1.0, b=-2.0),
        named(_Yes=math.nan, _No=-1.0),
        named(_Yes=-1.0, _No=math.inf),
        named(_Yes=0.5, _No=-1.0),
        named(_Yes=-math.inf, _No=-math.inf),
        named(_Yes=-1.0, a=math.nan),
        named(Yes=-1.0, **{"Yes_": -2.0, "a": -3.0}),
    ],
)
def test_where_the_server_does_not_say_there_is_no_answer(given: list[Likelihood]) -> None:
    assert chance(given, WORDS).p is None


def test_a_token_of_a_number_is_not_looked_for_by_its_text() -> None:
    given = [Likelihood(" Yes", 7, -0.1), Likelihood(" No", 8, -1.0)]
    assert chance(given, WORDS).p is None


logs = st.floats(-9999.0, 0.0)


@given(logs, logs)
def test_it_is_the_softmax_over_the_two(no: float, yes: float) -> None:
    p = chance(named(_No=no, _Yes=yes), WORDS).p
    mirrored = chance(named(_No=yes, _Yes=no), WORDS).p
    assert p is not None
    assert mirrored is not None
    assert 0 <= p <= 1
    assert p + mirrored == pytest.approx(1)
    assert (p > 0.5) == (yes > no) or abs(yes - no) < 1e-9


@given(st.lists(st.tuples(st.text(), st.none() | st.integers(), st.floats(allow_nan=False))))
def test_what_is_kept_is_read_again(rows: list[tuple[str, int | None, float]]) -> None:
    found = [Likelihood(*row) for row in rows]
    assert loads(dumps(found)) == found
