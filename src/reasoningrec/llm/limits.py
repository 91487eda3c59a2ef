"""How fast to ask, and how much to spend: what the server asks for is obeyed, and so is the configuration."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reasoningrec.config import BudgetConfig, Price
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Bought
from reasoningrec.llm.client import Usage

MINUTE = 60.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, where the server does not ask for more."""
SMALLEST_WINDOW = 1.0
CUT = 0.5
"""Share of the window that is left after "too many requests"; at most one cut in a round trip."""


class Window:
    """How many requests may be in flight: halved when the server says "too many", one more per round of answers.

    Additive increase, multiplicative decrease, as in TCP (Chiu and Jain, 1989).
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.size, self.in_flight = float(most), float(most), 0
        self._clock, self._cut_at, self._paused_until = clock, float("-inf"), float("-inf")
        self._freed: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for room, and for the end of a pause the server asked for."""
        while True:
            if (wait := self._paused_until - self._clock()) > 0:
                await asyncio.sleep(wait)
            elif self.in_flight < max(int(self.size), 1):
                self.in_flight += 1
                return
            else:
                place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._freed.append(place)
                await place

    def leave(self, *, answered: bool) -> None:
        """One request less in flight; an answer lets the window grow."""
        self.in_flight -= 1
        if answered:
            self.size = min(self.most, self.size + 1 / max(self.size, 1))
        self._wake()

    def slow_down(self, sent_at: float, pause: float) -> None:
        """The server said "too many" to a request sent at `sent_at`, and to come back after `pause` seconds."""
        now = self._clock()
        self._paused_until = max(self._paused_until, now + pause)
        if sent_at > self._cut_at:  # those sent before the last cut say nothing of the smaller window
            self.size, self._cut_at = max(SMALLEST_WINDOW, self.size * CUT), now

    def _wake(self) -> None:
        for _ in range(max(int(self.size) - self.in_flight, 0)):
            while self._freed:
                place = self._freed.popleft()
                if not place.done():
                    place.set_result(None)
                    break


class PerMinute:
    """At most `most` units in any 60 seconds; 0 = no limit. Units are taken before sending, and corrected after."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0
        self._turn = asyncio.Lock()

    async def take(self, units: float) -> Callable[[float], None]:
        """Wait until `units` fit; returns how to correct them. More than a whole minute's units pass alone."""
        if not self._most:
            return lambda _: None
        async with self._turn:
            while (wait := self._wait(units)) > 0:
                await asyncio.sleep(wait)
            entry = [self._clock(), units]
            self._taken.append(entry)
            self._sum += units

        def correct(actual: float) -> None:
            if any(kept is entry for kept in self._taken):
                self._sum += actual - entry[1]
                entry[1] = actual

        return correct

    def _wait(self, units: float) -> float:
        now = self._clock()
        while self._taken and self._taken[0][0] <= now - MINUTE:
            self._sum -= self._taken.popleft()[1]
        if not self._taken or self._sum + units <= self._most:
            return 0.0
        return self._taken[0][0] + MINUTE - now


def pause_before(attempt: int, base: float, luck: random.Random, asked: float | None) -> float:
    """Seconds to wait before further try number `attempt` (from 1): jittered, doubling, at least what was asked for.

    "Full jitter" (Brooker, 2015): uniform below the bound, so that many clients do not come back together.
    """
    bound = min(LONGEST_PAUSE, base * 2 ** (attempt - 1))
    return max(asked or 0.0, luck.uniform(0, bound))


def cost_of(usage: Usage, price: Price | None, share: float = 1.0) -> float:
    """What tokens cost; 0 where there is no price."""
    if price is None:
        return 0.0
    return share * (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1e6


def cost_of_bought(bought: Sequence[Bought], prices: Mapping[str, Price]) -> float:
    """What a buyer paid in all, batch files at their share of the price."""
    total = 0.0
    for part in bought:
        price = prices.get(part.model)
        total += cost_of(part.usage, price)
        total -= cost_of(part.batch_usage, price, 1 - price.batch_share if price else 0.0)
    return total


@dataclass
class Purse:
    """What a run may still spend. Reserves the worst case before a call, so that a cap is never passed."""

    budget: BudgetConfig
    price: Price | None = None
    tokens: int = 0
    """Spent so far, by the whole run."""
    cost: float = 0.0
    _reserved: dict[int, Usage] = field(default_factory=dict)
    _next: int = 0

    def reserve(self, worst: Usage) -> int | None:
        """A ticket for a call that uses `worst` at most; None where the cap does not allow it."""
        waiting = sum(self._reserved.values(), worst)
        tokens = self.tokens + waiting.input_tokens + waiting.output_tokens
        if self.budget.tokens and tokens > self.budget.tokens:
            return None
        if self.budget.cost and self.cost + cost_of(waiting, self.price) > self.budget.cost:
            return None
        self._next += 1
        self._reserved[self._next] = worst
        return self._next

    def settle(self, ticket: int, usage: Usage) -> None:
        """The call is over and used `usage`."""
        del self._reserved[ticket]
        self.tokens += usage.input_tokens + usage.output_tokens
        self.cost += cost_of(usage, self.price)

    def exhausted(self) -> TeacherError:
        """The error to stop with."""
        spent = f"{self.tokens:,} tokens" + (f", {self.cost:.2f} by the table of prices" if self.price else "")
        caps = [f"budget.tokens = {self.budget.tokens}"] * bool(self.budget.tokens)
        caps += [f"budget.cost = {self.budget.cost:g}"] * bool(self.budget.cost)
        return TeacherError(
            f"stopped at the budget: {spent} spent, and the next call might pass {' or '.join(caps)}",
            hint="Every answer is kept. Raise the cap, and the same command goes on from here.",
        )
