"""Nothing that was answered is asked again: not through failures, interrupts, kills, nor by several at once."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType

import pytest
from asking import Told, ask, asker, child, config, request, requests, wait_until

from reasoningrec.config import BudgetConfig, ModelConfig, Price
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Answer, Reply, Request, Usage
from reasoningrec.llm.limits import cost_of_bought
from reasoningrec.llm.remember import Remembering
from reasoningrec.rows import Json
from serving import BAD, FINAL, ODD, PASSING, Serving

MANY = 2000
KILLS = 20
IN_FLIGHT = 8
SLOW = ("silence", "429", "429-seconds", "429-date", "503")
"""What takes time by itself, or makes the client slower: seldom in a storm, so that the test is quick."""
STORM = (*SLOW, *3 * tuple(kind for kind in (*PASSING, *FINAL, *BAD, *ODD) if kind not in SLOW))


class Answering:
    """A model that answers from a table, in the order asked; what is not there stays unanswered."""

    name = "table"
    settings: Mapping[str, Json] = MappingProxyType({})

    def __init__(self, table: dict[str, Answer]) -> None:
        self.table, self.asked = table, list[str]()
        self.rescued: list[tuple[Request, Answer]] = []

    def body(self, request: Request) -> dict[str, Json]:
        return {"model": "m", "text": request.messages[-1].text}

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        return 1, True

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        for asked in requests:
            self.asked.append(asked.id)
            yield asked, self.table.get(asked.id, Answer("", error="lost", received=False))


def like(number: int, id: str) -> Request:
    """The same text under another id."""
    same = request(number)
    return Request(id, same.messages, same.fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def start(forks: ForkServerContext, path: Path, model: ModelConfig, count: int, told: Path) -> BaseProcess:
    process = forks.Process(target=child, args=(str(path), model.model_dump(mode="json"), count, str(told)))
    process.start()
    return process


def wait_for_more(server: Serving) -> None:
    """Until the server has answered something since now."""
    before = sum(server.counts().answered.values())
    wait_until(lambda: sum(server.counts().answered.values()) > before)


def assert_sound(path: Path, replies: Iterable[Reply]) -> None:
    """Everything answered is kept under its key, and no claim is left."""
    with Cache(path, create=False) as cache:
        assert cache.verify() == []
        assert len(list(cache.entries())) == sum(reply.answered for reply in replies)
    base = sqlite3.connect(path)
    assert base.execute("SELECT COUNT(*) FROM claims").fetchone() == (0,)
    base.close()


def test_many_requests_through_a_storm(server: Serving, path: Path) -> None:
    server.behave(trouble=0.3, kinds=STORM, seed=3)
    model = config(server.url, concurrency=64, timeout_seconds=2.5, retries=2)
    with asker(path, model) as client:
        replies = {reply.request_id: reply for reply in client.answer(requests(MANY))}
        spending, tally = client.spending, client.model.tally
    counts = server.counts()
    assert len(replies) == MANY
    answered = [reply for reply in replies.values() if reply.answered]
    failed = [reply for reply in replies.values() if not reply.answered]
    assert all(reply.error for reply in failed)
    assert any(reply.text for reply in failed)
    assert {reply.usage for reply in failed} == {Usage()}
    assert counts.twice == 0, "what was answered was asked again"
    assert len(counts.answered) == len(answered) == spending.asked
    assert 10 < len(failed) < MANY / 10, "some are refused, few have bad luck three times"
    assert tally.unanswered == len(failed)
    assert tally.sent == sum(counts.seen.values()) == MANY + tally.retried
    assert spending.cached == 0
    assert spending.usage == sum((reply.usage for reply in answered), Usage())
    wait_until(lambda: server.counts().in_flight == 0)
    assert 0 <= spending.usage.input_tokens - counts.input_tokens <= counts.uncounted * 1000
    assert 0 <= spending.usage.output_tokens - counts.output_tokens <= counts.uncounted * 100
    assert_sound(path, replies.values())

    server.behave()
    server.forget()
    again = {reply.request_id: reply for reply in ask(path, model, MANY)}
    assert {id: again[id] for id in (reply.request_id for reply in answered)} == {
        reply.request_id: reply for reply in answered
    }
    assert len(server.counts().answered) == len(failed), "only what had no answer is asked"


def test_what_is_spent_is_what_the_server_counts(server: Serving, path: Path) -> None:
    sound = [kind for kind in (*PASSING, *BAD, *ODD) if kind not in ("silence", "no-usage", "mad-usage")]
    server.behave(trouble=0.5, kinds=tuple(sound))
    with asker(path, config(server.url, timeout_seconds=5.0)) as client:
        assert all(reply.answered for reply in client.answer(requests(300)))
        counts = server.counts()
        assert client.spending.usage == Usage(300, counts.input_tokens, counts.output_tokens)
        assert client.model.purse.tokens == counts.input_tokens + counts.output_tokens
        (bought,) = client.cache.bought("run")
        assert bought.usage == client.spending.usage


def test_killed_twenty_times_nothing_answered_is_lost(
    server: Serving, forks: ForkServerContext, path: Path, tmp_path: Path
) -> None:
    luck = random.Random(7)
    server.behave(trouble=0.1, kinds=("drop", "429", "500", "truncated", "tags", "refusal"), latency=0.03, spread=0.8)
    model = config(server.url, concurrency=IN_FLIGHT, timeout_seconds=10.0)
    names = (tmp_path / f"told{number}.json" for number in itertools.count())
    working = [start(forks, path, model, MANY, next(names)) for _ in range(2)]
    killed = 0
    while killed < KILLS:
        wait_for_more(server)
        time.sleep(luck.uniform(0, 0.15))
        process = working.pop(luck.randrange(2))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(30)
        killed += process.exitcode == -signal.SIGKILL
        assert len(server.counts().answered) < MANY, "all were asked before the last kill"
        working.append(start(forks, path, model, MANY, next(names)))
    for process in working:
        process.join(60)
        assert process.exitcode == 0
    told = [Told(**json.loads(file.read_text("utf-8"))) for file in tmp_path.glob("told*.json")]
    assert [(each.answered, each.failed) for each in told] == [(MANY, 0)] * 2
    counts = server.counts()
    assert len(counts.answered) == MANY
    assert counts.twice <= KILLS * IN_FLIGHT

    server.forget()
    replies = ask(path, model, MANY)
    assert len(replies) == MANY
    assert not server.counts().seen
    assert_sound(path, replies)


def test_two_at_once_share_the_work(server: Serving, forks: ForkServerContext, path: Path, tmp_path: Path) -> None:
    server.behave(latency=0.08, spread=0.9)
    model = config(server.url, timeout_seconds=10.0)
    files = [tmp_path / f"told{number}.json" for number in range(2)]
    both = [start(forks, path, model, 300, file) for file in files]
    for process in both:
        process.join(60)
    first, second = (Told(**json.loads(file.read_text("utf-8"))) for file in files)
    assert (first.answered, second.answered) == (300, 300)
    assert first.asked + second.asked == 300
    assert min(first.asked, second.asked) > 0
    assert server.counts().twice == 0


def test_what_another_could_not_get_answered_is_asked_here(
    server: Serving, forks: ForkServerContext, path: Path, tmp_path: Path
) -> None:
    server.behave(trouble=1.0, kinds=("silence",))
    process = start(forks, path, config(server.url, retries=0, timeout_seconds=1.0), 1, tmp_path / "told.json")
    wait_until(lambda: server.counts().seen)
    server.behave()
    (reply,) = ask(path, config(server.url), 1)
    process.join(30)
    assert reply.answered
    assert json.loads((tmp_path / "told.json").read_text("utf-8"))["failed"] == 1
    assert server.counts().kinds == {"silence": 1, "well": 1}


def test_an_interrupt_keeps_what_has_come(
    server: Serving, forks: ForkServerContext, path: Path, tmp_path: Path
) -> None:
    server.behave(latency=0.01)
    file = tmp_path / "told.json"
    process = start(forks, path, config(server.url, timeout_seconds=10.0), 100_000, file)
    wait_until(lambda: len(server.counts().answered) > 50)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 0
    told = Told(**json.loads(file.read_text("utf-8")))
    assert told.interrupted
    assert 0 <= len(server.counts().answered) - told.asked <= 16
    with Cache(path) as cache:
        assert 0 <= len(list(cache.entries())) - told.asked <= 1


def test_an_interrupt_where_replies_are_taken_keeps_what_has_come(server: Serving, path: Path) -> None:
    server.behave(latency=0.05)
    with asker(path, config(server.url, concurrency=16, timeout_seconds=10.0)) as client:
        replies = client.answer(requests(200))
        next(replies)
        wait_until(lambda: len(server.counts().answered) >= 16)
        wait_until(lambda: client.model._window.in_flight == 0)  # they have landed, and nobody takes them
        replies.close()
    with Cache(path) as cache:
        assert len(list(cache.entries())) == len(server.counts().answered) >= 16


def test_what_got_no_answer_is_given_free_at_once(path: Path) -> None:
    with Cache(path) as cache, Cache(path) as other:
        model = Answering({})
        assert [reply.answered for reply in Remembering(model, cache, "run").answer([request(1)])] == [False]
        assert other.claim(key_of(model.body(request(1)))) == "ours"


def test_equal_requests_are_asked_once(server: Serving, path: Path) -> None:
    server.behave(latency=0.01)
    asked = [like(number % 5, f"{number}") for number in range(50)]
    with asker(path, config(server.url)) as client:
        replies = list(client.answer(asked))
        assert (client.spending.asked, client.spending.cached) == (5, 45)
    assert sorted(int(reply.request_id) for reply in replies) == list(range(50))
    assert len({reply.text for reply in replies}) == 5
    assert sum(server.counts().answered.values()) == 5


def test_equal_requests_fail_together(path: Path) -> None:
    with Cache(path) as cache:
        model = Answering({})
        client = Remembering(model, cache, "run")
        replies = list(client.answer([like(1, "a"), like(1, "b"), like(2, "c")]))
        assert [(reply.request_id, reply.error, reply.answered) for reply in replies if reply.request_id != "c"] == [
            ("a", "lost", False),
            ("b", "lost", False),
        ]
        assert (client.spending.asked, client.spending.cached) == (0, 0)
        model.table = {"b": Answer("Why: so", usage=Usage(1, 2, 3))}
        (reply,) = client.answer([like(1, "b")])
        assert reply == Reply("b", "Why: so", Usage(1, 2, 3))
        assert model.asked[-1] == "b", "a failure is asked again in the next sitting"


def test_what_is_kept_comes_first_and_costs_nothing(path: Path) -> None:
    table = {request(number).id: Answer(f"Why: {number}", usage=Usage(1, 2, 3)) for number in range(10)}
    with Cache(path) as cache:
        model = Answering(table)
        assert len(list(Remembering(model, cache, "run").answer(requests(5)))) == 5
        model.asked.clear()
        client = Remembering(model, cache, "another run")
        replies = client.answer(requests(10))
        assert [next(replies).text for _ in range(5)] == [f"Why: {number}" for number in range(5)]
        assert model.asked == []
        assert len(list(replies)) == 5
        assert model.asked == [request(number).id for number in range(5, 10)]
        assert (client.spending.cached, client.spending.asked, client.spending.usage) == (5, 5, Usage(5, 10, 15))
        assert cache.bought("another run")[0].usage == Usage(5, 10, 15)


def test_a_bad_answer_is_kept_with_its_error(path: Path) -> None:
    bad = Answer("I cannot", error="the model refuses", usage=Usage(1, 2, 3))
    for _ in range(2):
        with Cache(path) as cache:
            model = Answering({request(1).id: bad})
            (reply,) = Remembering(model, cache, "run").answer([request(1)])
            assert reply == Reply(request(1).id, "I cannot", Usage(1, 2, 3), "the model refuses")
    assert model.asked == []


def test_requests_in_a_batch_are_left_and_told_at_the_end(path: Path) -> None:
    table = {request(number).id: Answer("Why: so", usage=Usage(1, 2, 3)) for number in range(4)}
    model = Answering(table)
    bodies = [model.body(request(number)) for number in (1, 3)]
    with Cache(path) as cache:
        cache.batch([(key_of(body), body) for body in bodies], "run")
        replies = Remembering(model, cache, "run").answer(requests(4))
        assert [next(replies).request_id, next(replies).request_id] == [request(0).id, request(2).id]
        with pytest.raises(TeacherError, match="2 requests are out in a batch file") as stop:
            next(replies)
        assert "batch drop" in stop.value.hint
        cache.unbatch(cache.batched())
        assert len(list(Remembering(model, cache, "run").answer(requests(4)))) == 4


def test_an_answer_pruned_at_the_wrong_moment_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Answering({request(1).id: Answer("Why: so", usage=Usage(1, 2, 3))})
    with Cache(path) as cache:
        states = iter(["answered"])
        real = cache.claim
        monkeypatch.setattr(cache, "claim", lambda key: next(states, None) or real(key))
        (reply,) = Remembering(model, cache, "run").answer([request(1)])
    assert reply.text == "Why: so"


def test_strange_texts_go_through(server: Serving, path: Path) -> None:
    server.behave(trouble=1.0, kinds=("surrogate",))
    odd = Request("odd", (request(1).messages[0], like(1, "x").messages[1]), ("Why \ud83d",))
    for _ in range(2):
        with asker(path, config(server.url)) as client:
            (reply,) = client.answer([odd])
            assert reply.text.endswith("\ud83d")
    assert sum(server.counts().seen.values()) == 1


def until_stopped(client: Remembering) -> list[Reply]:
    """Replies until the budget is used up."""
    replies = []
    try:
        for reply in client.answer(requests(MANY)):
            replies.append(reply)
    except TeacherError as stop:
        assert "stopped at the budget" in str(stop)  # noqa: PT017
    return replies


def test_a_budget_is_over_all_sittings(server: Serving, path: Path) -> None:
    price = Price(input=1.0, output=2.0)
    model = config(server.url, max_new_tokens=60)
    done = 0
    for cap in (0.01, 0.02, 0.03):
        budget = BudgetConfig(cost=cap)
        with asker(path, model, budget, price) as client:
            purse = client.model.purse
            purse.cost = cost_of_bought(client.cache.bought("run"), {"m": price})
            replies = until_stopped(client)
            spent = cost_of_bought(client.cache.bought("run"), {"m": price})
            assert spent == pytest.approx(purse.cost)
            assert 0.8 * cap < spent <= cap
            assert len(replies) > done
            done = len(replies)
    assert server.counts().twice == 0
    assert_sound(path, replies)
