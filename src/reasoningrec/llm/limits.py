"""How fast to ask, and how much to spend: what the server asks for is obeyed, and so is the configuration."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reasoningrec.config import BudgetConfig, Price
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Bought
from reasoningrec.llm.client import Usage

MINUTE = 60.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, where the server does not ask for more."""
SHORTEST_WAIT = 0.001
"""Seconds; clocks are no finer, and a wait of nothing would never end."""
SMALLEST_WINDOW = 1.0
CUT = 0.5
"""Share of the window that is left after "too many requests"; at most one cut in a round trip."""


Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Window:
    """How many requests may be in flight: halved when the server says "too many", one more per round of answers.

    Additive increase, multiplicative decrease, as in TCP (Chiu and Jain, 1989).
    """

    def __init__(self, most: int, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self.most, self.size, self.in_flight = float(most), float(most), 0
        self._clock, self._sleep = clock, sleep
        self._cut_at, self._paused_until = float("-inf"), float("-inf")
        self._freed: asyncio.Future[None] | None = None

    async def room(self) -> None:
        """Wait for room, and for the end of a pause the server asked for. One waits at a time, and then enters."""
        while True:
            if (wait := self._paused_until - self._clock()) > 0:
                await self._sleep(wait)
            elif self.in_flight >= self._places():
                self._freed = asyncio.get_running_loop().create_future()
                await self._freed
            else:
                return

    def enter(self) -> None:
        """One request more in flight."""
        self.in_flight += 1

    def leave(self, *, answered: bool) -> None:
        """One request less in flight; an answer lets the window grow."""
        self.in_flight -= 1
        if answered:
            self.size = min(self.most, self.size + 1 / max(self.size, 1))
        if self._freed and not self._freed.done() and self.in_flight < self._places():
            self._freed.set_result(None)

    def slow_down(self, sent_at: float, pause: float) -> None:
        """The server said "too many" to a request sent at `sent_at`, and to come back after `pause` seconds."""
        now = self._clock()
        self._paused_until = max(self._paused_until, now + pause)
        if sent_at > self._cut_at:  # those sent before the last cut say nothing of the smaller window
            self.size, self._cut_at = max(SMALLEST_WINDOW, self.size * CUT), now

    def _places(self) -> int:
        return max(int(self.size), 1)


@dataclass(slots=True)
class _Taken:
    """Units taken at a moment."""

    at: float
    units: float
    past: bool = False
    """Whether that was more than a minute ago."""


class PerMinute:
    """At most `most` units in any 60 seconds; 0 = no limit. Units are taken before sending, and corrected after."""

    def __init__(self, most: int, clock: Clock = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._taken: deque[_Taken] = deque()
        self._sum = 0.0

    def wait(self, units: float) -> float:
        """Seconds until `units` may fit; 0 where they do. More than a whole minute's units pass alone."""
        now = self._clock()
        while self._taken and self._taken[0].at <= now - MINUTE:
            old = self._taken.popleft()
            old.past = True
            self._sum -= old.units
        if not self._most or not self._taken or self._sum + units <= self._most:
            return 0.0
        return max(self._taken[0].at + MINUTE - now, SHORTEST_WAIT)

    def take(self, units: float) -> Callable[[float], None]:
        """Take units that fit; returns how to correct them."""
        if not self._most:
            return lambda _: None
        taken = _Taken(self._clock(), units)
        self._taken.append(taken)
        self._sum += units

        def correct(actual: float) -> None:
            if not taken.past:
                self._sum += actual - taken.units
                taken.units = actual

        return correct


class Gate:
    """Where every try waits for its turn: room in the window, and both limits per minute, all at the moment it goes.

    Window and limits outlive a gate, which belongs to the event loop of one `send`.
    """

    def __init__(self, window: Window, requests: PerMinute, tokens: PerMinute, sleep: Sleep = asyncio.sleep) -> None:
        self.window, self._requests, self._tokens, self._sleep = window, requests, tokens, sleep
        self._turn = asyncio.Lock()

    async def enter(self, tokens: int) -> Callable[[float], None]:
        """Wait, and enter the window; returns how to correct the number of tokens."""
        async with self._turn:
            while True:
                await self.window.room()
                wait = max(self._requests.wait(1), self._tokens.wait(tokens))
                if not wait:
                    break
                await self._sleep(wait)
            self.window.enter()
            self._requests.take(1)
            return self._tokens.take(tokens)


def pause_before(attempt: int, base: float, luck: random.Random, asked: float | None) -> float:
    """Seconds to wait before further try number `attempt` (from 1): jittered, doubling, at least what was asked for.

    "Full jitter" (Brooker, 2015): uniform below the bound, so that many clients do not come back together.
    """
    bound = min(LONGEST_PAUSE, base * 2 ** min(attempt - 1, 60))
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
    _waiting: tuple[int, int] = (0, 0)
    """Input and output tokens of all that is reserved."""
    _next: int = 0

    def reserve(self, worst: Usage) -> int | None:
        """A ticket for a call that uses `worst` at most; None where the cap does not allow it."""
        before = self._waiting
        waiting = Usage(0, before[0] + worst.input_tokens, before[1] + worst.output_tokens)
        tokens = self.tokens + waiting.input_tokens + waiting.output_tokens
        if self.budget.tokens and tokens > self.budget.tokens:
            return None
        if self.budget.cost and self.cost + cost_of(waiting, self.price) > self.budget.cost:
            return None
        self._next += 1
        self._reserved[self._next] = worst
        self._waiting = (waiting.input_tokens, waiting.output_tokens)
        return self._next

    def settle(self, ticket: int, usage: Usage) -> None:
        """The call is over and used `usage`; said again, as after an interrupt, it changes nothing."""
        worst = self._reserved.get(ticket)
        if worst is None:
            return
        cost = cost_of(usage, self.price)
        # nothing is called from here on: an interrupt comes before all of it, or after
        self._waiting = (self._waiting[0] - worst.input_tokens, self._waiting[1] - worst.output_tokens)
        self.tokens += usage.input_tokens + usage.output_tokens
        self.cost += cost
        del self._reserved[ticket]

    def exhausted(self) -> TeacherError:
        """The error to stop with."""
        spent = f"{self.tokens:,} tokens" + (f", {self.cost:.4g} by the table of prices" if self.price else "")
        caps = [f"budget.tokens = {self.budget.tokens}"] * bool(self.budget.tokens)
        caps += [f"budget.cost = {self.budget.cost:g}"] * bool(self.budget.cost)
        return TeacherError(
            f"stopped at the budget: {spent} spent, and the next call might pass {' or '.join(caps)}",
            hint="Every answer is kept. Raise the cap, and the same command goes on from here.",
        )
