"""An interrupt at any moment loses no answer that has come, and leaves nothing reserved.

CPython looks for signals where a function begins and where one written in C has returned: every third of these moments
is tried, one after another, with each of three counts of requests. It also looks after a call with `*`, which a
profiler does not see, so that such calls are kept out of what does the accounts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from asking import config, requests

from reasoningrec.config import BudgetConfig
from reasoningrec.llm import endpoint, limits, remember
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.received import Outcome
from reasoningrec.llm.remember import Remembering
from serving import Serving

OURS = {str(module.__file__) for module in (endpoint, limits, remember)}
STEP = 3
"""Every third of the moments; another third with each count of requests."""


class Moments:
    """Of this thread, in the modules of OURS, and an interrupt at one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def look(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "c_return") or frame.f_code.co_filename not in OURS:
            return
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


@contextmanager
def interrupted(moments: Moments) -> Iterator[None]:
    sys.setprofile(moments.look)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)


@pytest.fixture
def come(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the requests of which something came, whoever was told."""
    ids: list[str] = []
    land = endpoint._Flight._land

    def noted(flight: endpoint._Flight, request: Request, task: asyncio.Task[Outcome]) -> None:
        ids.extend([request.id] * (not task.cancelled()))
        land(flight, request, task)

    monkeypatch.setattr(endpoint._Flight, "_land", noted)
    return ids


@pytest.mark.parametrize("count", [2, 3, 4])
def test_at_any_moment_of_a_sending(server: Serving, tmp_path: Path, come: list[str], count: int) -> None:
    with Cache(tmp_path / "answers.sqlite") as cache:
        at, moments = count - 2, Moments(0)
        while moments.seen >= moments.at:
            at += STEP
            come.clear()
            moments, landed = Moments(at), list[tuple[Request, Answer]]()
            model = Endpoint(config(server.url, concurrency=2), Purse(BudgetConfig()), cache)
            with interrupted(moments):
                for landed[len(landed) :] in ([pair] for pair in model.send(requests(count))):  # nothing is called
                    pass
            landed += model.rescued
            assert (at, sorted(request.id for request, _ in landed)) == (at, sorted(come))
            tokens = sum(answer.usage.input_tokens + answer.usage.output_tokens for _, answer in landed)
            assert (at, model.purse.tokens) == (at, tokens)
            assert (at, model.purse._reserved, model.purse._waiting) == (at, {}, (0, 0))
        assert at > 50


@pytest.mark.parametrize("count", [2, 3, 4])
def test_at_any_moment_of_remembering(server: Serving, tmp_path: Path, come: list[str], count: int) -> None:
    at, moments = count - 2, Moments(0)
    while moments.seen >= moments.at:
        at += STEP
        come.clear()
        with Cache(tmp_path / f"{at}.sqlite") as cache:
            moments = Moments(at)
            client = Remembering(
                Endpoint(config(server.url, concurrency=2), Purse(BudgetConfig()), cache), cache, "run"
            )
            with interrupted(moments):
                for _ in client.answer(requests(count)):
                    pass
            client = Remembering(Endpoint(config(server.url), Purse(BudgetConfig()), cache), cache, "run")
            kept = len(come)
            assert len(list(client.answer(requests(count)))) == count, at
            assert (at, client.spending.cached) == (at, kept)
    assert at > 100
