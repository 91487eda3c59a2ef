"""Keys of servers show themselves nowhere; keys of the cache are of the whole request and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import reasoningrec
from reasoningrec.config import BudgetConfig, ModelConfig
from reasoningrec.errors import ConfigError
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Answer, Message, Request, Usage
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.forms import chat, schema
from reasoningrec.llm.keys import MASK, SHORTEST, Key
from reasoningrec.llm.limits import Purse

SECRET = 'sk-live/Ab+12"\\x'


# The key of a server


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {SECRET}\n")
    assert Key.of("SOME_KEY").header() == {"Authorization": f"Bearer {SECRET}"}
    assert Key.of("").header() == {}


@pytest.mark.parametrize("text", ["", "  ", "a\nb: c", "schlüssel", "a\0b"])
def test_a_key_that_cannot_be_one_is_told_without_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"SOME_KEY": text})
    with pytest.raises(ConfigError, match=r"key_env: .*SOME_KEY") as error:
        Key.of("SOME_KEY")
    assert not text.strip() or text not in str(error.value)


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda key: f"{key!r:>5}", lambda key: repr({"k": [key]})])
def test_a_key_does_not_show_itself(show: Callable[[Key], str]) -> None:
    assert SECRET not in show(Key(SECRET))
    assert MASK in show(Key(SECRET))
    assert not hasattr(Key(SECRET), "__dict__")


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST), st.text(max_size=20))
def test_a_text_is_cleared_of_the_key_however_it_is_written(secret: str, text: str) -> None:
    assume(secret not in MASK * 3)
    key = Key(secret)
    plain = f"{text} Bearer {secret}. {text}"
    for written in (plain, json.dumps(plain), json.dumps({"error": plain}).replace("/", "\\/")):
        clean = key.scrub(written)
        assert secret not in clean
        assert MASK in clean
    assert key.scrub("Why: the key to it") == "Why: the key to it" or secret in "Why: the key to it"


@pytest.mark.parametrize("word", ["none", "EMPTY", "no", "x", "ollama"])
def test_words_that_stand_for_no_key_are_left_in_texts(word: str) -> None:
    assert Key(word).scrub(f"There is {word} like it") == f"There is {word} like it"


# The key of a request

TEXT = st.text(max_size=12)
WORDS = st.sampled_from(("Taste", "Prediction", "Why", "Description"))
ROLES = st.sampled_from(("system", "user", "assistant"))
MESSAGES = st.lists(st.builds(Message, ROLES, TEXT), min_size=1, max_size=4).map(tuple)
REQUESTS = st.builds(
    Request, id=TEXT, messages=MESSAGES, fields=st.lists(WORDS, min_size=1, unique=True).map(tuple),
    words=st.integers(0, 9), seed=st.integers(0, 2**31),
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
EXTRA = st.dictionaries(st.text(min_size=1, max_size=8).map("x_{}".format), VALUES, max_size=3)
MODELS = st.builds(
    ModelConfig, endpoint=st.sampled_from(("http://a/v1", "http://b/v1")), model=st.sampled_from(("m", "n")),
    temperature=st.floats(0, 2), top_p=st.floats(0.01, 1), max_new_tokens=st.integers(1, 9999),
    answer_form=st.sampled_from(("schema", "lines")), extra=EXTRA,
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("keys") / "answers.sqlite")


def body(cache: Cache, model: ModelConfig, request: Request) -> dict[str, Any]:
    return Endpoint(model, Purse(BudgetConfig()), cache).body(request)


def changed_requests(request: Request, data: st.DataObject) -> Request:
    """With one thing changed that the model can see."""
    first, *rest = request.messages
    other = data.draw(TEXT.filter(lambda text: text != first.text))
    role = data.draw(ROLES.filter(lambda role: role != first.role))
    ways = [
        replace(request, messages=(replace(first, text=other), *rest)),
        replace(request, messages=(replace(first, role=role), *rest)),
        replace(request, messages=(*request.messages, Message("user", other))),
        replace(request, messages=tuple(reversed(request.messages))),
        replace(request, seed=request.seed + 1),
        replace(request, fields=request.fields[::-1]),
        replace(request, fields=(*request.fields, "More")),
    ]
    return data.draw(st.sampled_from(ways))


def changed_models(model: ModelConfig, data: st.DataObject) -> ModelConfig:
    """With one setting changed that can change an answer."""
    ways: list[dict[str, Any]] = [
        {"endpoint": "http://c/v1"},
        {"model": "o"},
        {"temperature": data.draw(st.floats(0, 2).filter(lambda value: value != model.temperature))},
        {"top_p": data.draw(st.floats(0.01, 1).filter(lambda value: value != model.top_p))},
        {"max_new_tokens": model.max_new_tokens + 1},
        {"answer_form": "lines" if model.answer_form == "schema" else "schema"},
        {"extra": {**model.extra, "y": data.draw(VALUES)}},
        *[{"leave_out": (name,)} for name in ("temperature", "top_p", "seed", "max_tokens")],
        *[{"extra": {**model.extra, name: [value]}} for name, value in model.extra.items()],
    ]
    return model.model_copy(update=data.draw(st.sampled_from(ways)))


@settings(deadline=None)
@given(MODELS, REQUESTS, st.data())
def test_a_change_of_any_part_changes_the_key(
    cache: Cache, model: ModelConfig, request: Request, data: st.DataObject
) -> None:
    before = key_of(body(cache, model, request))
    other = changed_requests(request, data)
    assume((other.messages, other.fields, other.seed) != (request.messages, request.fields, request.seed))
    assert key_of(body(cache, model, other)) != before
    assert key_of(body(cache, changed_models(model, data), request)) != before


def shuffled(value: Any, data: st.DataObject) -> Any:
    """The same, its dicts in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], data) for key in data.draw(st.permutations(list(value)))}
    return [shuffled(inner, data) for inner in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(MODELS, REQUESTS, st.data())
def test_equal_requests_have_equal_keys(
    cache: Cache, model: ModelConfig, request: Request, data: st.DataObject
) -> None:
    whole = body(cache, model, request)
    key = key_of(whole)
    assert key_of(body(cache, copy.deepcopy(model), copy.deepcopy(request))) == key
    assert key_of(shuffled(whole, data)) == key
    assert key_of(json.loads(json.dumps(whole))) == key, "as read back from the file"
    renamed = replace(request, id="other", words=request.words + 1)
    patient = model.model_copy(update={"concurrency": 1, "retries": 0, "timeout_seconds": 1.0, "tokens_per_minute": 5})
    assert key_of(body(cache, patient, renamed)) == key, "how it is asked for changes no answer"


GOLDEN = Request("g", (Message("system", "You explain."), Message("user", "Amélie?")), ("Prediction", "Why"), seed=3)


def test_the_recipe_stands() -> None:
    """If this fails, an upgrade would throw away every answer that users have paid for."""
    messages = [{"role": "system", "content": "You explain."}, {"role": "user", "content": "Amélie? \ud83d"}]
    whole = {"model": "m", "messages": messages, "temperature": 0.0, "seed": 3, "endpoint": "http://h:1/v1"}
    assert key_of(whole) == "v1:a56173cfaa3443bdbcf34b92ccd3b2ff33a868c47bdb5c8c8c8525e1a9b5320b"


def test_the_request_is_put_as_ever(cache: Cache) -> None:
    """If this fails, an upgrade would throw away every answer that users have paid for."""
    fields = {"endpoint": "http://h:1/v1/", "model": "m", "answer_form": "schema", "extra": {"effort": "low"}}
    assert body(cache, ModelConfig.model_validate(fields), GOLDEN) == {
        "endpoint": "http://h:1/v1",
        "model": "m",
        "messages": chat(GOLDEN, "schema"),
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 512,
        "seed": 3,
        "effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema(GOLDEN.fields)},
        },
    }


def test_an_upgrade_of_the_package_keeps_all_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(endpoint="http://h/v1", model="m", answer_form="lines")
    with Cache(tmp_path / "a.sqlite") as cache:
        whole = body(cache, model, GOLDEN)
        cache.put(key_of(whole), whole, Answer("Why: so", usage=Usage(1, 2, 3)), "run")
    monkeypatch.setattr(reasoningrec, "__version__", "9.9.9")
    with Cache(tmp_path / "a.sqlite") as cache:
        found = cache.get(key_of(body(cache, model, GOLDEN)))
        assert found is not None
        assert found.text == "Why: so"
        assert cache.verify() == []
