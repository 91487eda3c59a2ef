"""A `Client` made of a model and the cache: what was answered before is not asked again, nor what another asks now."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Answer, Model, Reply, Request, Usage
from reasoningrec.rows import Json

PATIENCE: Final = 0.1
"""Seconds between two looks at what other processes are asking."""


@dataclass
class Spending:
    """What this sitting asked and used, for people to read; all sittings together are in the cache."""

    cached: int = 0
    asked: int = 0
    usage: Usage = field(default_factory=Usage)
    """Of what was asked now."""


class Remembering:
    """See the module."""

    def __init__(self, model: Model, cache: Cache, buyer: str) -> None:
        """`buyer` is who pays for what is asked: a run."""
        self.name, self.settings = model.name, model.settings
        self.model, self.cache, self.buyer = model, cache, buyer
        self.spending = Spending()

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies from the cache at once, the others as they come.

        What another process is asking at the moment is waited for at the end. Raises TeacherError where the model can
        not go on, or where all that is left is out in a batch.
        """
        queue = _Queue(iter(requests))
        while True:
            yield from self._ask(queue)
            if not queue.theirs:
                break
            time.sleep(PATIENCE)
            queue.again()
        if queue.batched:
            raise TeacherError(
                f"{queue.batched} requests are out in a batch file",
                hint="`reasoningrec batch import` takes its answers in; `reasoningrec batch drop` gives them up.",
            )

    def _ask(self, queue: _Queue) -> Iterator[Reply]:
        """All of the queue that is not another's; what the cache has comes first, so that it need not wait."""
        for request in queue:
            reply = self._remembered(request, queue)
            if isinstance(reply, Reply):
                yield reply
            elif reply:
                break
        else:
            return
        ready: deque[Reply] = deque()

        def mine() -> Iterator[Request]:
            yield request
            for other in queue:
                found = self._remembered(other, queue)
                if isinstance(found, Reply):
                    ready.append(found)
                elif found:
                    yield other

        try:
            with contextlib.closing(self._send(mine())) as answers:
                for queue.landed in answers:
                    yield from self._keep(*queue.landed, queue)
                    while ready:
                        yield ready.popleft()
        finally:
            self._rescue(queue)
        yield from ready

    def _rescue(self, queue: _Queue) -> None:
        """Keep what had come when we, or whoever took the replies, were interrupted."""
        left = [*filter(None, [queue.landed]), *self.model.rescued]
        self.model.rescued.clear()
        for request, answer in left:
            if request.id in queue.bodies:
                deque(self._keep(request, answer, queue), maxlen=0)

    def _send(self, requests: Iterator[Request]) -> Generator[tuple[Request, Answer], None, None]:
        yield from self.model.send(requests)

    def _remembered(self, request: Request, queue: _Queue) -> Reply | bool:
        """The kept reply; True where the request is ours to ask now, False where it is not."""
        body = self.model.body(request)
        key = key_of(body)
        if key in queue.asked:
            queue.asked[key].append(request)
            return False
        found = self.cache.get(key)
        if found is not None:
            self.spending.cached += 1
            return reply_of(request, found)
        state = self.cache.claim(key)
        if state == "answered":  # meanwhile
            return self._remembered(request, queue)
        if state == "ours":
            queue.asked[key], queue.bodies[request.id] = [request], (key, body)
        queue.theirs += [request] * (state == "theirs")
        queue.batched += state == "batched"
        return state == "ours"

    def _keep(self, request: Request, answer: Answer, queue: _Queue) -> Iterator[Reply]:
        """Replies to a request and to its likes. Until it is kept it is among those on their way."""
        key, body = queue.bodies[request.id]
        if answer.received:
            self.cache.put(key, body, answer, self.buyer)
        else:
            self.cache.release(key)
        del queue.bodies[request.id]
        likes = queue.asked.pop(key)
        if answer.received:
            self.spending.asked += 1
            self.spending.usage += answer.usage
            self.spending.cached += len(likes) - 1
        yield from (reply_of(like, answer) for like in likes)


class _Queue:
    """Requests to come, those that we or another process are asking, and how many are out in a batch."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self.asked: dict[str, list[Request]] = {}
        """Key -> the request on its way, and others that are the same to the model."""
        self.bodies: dict[str, tuple[str, Mapping[str, Json]]] = {}
        """Id -> (key, body) of those on their way."""
        self.landed: tuple[Request, Answer] | None = None
        """The latest answer."""
        self.theirs: list[Request] = []
        self.batched = 0

    def __iter__(self) -> Iterator[Request]:
        return self._requests

    def again(self) -> None:
        """Put what others were asking back in the line."""
        self._requests = itertools.chain(self.theirs, self._requests)
        self.theirs = []


def reply_of(request: Request, answer: Answer) -> Reply:
    """What a client says to `request`, given the model's answer."""
    usage = replace(answer.usage, calls=1) if answer.received else Usage()
    return Reply(request.id, answer.text, usage, answer.error, answer.received, answer.finish)
