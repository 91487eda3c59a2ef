"""Any OpenAI-compatible server as a `Model`: OpenAI, vLLM, SGLang, Ollama, llama.cpp, LM Studio, hosted ones.

Requests go out together, as many as the server takes. What may pass is tried again after a pause; what cannot pass is
a failure of that request; what would fail every request stops the run. Nothing is sent twice that was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from reasoningrec.config import ModelConfig
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Message, Request, Usage
from reasoningrec.llm.forms import Form, chat, schema
from reasoningrec.llm.keys import Key
from reasoningrec.llm.limits import Gate, PerMinute, Purse, Window, pause_before
from reasoningrec.llm.received import Outcome, lost, received, refused
from reasoningrec.llm.settings import answering
from reasoningrec.llm.tokens import Counter
from reasoningrec.rows import Json

W = TypeVar("W")
GIVE_UP: Final = 20
"""So many requests in a row without any answer, all tries used up: the server is gone."""
MOST_BYTES: Final = 8 << 20
"""Of one answer."""
ADDED: Final = 256
"""Tokens that a server's chat template may add to a prompt, its own instructions included."""
UNKNOWN: Final = ("HTTP 400", "HTTP 415", "HTTP 422", "HTTP 500", "HTTP 501")
"""How a server may refuse a form of answers that it does not know."""
NOT_WELL: Final = "Every answer so far is kept; when the server is well, the same command goes on from here."


@dataclass
class Tally:
    """What this sitting did."""

    sent: int = 0
    retried: int = 0
    unanswered: int = 0


class _Flight:
    """The requests on their way in one `send`.

    They travel in a thread of their own, with an event loop: so they come in while the caller works, an interrupt
    meets no half-run loop, and the caller may have a loop itself, as notebooks do.
    """

    def __init__(self, board: Callable[[], aiohttp.ClientSession], gate: Gate) -> None:
        self.gate, self._board = gate, board
        self.news: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
        """The id of a request that has landed, or what ended the flight."""
        self.landed: dict[str, tuple[Request, Outcome]] = {}
        """By the id of the request, until it is handed on."""
        self.tickets: dict[str, int] = {}
        """Of the purse, by the id of the request, for all that is not handed on yet."""
        self.stop: TeacherError | None = None
        self.unanswered_in_a_row = 0
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._ready = threading.Event()
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._work, name="requests", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, request: Request, call: Callable[[_Flight], Coroutine[None, None, Outcome]]) -> None:
        """Send a request off; what comes of it lands."""
        self._tell(self._start, request, call)

    def arrived(self) -> Iterator[tuple[Request, Outcome]]:
        """What has landed and was not handed on; gives up the rest."""
        self.close()
        yield from list(self.landed.values())

    def close(self) -> None:
        """Give up what is on its way."""
        self._ready.wait()
        if self._over is not None:
            self._tell(self._over.set)
        self._thread.join()

    def _tell(self, do: Callable[..., object], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and what closed it has landed
            self._loop.call_soon_threadsafe(do, *values)

    def _work(self) -> None:
        try:
            asyncio.run(self._travel())
        except BaseException as error:  # noqa: BLE001 - raised where `send` waits
            self.news.put(error)
            self._ready.set()

    async def _travel(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self._board() as self.session:
            self._ready.set()
            await self._over.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, request: Request, call: Callable[[_Flight], Coroutine[None, None, Outcome]]) -> None:
        task = self._loop.create_task(call(self))
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._land, request))

    def _land(self, request: Request, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if error := task.exception():
            self.news.put(error)
        else:
            self.landed[request.id] = request, task.result()
            self.news.put(request.id)


class _Ahead:
    """An iterator whose next element can be looked at before it is taken."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._next: Request | None = None

    def peek(self) -> Request | None:
        if self._next is None:
            self._next = next(self._requests, None)
        return self._next

    def take(self) -> Request:
        taken, self._next = self.peek(), None
        assert taken is not None
        return taken


class Endpoint:
    """See the module. `settings` hold what can change an answer."""

    path: ClassVar = "/chat/completions"

    def __init__(self, config: ModelConfig, purse: Purse, cache: Cache, *, seed: int = 0, asks: bool = True) -> None:
        """Read the key from the environment.

        Args:
            config: its settings.
            purse: what may be spent.
            cache: where what was learned of the server is noted.
            seed: of the pauses between tries.
            asks: False = only to say and count requests: no key is read, and the server is never asked.

        Raises:
            ConfigError: the key is not there, or the tokenizer cannot be read.
        """
        self.name, self.config, self.purse = config.model, config, purse
        self.url = config.endpoint.rstrip("/")
        self.settings = answering(config)
        self.tally = Tally()
        self.rescued: list[tuple[Request, Answer]] = []
        self._asks, self._key = asks, Key.of(config.key_env if asks else "")
        self._cache, self._luck = cache, random.Random(seed)  # noqa: S311 - pauses
        self._counter = Counter(config.tokenizer)
        self._window = Window(config.concurrency)
        self._per_minute = (PerMinute(config.requests_per_minute), PerMinute(config.tokens_per_minute))
        self._most_written, self._proxy = most_written(config), _proxy(self.url)
        self._retries = config.retries
        self._form: Form | None = None if config.answer_form == "auto" else config.answer_form

    def body(self, request: Request) -> dict[str, Json]:
        """Server, model, messages, sampling, form: everything."""
        return {**self.payload(request), "endpoint": self.url}

    def payload(self, request: Request) -> dict[str, Json]:
        """What the server is sent."""
        return self._payload(request, self.form())

    def read(self, request: Request, text: str, seconds: float, tokens: int) -> Outcome:
        """What the body of a 200 says; `tokens` are the prompt's."""
        return received(text, seconds, tokens)

    def learn(self) -> None:
        """Find out how the server is to be asked, where that is not known."""
        self.form()

    def form(self) -> Form:
        """How answers are asked for; "auto" is found out once for a server and model, by one small request."""
        if self._form is None:
            self._form = self._known() or ("schema" if not self._asks else self._find_form())
        return self._form

    def _known(self) -> Form | None:
        """The form, where it is configured or was found out before."""
        known = self._form or self._cache.recall(f"form of {self.url} {self.name}")
        return "lines" if known == "lines" else "schema" if known == "schema" else None

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, and whether they were counted with the model's own tokenizer."""
        messages = chat(request, self._known() or "schema")
        return self._counter.count(str(message["content"]) for message in messages), self._counter.exact

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers as they come. Raises TeacherError when no further one can; those on their way land first.

        When it is interrupted, what has come until then is handed on before the interrupt is.
        """
        self.learn()  # may have to ask, and so comes before
        with _Flight(self._board, Gate(self._window, *self._per_minute)) as flight:
            try:
                yield from self._fly(flight, _Ahead(iter(requests)))
            except (Exception, KeyboardInterrupt):
                for request, outcome in flight.arrived():
                    yield self._landed(flight, request, outcome)
                raise
            finally:  # stopped where the answers are taken: what has come is left to be kept
                for request, outcome in flight.arrived():
                    self.rescued.append(self._landed(flight, request, outcome))
                for ticket in flight.tickets.values():
                    self.purse.settle(ticket, Usage())

    def _fly(self, flight: _Flight, left: _Ahead) -> Iterator[tuple[Request, Answer]]:
        while self._start(flight, left) or flight.tickets:
            news = flight.news.get()
            if isinstance(news, BaseException):
                raise news
            request, outcome = flight.landed[news]
            yield self._landed(flight, request, outcome)
        if flight.stop:
            raise flight.stop
        if left.peek() is not None:
            raise self.purse.exhausted()

    def _start(self, flight: _Flight, left: _Ahead) -> bool:
        """Send off what there is room for; whether any was."""
        before = len(flight.tickets)
        while not flight.stop and len(flight.tickets) < self.config.concurrency and (request := left.peek()):
            payload = json.dumps(self.payload(request)).encode()
            tokens, exact = self.count_tokens(request)
            most = tokens + ADDED if exact else len(payload)  # no text has more tokens than bytes
            ticket = self.purse.reserve(Usage(1, most, self._most_written))
            if ticket is None:
                break
            flight.tickets[request.id] = ticket
            flight.start(left.take(), functools.partial(self._call, request, payload, tokens))
        return len(flight.tickets) > before

    def _landed(self, flight: _Flight, request: Request, outcome: Outcome) -> tuple[Request, Answer]:
        """Keeps the accounts of a request that is answered, or is not, and hands it on.

        An interrupt comes where a function begins, or where one written in C, or called with `*`, has returned. It
        counts as handed on after the last such call, so that whoever is interrupted before finds it among the landed.
        """
        answer = outcome.answer
        self.purse.settle(flight.tickets[request.id], answer.usage)
        self.tally.unanswered += not answer.received
        flight.unanswered_in_a_row = 0 if answer.received else flight.unanswered_in_a_row + 1
        if outcome.fatal:
            flight.stop = flight.stop or TeacherError(f"{self.url}: {answer.error}", hint=outcome.fatal)
        elif flight.unanswered_in_a_row >= GIVE_UP:
            text = f"{self.url}: {GIVE_UP} requests in a row got no answer, the last because of: {answer.error}"
            flight.stop = flight.stop or TeacherError(text, hint=NOT_WELL)
        del flight.tickets[request.id], flight.landed[request.id]
        return request, answer

    def _board(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self.config.timeout_seconds),
            headers={"Content-Type": "application/json", **self._key.header()},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _call(self, request: Request, payload: bytes, tokens: int, flight: _Flight) -> Outcome:
        """What came of a request after as many tries as it takes."""
        for attempt in range(1, self._retries + 2):
            outcome = await self._turn(flight, request, payload, tokens)
            if not outcome.again or outcome.fatal or flight.stop or attempt > self._retries:
                break
            self.tally.retried += 1
            await asyncio.sleep(pause_before(attempt, self.config.backoff_seconds, self._luck, outcome.pause))
        answer = outcome.answer
        if not answer.received and attempt > 1:
            answer = replace(answer, error=f"{answer.error} (tried {attempt} times)")
        return replace(outcome, answer=answer)

    async def _turn(self, flight: _Flight, request: Request, payload: bytes, tokens: int) -> Outcome:
        """One try, when the limits allow it."""
        correct = await flight.gate.enter(tokens + self.config.max_new_tokens)
        sent_at, received = time.monotonic(), False
        try:
            self.tally.sent += 1
            outcome = await self._try(flight.session, request, payload, tokens)
            received = outcome.answer.received
        finally:
            self._window.leave(answered=received)
        if received:  # else nobody knows what was used up
            correct(outcome.answer.usage.input_tokens + outcome.answer.usage.output_tokens)
        if outcome.too_many:
            self._window.slow_down(sent_at, outcome.pause or 0.0)
        return outcome

    async def _try(self, session: aiohttp.ClientSession, request: Request, payload: bytes, tokens: int) -> Outcome:
        started, address = time.monotonic(), self.url + self.path
        try:
            async with session.post(address, data=payload, allow_redirects=False, proxy=self._proxy) as response:
                text = self._key.scrub(await _read(response))
                status, headers = response.status, response.headers
        except TimeoutError:
            return lost(f"no answer within {self.config.timeout_seconds:g} s (`timeout_seconds`)")
        except (aiohttp.ClientError, OSError) as error:
            return lost(self._key.scrub(f"the connection failed: {error or type(error).__name__}"))
        if status != 200:
            return self._scrubbed(refused(status, text, headers))
        return self._scrubbed(self.read(request, text, time.monotonic() - started, tokens))

    def _scrubbed(self, outcome: Outcome) -> Outcome:
        """Once more: what was escaped in the body is plain by now."""
        was, scrub = outcome.answer, self._key.scrub
        text, thinking, finish, error = scrub(was.text), scrub(was.thinking), scrub(was.finish), scrub(was.error)
        answer = replace(was, text=text, thinking=thinking, finish=finish, error=error)
        return replace(outcome, answer=answer, fatal=scrub(outcome.fatal))

    def _payload(self, request: Request, form: Form) -> dict[str, Json]:
        config = self.config
        sampling: dict[str, Json] = {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_new_tokens,
            "seed": request.seed,
        }
        payload: dict[str, Json] = {
            "model": config.model,
            "messages": chat(request, form),
            **{name: value for name, value in sampling.items() if name not in config.leave_out},
            **config.extra,
        }
        if form == "schema":
            shape: Json = {"name": "answer", "strict": True, "schema": schema(request.fields)}
            payload["response_format"] = {"type": "json_schema", "json_schema": shape}
        return payload

    def _find_form(self) -> Form:
        """Ask once by schema: a server that knows no schemas refuses it, or answers in other words."""
        answer = self._probe("schema")
        if not answer.received and answer.error.startswith(UNKNOWN):
            answer = self._probe("lines")
        if not answer.received or (answer.error and answer.finish == "length"):
            raise TeacherError(f"{self.url}: {answer.error}", hint=f"This was the first request. {NOT_WELL}")
        try:
            fits = json.loads(answer.text)["prediction"] in ("Yes", "No")
        except (ValueError, KeyError, TypeError):
            fits = False
        form: Form = "schema" if fits else "lines"
        self.assume(form)
        return form

    def first_taken(self, ways: Iterable[W], use: Callable[[W | None], None], probe: Request, needed: str) -> W:
        """The first way of asking that the server takes, found out by a small request or a few.

        Args:
            ways: in the order to try.
            use: told the way to ask in; None = none is known.
            probe: the request.
            needed: what to say where the server knows none of them.

        Raises:
            TeacherError: it takes none, or is not well.
        """
        self._retries = min(1, self.config.retries)  # some say 500 to what they do not know, however often
        try:
            for way in ways:
                use(way)
                ((_, answer),) = self.send([probe])
                if answer.received:
                    return way
                if not answer.error.startswith(UNKNOWN):
                    break
        finally:
            use(None)
            self._retries = self.config.retries
        hint = needed if answer.error.startswith(UNKNOWN) else NOT_WELL
        raise TeacherError(f"{self.url}: {answer.error}", hint=hint)

    def assume(self, form: Form) -> None:
        """Take it as found out that answers are asked for in this form, now and in later sittings."""
        self._form = form
        self._cache.note(f"form of {self.url} {self.name}", form)

    def _probe(self, form: Form) -> Answer:
        request = Request("probe", (Message("user", "Is water wet?"),), ("Prediction",))
        self._form = form
        if form == "schema":  # some servers say 500 to what they do not know, however often they are asked
            self._retries = min(1, self.config.retries)
        try:
            ((_, answer),) = self.send([request])
        finally:
            self._form, self._retries = None, self.config.retries
        return answer


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url`, as $HTTPS_PROXY and $NO_PROXY say.

    aiohttp's own `trust_env` would look it up for every request anew, in a thread, and send keys out of ~/.netrc.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def most_written(config: ModelConfig) -> int:
    """Tokens that an answer may have: fields in `extra` may allow more."""
    allowed: list[Any] = [config.extra.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max([config.max_new_tokens, *(number for number in allowed if isinstance(number, int))])


async def _read(response: aiohttp.ClientResponse) -> str:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
