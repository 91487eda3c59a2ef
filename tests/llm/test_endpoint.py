"""A server may do what it likes: every request ends as an answer, or as a failure with its reason."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asking import config, request, requests, wait_until

from reasoningrec.config import BudgetConfig, ModelConfig, Price
from reasoningrec.errors import TeacherError
from reasoningrec.llm import endpoint, received
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Message, Request
from reasoningrec.llm.endpoint import GIVE_UP, Endpoint
from reasoningrec.llm.limits import Purse
from serving import BAD, FATAL, FINAL, ODD, PASSING, Serving

KEY = 'sk-planted/Ab+12"\\_nobody-may-see'


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "answers.sqlite") as cache:
        yield cache


def made(cache: Cache, url: str, purse: Purse | None = None, **fields: Any) -> Endpoint:
    return Endpoint(config(url, **fields), purse or Purse(BudgetConfig()), cache)


def answers(model: Endpoint, asked: Sequence[Request]) -> dict[str, Answer]:
    return {request.id: answer for request, answer in model.send(asked)}


def one(model: Endpoint) -> Answer:
    return answers(model, [request(1)])["r000001"]


def until(kind: type[BaseException], sent: Iterator[tuple[Request, Answer]]) -> tuple[dict[str, Answer], Any]:
    """The answers until an error, and the error."""
    landed: dict[str, Answer] = {}
    try:
        for asked, answer in sent:
            landed[asked.id] = answer
    except kind as stop:
        return landed, stop
    raise AssertionError("it went on to the end")


def test_answers_come_for_all_and_the_window_is_filled(server: Serving, cache: Cache) -> None:
    server.behave(latency=0.02)
    model = made(cache, server.url)
    found = answers(model, list(requests(100)))
    assert len(found) == 100
    assert all(answer.received and not answer.error and answer.seconds >= 0.02 for answer in found.values())
    counts = server.counts()
    assert counts.peak == 16
    assert counts.in_flight == 0
    assert model.tally == endpoint.Tally(sent=100)
    assert model.purse.tokens == counts.input_tokens + counts.output_tokens


def test_it_sends_what_the_key_is_made_of_and_nothing_else(server: Serving, cache: Cache) -> None:
    model = made(cache, server.url, answer_form="schema", leave_out=("top_p",), extra={"reasoning_effort": "low"})
    one(model)
    assert {**server.last(), "endpoint": server.url} == model.body(request(1))
    assert "top_p" not in server.last()
    assert server.last()["reasoning_effort"] == "low"


def test_requests_are_taken_as_there_is_room(server: Serving, cache: Cache) -> None:
    taken = 0

    def counted() -> Iterator[Request]:
        nonlocal taken
        for asked in requests(60):
            taken += 1
            yield asked

    ahead = [taken - done for done, _ in enumerate(made(cache, server.url).send(counted()))]
    assert max(ahead) <= 17
    assert taken == 60


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_tried_again(server: Serving, cache: Cache, kind: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,), times=1)
    model = made(cache, server.url, timeout_seconds=0.2 if kind == "silence" else 10.0)
    answer = one(model)
    assert answer.received
    assert answer.text.startswith("Prediction: Yes")
    assert model.tally == endpoint.Tally(sent=2, retried=1)
    assert server.counts().kinds == {kind: 1, "well": 1}


REASONS = {
    "silence": "no answer within 0.1 s (`timeout_seconds`)",
    "drop": "the connection failed: ",
    "drop-at-once": "the connection failed: Server disconnected",
    "429-seconds": "HTTP 429: Too many requests",
    "500": "HTTP 500: Internal error",
    "html-502": "HTTP 502: <html><body><h1>Bad gateway",
    "html-200": "the answer is not one of a chat server: <html>",
    "empty-body": "the answer is not one of a chat server: no reason given",
    "error-200": "the answer is not one of a chat server: Upstream failed",
    "400": "HTTP 400: The prompt is too long",
}


@pytest.mark.parametrize("kind", [*PASSING, *FINAL])
def test_a_failure_has_its_reason_and_what_came(server: Serving, cache: Cache, kind: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,))
    model = made(cache, server.url, timeout_seconds=0.1 if kind == "silence" else 10.0, retries=2)
    answer = one(model)
    tries = 1 if kind in FINAL else 3
    assert not answer.received
    assert answer.error.startswith(REASONS.get(kind, ("HTTP " if kind[0].isdigit() else "the answer is not one of")))
    assert answer.error.endswith(" (tried 3 times)") == (tries == 3)
    assert bool(answer.text) == (kind not in ("silence", "drop", "drop-at-once", "empty-body"))
    assert len(answer.text) <= received.SHOWN
    assert model.tally == endpoint.Tally(sent=tries, retried=tries - 1, unanswered=1)
    assert model.purse.tokens == 0
    assert model.purse.reserve(endpoint.Usage(1, 10**9, 10**9)) is not None


HINTS = {
    "401": "`key_env`",
    "402": "empty",
    "403": "`key_env` and `model`",
    "404": "`endpoint`",
    "quota": "quota",
    "redirect": "Set `endpoint` to where the server points: http://127.0.0.1:9/v2",
    "429-late": "come back in 86400 seconds",
}


@pytest.mark.parametrize("kind", FATAL)
def test_what_fails_every_request_stops_all(server: Serving, cache: Cache, kind: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,), latency=0.01)
    landed, stop = until(TeacherError, made(cache, server.url, concurrency=4).send(requests(50)))
    assert HINTS[kind] in stop.hint
    assert server.url in str(stop)
    assert 1 <= len(landed) <= 4
    assert not any(answer.received for answer in landed.values())
    assert sum(server.counts().seen.values()) == len(landed)


def test_others_in_trouble_do_not_go_on_when_all_is_lost(server: Serving, cache: Cache) -> None:
    server.behave(trouble=1.0, kinds=("500",) * 39 + ("401",))
    with pytest.raises(TeacherError):
        list(made(cache, server.url, retries=1000, backoff_seconds=0.01).send(requests(16)))
    assert sum(server.counts().seen.values()) < 300, "each to its own 401, they would be some 640"


SAID = {
    "empty-content": "the answer is empty",
    "null-content": "the answer is empty",
    "refusal": "the model refuses",
    "refused-in-words": "",
    "wrong-form": "",
    "unclosed": "the answer is empty",
    "length": "the answer ran out of tokens while thinking: raise max_new_tokens",
    "filter": "the server's filter held the answer back",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_received(server: Serving, cache: Cache, kind: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,))
    answer = one(made(cache, server.url))
    assert answer.received
    assert answer.error == SAID[kind]
    assert answer.usage.output_tokens >= 20
    assert server.counts().kinds == {kind: 1}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("form", ["lines", "schema"])
def test_an_odd_answer_is_good(server: Serving, cache: Cache, kind: str, form: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,))
    answer = one(made(cache, server.url, answer_form=form))
    assert (answer.received, answer.error, answer.finish) == (True, "", "stop")
    text = answer.text.removesuffix("\ud83d")
    assert "So says" in (json.loads(text)["why"] if form == "schema" else text)
    assert answer.thinking == ("Hm." if kind in ("tags", "no-opening-tag", "aside") else "")
    assert answer.usage.input_tokens > 20
    assert 5 < answer.usage.output_tokens < 200


def test_a_connection_that_cannot_be_made_is_a_failure(cache: Cache) -> None:
    answer = one(made(cache, "http://127.0.0.1:9/v1", retries=1))
    assert answer.error.startswith("the connection failed: Cannot connect to host 127.0.0.1:9")
    assert answer.error.endswith("(tried 2 times)")


def test_a_server_that_is_gone_ends_the_run(cache: Cache) -> None:
    landed, stop = until(TeacherError, made(cache, "http://127.0.0.1:9/v1", retries=0).send(requests(200)))
    assert GIVE_UP <= len(landed) <= GIVE_UP + 16
    assert f"{GIVE_UP} requests in a row got no answer, the last because of: the connection failed" in str(stop)
    assert stop.hint == endpoint.NOT_WELL


def test_an_answer_too_long_is_none(server: Serving, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MOST_BYTES", 100)
    answer = one(made(cache, server.url, retries=0))
    assert not answer.received
    assert "longer than" in answer.error


# How answers are asked for


@pytest.mark.parametrize(
    ("schemas", "form", "probes"), [("known", "schema", 1), ("refused", "lines", 2), ("ignored", "lines", 1)]
)
def test_the_form_is_found_out_once(server: Serving, cache: Cache, schemas: str, form: str, probes: int) -> None:
    server.behave(schemas=schemas)
    model = made(cache, server.url, answer_form="auto")
    assert model.count_tokens(request(1))[0] > 50
    assert sum(server.counts().seen.values()) == 0, "counting asks nobody"
    assert len(answers(model, list(requests(3)))) == 3
    assert model.form() == form
    assert sum(server.counts().seen.values()) == 3 + probes
    again = made(cache, server.url, answer_form="auto")
    assert again.form() == form
    assert sum(server.counts().seen.values()) == 3 + probes
    assert again.body(request(1)) == model.body(request(1))


@pytest.mark.parametrize("kind", ["429", "503", "silence", "400", "401", "length"])
def test_a_form_is_not_noted_where_the_server_is_not_well(server: Serving, cache: Cache, kind: str) -> None:
    server.behave(trouble=1.0, kinds=(kind,))
    model = made(cache, server.url, answer_form="auto", retries=1, timeout_seconds=0.1)
    with pytest.raises(TeacherError) as stop:
        model.form()
    assert str(stop.value).startswith(server.url)
    assert stop.value.hint
    server.behave()
    assert model.form() == "schema"


def test_a_form_is_only_unknown_where_the_server_says_so(
    server: Serving, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "schema": Answer("", error="HTTP 429: Slow down (tried 7 times)", received=False),
        "lines": Answer("Yes"),
    }
    monkeypatch.setattr(Endpoint, "_probe", lambda _, form: answers[form])
    with pytest.raises(TeacherError, match="HTTP 429: Slow down"):
        made(cache, server.url, answer_form="auto").form()


def test_the_budget_holds_for_the_first_request_too(server: Serving, cache: Cache) -> None:
    with pytest.raises(TeacherError, match="stopped at the budget"):
        made(cache, server.url, Purse(BudgetConfig(tokens=10)), answer_form="auto").form()
    assert not server.counts().seen


# Limits


def test_too_many_makes_the_window_smaller(server: Serving, cache: Cache) -> None:
    server.behave(latency=0.01, room=4, retry_after="0")
    model = made(cache, server.url, retries=50)
    found = answers(model, list(requests(200)))
    assert all(answer.received for answer in found.values())
    counts = server.counts()
    assert counts.kinds["429-seconds"] < 120, "16 in flight all the time would be some thousands"
    assert model.tally.retried == counts.kinds["429-seconds"]
    model.config, before = config(server.url), model._window.size
    assert before < 9
    server.behave(latency=0.001)
    answers(model, list(requests(400)))
    assert model._window.size > before, "and what was learned outlives a `send`"


def test_failures_do_not_make_the_window_larger(server: Serving, cache: Cache) -> None:
    server.behave(trouble=1.0, kinds=("500",))
    model = made(cache, server.url, retries=3)
    model._window.size = 1
    one(model)
    assert model._window.size == 1


def test_retry_after_is_obeyed_by_all(server: Serving, cache: Cache) -> None:
    server.behave(trouble=1.0, kinds=("429-seconds",), times=1, retry_after="0.4")
    begun = time.monotonic()
    assert one(made(cache, server.url)).received
    assert time.monotonic() - begun >= 0.4
    server.behave(trouble=1.0, kinds=("429-seconds",), times=2, retry_after="0.3")
    model = made(cache, server.url, concurrency=1)
    begun = time.monotonic()
    answers(model, [request(2), request(3)])
    assert time.monotonic() - begun >= 1.2


@pytest.mark.parametrize("kind", ["well", "no-usage"])
@pytest.mark.parametrize(
    ("budget", "price"), [(BudgetConfig(tokens=20_000), None), (BudgetConfig(cost=0.02), Price(input=0.5, output=2.0))]
)
def test_a_cap_is_never_passed_and_a_second_sitting_goes_on(
    server: Serving, cache: Cache, budget: BudgetConfig, price: Price | None, kind: str
) -> None:
    server.behave(trouble=float(kind != "well"), kinds=(kind,))
    purse = Purse(budget, price)
    model = made(cache, server.url, purse, max_new_tokens=60)
    landed, stop = until(TeacherError, model.send(requests(1000)))
    assert purse.tokens == sum(answer.usage.input_tokens + answer.usage.output_tokens for answer in landed.values())
    cap, spent = (budget.tokens, purse.tokens) if budget.tokens else (budget.cost, purse.cost)
    assert 0.8 * cap < spent <= cap
    assert str(stop).startswith("stopped at the budget: ")
    assert ("budget.tokens = 20000" if budget.tokens else "budget.cost = 0.02") in str(stop)
    assert "Raise the cap" in stop.hint
    more = Purse(BudgetConfig(tokens=budget.tokens * 2, cost=budget.cost * 2), price, purse.tokens, purse.cost)
    landed, _ = until(TeacherError, made(cache, server.url, more, max_new_tokens=60).send(requests(1000)))
    assert landed
    assert (more.tokens if budget.tokens else more.cost) <= 2 * cap


def test_text_of_many_tokens_to_a_sign_passes_no_cap(cache: Cache, server: Serving) -> None:
    purse = Purse(BudgetConfig(tokens=1000))
    long = Request("long", (Message("user", "字" * 700),), ("Why",))
    with pytest.raises(TeacherError, match="0 tokens spent"):
        list(made(cache, server.url, purse, max_new_tokens=10).send([long]))


def test_extra_fields_may_allow_more_tokens(cache: Cache, server: Serving) -> None:
    purse = Purse(BudgetConfig(tokens=5000))
    model = made(cache, server.url, purse, leave_out=("max_tokens",), extra={"max_completion_tokens": 6000})
    with pytest.raises(TeacherError, match="stopped at the budget"):
        one(model)
    assert not server.counts().seen


# Interrupts


@contextmanager
def interrupting(seconds: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_interrupted_it_hands_on_what_has_come(server: Serving, cache: Cache) -> None:
    for seconds in (0.05, 0.08, 0.12):
        server.behave(latency=0.005, spread=0.5)
        server.forget()
        model = made(cache, server.url)
        sent = model.send(requests(100_000))
        with interrupting(seconds):
            landed, _ = until(KeyboardInterrupt, sent)
        sent.close()  # where it was the loop that was interrupted
        time.sleep(0.05)
        assert 0 <= sum(server.counts().answered.values()) - len(landed) - len(model.rescued) <= 16
        assert model._window.in_flight == 0
        assert not model.purse._reserved
        assert one(model).received, "it can go on"


def test_given_up_by_its_caller_it_ends_quietly(server: Serving, cache: Cache) -> None:
    server.behave(latency=0.01)
    answers = made(cache, server.url).send(requests(1000))
    assert next(answers)
    answers.close()  # type: ignore[attr-defined]
    wait_until(lambda: server.counts().in_flight == 0)


def test_a_source_that_fails_ends_it_too(server: Serving, cache: Cache) -> None:
    def broken(good: int) -> Iterator[Request]:
        yield from requests(good)
        raise TeacherError("no more")

    with pytest.raises(TeacherError, match="no more"):
        list(made(cache, server.url).send(broken(0)))
    model = made(cache, server.url)
    sent = model.send(broken(16))
    assert next(sent)
    wait_until(lambda: model._window.in_flight == 0)  # all have landed
    landed, stop = until(TeacherError, sent)
    assert str(stop) == "no more"
    assert len(landed) == 15, "what had come meanwhile is handed on"


def test_given_up_while_it_hands_on_what_has_come_it_leaves_the_rest_to_be_kept(server: Serving, cache: Cache) -> None:
    def broken() -> Iterator[Request]:
        yield from requests(16)
        raise TeacherError("no more")

    model = made(cache, server.url)
    sent = model.send(broken())
    next(sent)
    wait_until(lambda: model._window.in_flight == 0)  # all have landed
    next(sent)
    sent.close()
    assert len(model.rescued) == 14
    assert not model.purse._reserved
    assert model.purse.tokens == server.counts().input_tokens + server.counts().output_tokens


CTRL_C = """
import gc, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
sys.path[:0] = {paths!r}
from pathlib import Path
from asking import asker, config, interrupt_soon, requests
with asker(Path({cache!r}), config({url!r})) as client:
    interrupt_soon(0.3)
    done = 0
    try:
        for reply in client.answer(requests(100_000)):
            done += 1
    except KeyboardInterrupt:
        print(done, client.spending.asked)
gc.collect()
"""


def test_ctrl_c_leaves_no_noise(server: Serving, tmp_path: Path) -> None:
    server.behave(latency=0.005)
    paths = [str(Path(__file__).parent), str(Path(endpoint.__file__).parents[2])]
    code = CTRL_C.format(paths=paths, cache=str(tmp_path / "c.sqlite"), url=server.url)
    command = [sys.executable, "-W", "error", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    done, asked = map(int, ended.stdout.split())
    with Cache(tmp_path / "c.sqlite") as cache:
        kept = len(list(cache.entries()))
    assert 0 <= kept - asked <= 1
    assert 0 <= asked - done <= 16, "what had come when it was interrupted is kept, though nobody takes it any more"
    assert 0 <= sum(server.counts().answered.values()) - kept <= 16


def test_it_can_be_asked_within_an_event_loop(server: Serving, cache: Cache) -> None:
    async def notebook() -> Answer:
        return one(made(cache, server.url))

    assert asyncio.run(notebook()).received


def test_answers_are_taken_in_while_the_caller_is_busy(server: Serving, cache: Cache) -> None:
    server.behave(latency=0.1)
    model = made(cache, server.url, timeout_seconds=2.0)
    sent = model.send(requests(20))
    next(sent)
    time.sleep(2.3)
    assert len(list(sent)) == 19
    assert model.tally == endpoint.Tally(sent=20), "none was lost to a time-out that the caller used up"


def test_what_goes_wrong_in_the_package_itself_is_raised(
    server: Serving, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "_board", broken)
        with pytest.raises(ZeroDivisionError):
            one(made(cache, server.url))
    monkeypatch.setattr(endpoint, "received", broken)
    with pytest.raises(ZeroDivisionError):
        one(made(cache, server.url))


# The way out


def test_a_netrc_neither_breaks_nor_replaces_the_key(
    server: Serving, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.behave(echo=True)
    assert "Basic" not in one(made(cache, server.url)).text
    monkeypatch.setenv("SOME_KEY", KEY)
    assert "Bearer [key]" in one(made(cache, server.url, key_env="SOME_KEY")).text


def test_the_environment_names_a_proxy(server: Serving, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    assert one(made(cache, "http://models.example/v1")).received
    monkeypatch.setenv("no_proxy", "models.example")
    assert endpoint._proxy("http://models.example/v1") is None


def everything(model: Endpoint, cache: Path, told: list[object]) -> str:
    """All that is written or shown."""
    shown = [repr(model), repr(vars(model)), repr(model.settings), repr(model._key), str(model._key), *map(repr, told)]
    files = [file.read_bytes().decode("latin-1") for file in cache.parent.rglob("*") if file.is_file()]
    return "\n".join([*shown, *files])


@pytest.mark.parametrize("kinds", [PASSING, FINAL, BAD, ODD, *[(kind,) for kind in FATAL]])
def test_a_key_appears_nowhere(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    server.behave(trouble=0.8, kinds=kinds, echo=True)
    told: list[object] = []
    with Cache(tmp_path / "answers.sqlite") as cache:
        model = made(cache, server.url, key_env="SOME_KEY", retries=1, timeout_seconds=0.1)
        try:
            for asked, answer in model.send(requests(60)):
                told.append(answer)
                if answer.received:
                    cache.put(asked.id, model.body(asked), answer, "run")
        except TeacherError as error:
            told += [error, str(error), error.hint, *traceback.format_exception(error)]
        shown = everything(model, cache.path, told)
    assert "[key]" in shown, "the server said it, and it was taken out"
    for part in ("planted", "nobody-may-see", "Ab+12"):
        assert part not in shown


def test_a_key_that_is_cut_in_two_appears_nowhere(
    server: Serving, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    server.behave(trouble=1.0, kinds=("truncated",), echo=True)
    for shown in range(45, 85, 3):
        monkeypatch.setattr(received, "SHOWN", shown)
        text = one(made(cache, server.url, key_env="SOME_KEY", retries=0)).text
        assert "Predic" in text
        assert "sk-" not in text


def test_what_is_sent_is_utf8_json(server: Serving, cache: Cache) -> None:
    odd = Request("odd", (Message("user", "Amélie \U0001f600 \0 \ud83d \u2028"),), ("Why",))
    assert answers(made(cache, server.url), [odd])["odd"].received
    assert "\U0001f600 \0 \ud83d \u2028" in server.last()["messages"][0]["content"]


def test_settings_are_what_can_change_an_answer(cache: Cache) -> None:
    model = Endpoint(ModelConfig(endpoint="http://h/v1/", model="m"), Purse(BudgetConfig()), cache)
    assert model.url == "http://h/v1"
    assert model.settings["endpoint"] == "http://h/v1"
    assert not {"concurrency", "retries", "timeout_seconds", "key_env"} & set(model.settings)
