"""Requests to ask, and a client that asks them, in this process or in one that is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasoningrec.config import BudgetConfig, ModelConfig, Price
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Message, Reply, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.remember import Remembering

FIELDS = ("Prediction", "Why")


def request(number: int, *, words: int = 40) -> Request:
    """One of as many different requests as there are numbers."""
    text = f"Viewer {number} liked " + ", ".join(f"film {(number * 31 + i) % 977}" for i in range(words)) + "."
    return Request(f"r{number:06d}", (Message("system", "You explain."), Message("user", text)), FIELDS)


def requests(count: int) -> Iterator[Request]:
    return (request(number) for number in range(count))


def config(url: str, **fields: Any) -> ModelConfig:
    """Of a client that has no patience, so that tests are quick."""
    quick = {"concurrency": 16, "timeout_seconds": 10.0, "retries": 12, "backoff_seconds": 0.002}
    return ModelConfig(**{"endpoint": url, "model": "m", "answer_form": "lines", **quick, **fields})


@contextmanager
def asker(
    path: Path, model: ModelConfig, budget: BudgetConfig | None = None, price: Price | None = None
) -> Iterator[Remembering]:
    """A client on a cache file, as a run has it."""
    with Cache(path) as cache:
        yield Remembering(Endpoint(model, Purse(budget or BudgetConfig(), price), cache), cache, "run")


def ask(path: Path, model: ModelConfig, count: int) -> list[Reply]:
    with asker(path, model) as client:
        return list(client.answer(requests(count)))


@dataclass(frozen=True)
class Told:
    """What a child process tells at its end."""

    answered: int
    failed: int
    cached: int
    asked: int
    interrupted: bool = False


def child(path: str, model: dict[str, Any], count: int, told: str) -> None:
    """Ask in a process of its own, which may be killed or interrupted; what it did goes into a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answered = failed = 0
    with asker(Path(path), ModelConfig.model_validate_json(json.dumps(model))) as client:
        interrupted = False
        try:
            for reply in client.answer(requests(count)):
                answered += reply.answered
                failed += not reply.answered
        except KeyboardInterrupt:
            interrupted = True
        spending = client.spending
    done = Told(answered, failed, spending.cached, spending.asked, interrupted)
    Path(told).write_text(json.dumps(asdict(done)), "utf-8")


def interrupt_soon(seconds: float) -> threading.Timer:
    """Ctrl-C to this process, in a while."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def wait_until(true: Any, seconds: float = 20.0) -> None:
    """Until `true()`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
