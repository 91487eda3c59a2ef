"""Limits hold at the moment of sending, by a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.config import BudgetConfig, Price
from reasoningrec.llm.cache import Bought
from reasoningrec.llm.client import Usage
from reasoningrec.llm.limits import (
    LONGEST_PAUSE,
    MINUTE,
    Gate,
    PerMinute,
    Purse,
    Window,
    cost_of,
    cost_of_bought,
    pause_before,
)


class Clock:
    """Time that passes only when all who work have nothing left to do but sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, len(self._sleepers), place))
        await place

    async def run(self, *jobs: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(job) for job in jobs]
        while not all(task.done() for task in tasks):
            for _ in range(10):
                await asyncio.sleep(0)
            if waiting := sorted(sleeper for sleeper in self._sleepers if not sleeper[2].done()):
                self.now = max(self.now, waiting[0][0])
                waiting[0][2].set_result(None)
        for task in tasks:
            task.result()


def gate(clock: Clock, window: int = 1000, requests: int = 0, tokens: int = 0) -> Gate:
    limits = PerMinute(requests, clock), PerMinute(tokens, clock)
    return Gate(Window(window, clock, clock.sleep), *limits, clock.sleep)


def most_in_a_minute(sent: list[tuple[float, float]]) -> float:
    return max(sum(units for at, units in sent if begin <= at < begin + MINUTE) for begin, _ in sent)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 90), st.floats(0, 200)), min_size=1, max_size=40),
    st.integers(1, 9), st.sampled_from([0, 3, 7]), st.sampled_from([0, 60, 100]),
)  # fmt: skip
def test_limits_hold_in_any_minute(
    jobs: list[tuple[int, float, float]], window: int, requests: int, tokens: int
) -> None:
    clock = Clock()
    entry, sent, flying = gate(clock, window, requests, tokens), [], []

    async def job(units: int, takes: float, begins: float) -> None:
        await clock.sleep(begins)
        await entry.enter(units)
        sent.append((clock.now, units))
        flying.append(entry.window.in_flight)
        await clock.sleep(takes)
        entry.window.leave(answered=True)

    asyncio.run(clock.run(*(job(*each) for each in jobs)))
    assert len(sent) == len(jobs)
    assert max(flying) <= window
    assert entry.window.in_flight == 0
    if requests:
        assert most_in_a_minute([(at, 1) for at, _ in sent]) <= requests
    if tokens:
        assert most_in_a_minute(sent) <= tokens


def test_a_pause_holds_back_those_who_waited_for_their_minute() -> None:
    clock = Clock()
    entry, sent = gate(clock, 8, requests=2), []

    async def job(number: int) -> None:
        await entry.enter(1)
        sent.append(clock.now - 1000)
        if number == 1:
            entry.window.slow_down(clock.now, 100)
        entry.window.leave(answered=True)

    asyncio.run(clock.run(*(job(number) for number in range(6))))
    assert sent == [0, 0, 100, 100, 160, 160]


def test_units_are_corrected_and_more_than_a_minutes_pass_alone() -> None:
    clock = Clock()
    limit = PerMinute(100, clock)
    correct = limit.take(80)
    assert limit.wait(30) == MINUTE
    correct(20)
    assert limit.wait(30) == 0
    limit.take(80)
    clock.now += 30
    assert limit.wait(500) == 30
    clock.now += 30
    assert limit.wait(500) == 0
    limit.take(500)
    correct(5000)  # too late to matter
    assert limit.wait(1) == MINUTE
    clock.now += MINUTE
    assert limit.wait(100) == 0


def test_no_limit_costs_nothing() -> None:
    limit = PerMinute(0)
    for _ in range(1000):
        limit.take(10**9)(5)
    assert limit.wait(10**9) == 0
    assert not limit._taken


def test_the_window_is_halved_once_a_round_and_grows_by_one_a_round() -> None:
    clock = Clock()
    window = Window(16, clock, clock.sleep)
    for sent_at in (999.0, 999.5, 1000.0):
        window.slow_down(sent_at, 0)
    assert window.size == 8, "three refusals of one round are one"
    clock.now += 1
    window.slow_down(1000.5, 0)
    assert window.size == 4
    for _ in range(4):
        window.enter()
        window.leave(answered=True)
    assert 4.8 < window.size <= 5
    for _ in range(10):
        clock.now += 1
        window.slow_down(clock.now - 0.5, 0)
    assert window.size == 1
    window.enter()
    window.leave(answered=False)
    assert window.size == 1
    for _ in range(1000):
        window.enter()
        window.leave(answered=True)
    assert window.size == 16


def test_the_longest_pause_holds() -> None:
    clock = Clock()
    entry, sent = gate(clock), []

    async def job() -> None:
        entry.window.slow_down(clock.now, 30)
        entry.window.slow_down(clock.now, 10)
        await entry.enter(1)
        sent.append(clock.now)

    asyncio.run(clock.run(job()))
    assert sent == [1030]


@settings(deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1e6), st.none() | st.floats(0, 900), st.integers())
def test_pauses_double_up_to_a_minute_and_obey(attempt: int, base: float, asked: float | None, seed: int) -> None:
    pause = pause_before(attempt, base, random.Random(seed), asked)
    assert (asked or 0) <= pause <= max(asked or 0, min(LONGEST_PAUSE, base * 2.0 ** min(attempt - 1, 200)))


USAGE = st.builds(Usage, st.just(1), st.integers(0, 2000), st.integers(0, 500))
PRICES = st.builds(Price, input=st.floats(0, 100), output=st.floats(0, 100))


@settings(deadline=None)
@given(
    st.lists(st.tuples(USAGE, st.floats(0, 1), st.integers(0, 5)), max_size=60), st.integers(1, 20_000),
    st.floats(0.001, 1), PRICES,
)  # fmt: skip
def test_no_order_of_calls_passes_a_cap(
    calls: list[tuple[Usage, float, int]], tokens: int, cost: float, price: Price
) -> None:
    purse = Purse(BudgetConfig(tokens=tokens, cost=cost), price)
    out: list[tuple[int, Usage]] = []
    for worst, share, keep in calls:
        while len(out) > keep:
            purse.settle(*out.pop(0))
        if (ticket := purse.reserve(worst)) is not None:
            out.append((ticket, Usage(1, int(worst.input_tokens * share), int(worst.output_tokens * share))))
    for ticket, usage in out:
        purse.settle(ticket, usage)
    assert purse.tokens <= tokens
    assert purse.cost <= cost * (1 + 1e-9)
    assert purse._waiting == (0, 0)


def test_what_is_left_can_be_spent_to_the_last_token() -> None:
    purse = Purse(BudgetConfig(tokens=100), tokens=60)
    assert purse.reserve(Usage(1, 30, 11)) is None
    ticket = purse.reserve(Usage(1, 30, 10))
    assert ticket is not None
    assert purse.reserve(Usage(1, 1, 0)) is None
    purse.settle(ticket, Usage(1, 30, 5))
    assert purse.reserve(Usage(1, 5, 0)) is not None


@pytest.mark.parametrize(
    ("budget", "price", "text"),
    [
        (BudgetConfig(tokens=5000), None, "1,234 tokens spent, and the next call might pass budget.tokens = 5000"),
        (
            BudgetConfig(tokens=5000, cost=0.002),
            Price(input=1, output=1),
            "1,234 tokens, 0.001234 by the table of prices spent, and the next call might pass"
            " budget.tokens = 5000 or budget.cost = 0.002",
        ),
    ],
)
def test_the_end_of_the_money_is_told(budget: BudgetConfig, price: Price | None, text: str) -> None:
    purse = Purse(budget, price, 1234, 0.001234 if price else 0.0)
    assert str(purse.exhausted()).startswith(f"stopped at the budget: {text}")
    assert purse.exhausted().hint == "Every answer is kept. Raise the cap, and the same command goes on from here."


def test_costs_are_by_the_table_and_batches_by_their_share() -> None:
    price = Price(input=2, output=8, batch_share=0.25)
    whole, batch = Usage(10, 3_000_000, 500_000), Usage(4, 1_000_000, 100_000)
    assert cost_of(whole, price) == 10
    assert cost_of(whole, None) == 0
    assert cost_of_bought([Bought("m", whole, batch)], {"m": price}) == pytest.approx(10 - 0.75 * 2.8)
    assert cost_of_bought([Bought("m", whole, batch)], {}) == 0


def test_a_gate_of_a_former_loop_leaves_nothing_behind() -> None:
    """Window and limits outlive an interrupted `send`."""
    window, limits = Window(1), (PerMinute(5), PerMinute(0))

    async def interrupted() -> None:
        entry = Gate(window, *limits)
        await entry.enter(1)
        waiting = asyncio.ensure_future(entry.enter(1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        window.leave(answered=False)

    async def next_one() -> Callable[[float], None]:
        return await asyncio.wait_for(Gate(window, *limits).enter(1), 1)

    asyncio.run(interrupted())
    asyncio.run(next_one())
    assert window.in_flight == 1
