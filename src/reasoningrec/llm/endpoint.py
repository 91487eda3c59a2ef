"""Any OpenAI-compatible server as a `Model`: OpenAI, vLLM, SGLang, Ollama, llama.cpp, LM Studio, hosted ones.

Requests go out together, as many as the server takes. What may pass is tried again after a pause; what cannot pass is
a failure of that request; what would fail every request stops the run. Nothing is sent twice that was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from reasoningrec.config import ModelConfig
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Message, Request, Usage
from reasoningrec.llm.forms import Form, chat, part_thinking, schema
from reasoningrec.llm.keys import Key
from reasoningrec.llm.limits import PerMinute, Purse, Window, pause_before
from reasoningrec.llm.settings import answering
from reasoningrec.llm.tokens import Counter
from reasoningrec.rows import Json

PASSING: Final = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
"""Status codes after which another try can help."""
FATAL: Final[Mapping[int, str]] = {
    401: "The server does not accept the key: see `key_env`.",
    402: "The account is empty.",
    403: "The key may not use this model.",
    404: "Is the address right (most end in /v1), and does the server know the model?",
    405: "Is the address right (most end in /v1)?",
}
"""Status codes after which every other request would fail as well, and what to do."""
GIVE_UP: Final = 20
"""So many requests in a row without any answer, all tries used up: the server is gone."""
LONGEST_WAIT: Final = 900.0
"""Seconds that a server may ask to wait for; beyond, the run stops and can be taken up later."""
MOST_BYTES: Final = 8 << 20
"""Of one answer."""
SHOWN: Final = 2000
"""Signs of a server's error that are kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try."""

    answer: Answer
    again: bool = False
    """Whether another try can help."""
    pause: float | None = None
    """Seconds the server asks to wait."""
    too_many: bool = False
    fatal: str = ""
    """What to do, where every other request would fail too."""


@dataclass
class Tally:
    """What this sitting did."""

    sent: int = 0
    retried: int = 0
    unanswered: int = 0


@dataclass
class _Flight:
    """The requests on their way, and what has come back."""

    landed: asyncio.Queue[tuple[Request, Answer] | BaseException] = field(default_factory=asyncio.Queue)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    stop: TeacherError | None = None
    unanswered_in_a_row: int = 0

    def land(self, task: asyncio.Task[None]) -> None:
        """A task is over."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.landed.put_nowait(error)


class _Ahead:
    """An iterator whose next element can be looked at before it is taken."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests, self._next = requests, next(requests, None)

    def peek(self) -> Request | None:
        return self._next

    def take(self) -> Request:
        taken = self._next
        assert taken is not None
        self._next = next(self._requests, None)
        return taken


class _Road:
    """What all requests of one `send` share on their way."""

    def __init__(self, session: aiohttp.ClientSession, config: ModelConfig) -> None:
        self.session, self.window = session, Window(config.concurrency)
        self.requests, self.tokens = PerMinute(config.requests_per_minute), PerMinute(config.tokens_per_minute)


class Endpoint:
    """See the module. `settings` hold what can change an answer."""

    def __init__(self, config: ModelConfig, purse: Purse, cache: Cache, *, seed: int = 0) -> None:
        """Read the key from the environment. Raises ConfigError where it is not there."""
        self.name, self.config, self.purse = config.model, config, purse
        self.url = config.endpoint.rstrip("/")
        self.settings = answering(config)
        self.tally = Tally()
        self._key, self._cache, self._luck = Key.of(config.key_env), cache, random.Random(seed)  # noqa: S311 - pauses
        self._counter = Counter(config.tokenizer)
        self._form: Form | None = None if config.answer_form == "auto" else config.answer_form

    def body(self, request: Request) -> dict[str, Json]:
        """Server, model, messages, sampling, form: everything."""
        return {"endpoint": self.url, **self._payload(request, self.form())}

    def form(self, *, ask: bool = True) -> Form:
        """How answers are asked for; "auto" is found out once for a server and model, by one small request.

        Args:
            ask: whether the server may be asked; without, "schema" is assumed where nothing is known.
        """
        if self._form is None:
            known = self._cache.recall(f"form of {self.url} {self.name}")
            if known is None and not ask:
                return "schema"
            self._form = "lines" if known == "lines" else "schema" if known == "schema" else self._find_form()
        return self._form

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, and whether they were counted with the model's own tokenizer."""
        messages = chat(request, self.form(ask=False))
        return self._counter.count(str(message["content"]) for message in messages), self._counter.exact

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers as they come. Raises TeacherError when no further one can; those on their way land first."""
        loop = asyncio.new_event_loop()
        try:
            yield from self._fly(loop, iter(requests))
        finally:
            with contextlib.suppress(RuntimeError):
                loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _fly(self, loop: asyncio.AbstractEventLoop, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer]]:
        run = loop.run_until_complete
        flight, road = _Flight(), _Road(run(self._open()), self.config)
        left = _Ahead(requests)
        try:
            while self._start(loop, flight, road, left) or flight.tasks or not flight.landed.empty():
                landed = run(flight.landed.get())
                if isinstance(landed, BaseException):
                    raise landed
                yield landed
            if flight.stop:
                raise flight.stop
            if left.peek() is not None:
                raise self.purse.exhausted()
        finally:
            for task in flight.tasks:
                task.cancel()
            run(asyncio.gather(*flight.tasks, return_exceptions=True))
            run(road.session.close())

    def _start(self, loop: asyncio.AbstractEventLoop, flight: _Flight, road: _Road, left: _Ahead) -> bool:
        """Send off what there is room for; whether any was."""
        before = len(flight.tasks)
        while not flight.stop and len(flight.tasks) < self.config.concurrency and (request := left.peek()):
            worst = Usage(1, self.count_tokens(request)[0], self.config.max_new_tokens)
            ticket = self.purse.reserve(worst)
            if ticket is None:
                break
            task = loop.create_task(self._land(flight, road, left.take(), worst, ticket))
            flight.tasks.add(task)
            task.add_done_callback(flight.land)
        return len(flight.tasks) > before

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self.config.timeout_seconds),
            headers={"Content-Type": "application/json", **self._key.header()},
            trust_env=True,
        )

    async def _land(self, flight: _Flight, road: _Road, request: Request, worst: Usage, ticket: int) -> None:
        answer, fatal = await self._call(road, request, worst)
        self.purse.settle(ticket, answer.usage)
        flight.unanswered_in_a_row = 0 if answer.received else flight.unanswered_in_a_row + 1
        self.tally.unanswered += not answer.received
        if fatal:
            flight.stop = flight.stop or TeacherError(f"{self.url}: {answer.error}", hint=fatal)
        elif flight.unanswered_in_a_row >= GIVE_UP:
            flight.stop = flight.stop or TeacherError(
                f"{self.url}: gives no answers any more: {answer.error}",
                hint="Every answer so far is kept; when the server is well, the same command goes on from here.",
            )
        flight.landed.put_nowait((request, answer))

    async def _call(self, road: _Road, request: Request, worst: Usage) -> tuple[Answer, str]:
        """The answer to a request, after as many tries as it takes; and what to do where all others would fail too."""
        payload = json.dumps(self._payload(request, self.form())).encode()
        for attempt in range(1, self.config.retries + 2):
            sent_at, outcome = await self._turn(road, payload, worst)
            if outcome.too_many:
                road.window.slow_down(sent_at, min(outcome.pause or 0.0, LONGEST_WAIT))
            if not outcome.again or outcome.fatal or attempt > self.config.retries:
                break
            self.tally.retried += 1
            await asyncio.sleep(pause_before(attempt, self.config.backoff_seconds, self._luck, outcome.pause))
        answer = outcome.answer
        if not answer.received and attempt > 1:
            answer = replace(answer, error=f"{answer.error} (tried {attempt} times)")
        return answer, outcome.fatal

    async def _turn(self, road: _Road, payload: bytes, worst: Usage) -> tuple[float, Outcome]:
        """One try, when the limits allow it: when it was sent, and what came of it."""
        await road.requests.take(1)
        correct = await road.tokens.take(worst.input_tokens + worst.output_tokens)
        await road.window.enter()
        sent_at, received = time.monotonic(), False
        try:
            self.tally.sent += 1
            outcome = await self._try(road.session, payload, worst.input_tokens)
            received = outcome.answer.received
        finally:
            road.window.leave(answered=received)
        correct(outcome.answer.usage.input_tokens + outcome.answer.usage.output_tokens)
        return sent_at, outcome

    async def _try(self, session: aiohttp.ClientSession, payload: bytes, guess: int) -> Outcome:
        started = time.monotonic()
        try:
            async with session.post(f"{self.url}/chat/completions", data=payload, allow_redirects=False) as response:
                text = await _read(response)
                status, headers = response.status, response.headers
        except TimeoutError:
            return _lost(f"no answer within {self.config.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return _lost(self._key.scrub(f"the connection failed: {error or type(error).__name__}"))
        text = self._key.scrub(text)
        if status != 200:
            return _refused(status, text, headers)
        return _received(text, time.monotonic() - started, guess)

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
        self._form = "schema"
        probe = Request("probe", (Message("user", "Is water wet?"),), ("Prediction",))
        try:
            ((_, answer),) = self.send([probe])
        except TeacherError:
            self._form = None
            raise
        if not answer.received and not answer.error.startswith("HTTP 4"):
            self._form = None
            raise TeacherError(f"{self.url}: {answer.error}", hint="Is the server up, and the address right?")
        try:
            fits = answer.received and json.loads(answer.text)["prediction"] in ("Yes", "No")
        except (ValueError, KeyError, TypeError):
            fits = False
        form: Form = "schema" if fits else "lines"
        self._cache.note(f"form of {self.url} {self.name}", form)
        return form


async def _read(response: aiohttp.ClientResponse) -> str:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def _lost(error: str) -> Outcome:
    return Outcome(Answer("", error=error, received=False), again=True)


def _refused(status: int, text: str, headers: Mapping[str, str]) -> Outcome:
    """A status other than 200."""
    detail = _detail(text)
    answer = Answer(text[:SHOWN], error=f"HTTP {status}: {detail}", received=False)
    if status == 429 and "insufficient_quota" in text:
        return Outcome(answer, fatal="The account's quota is used up.")
    if status in FATAL:
        return Outcome(answer, fatal=FATAL[status])
    if 300 <= status < 400:
        return Outcome(answer, fatal=f"The server points elsewhere: {headers.get('Location', '')[:200]}")
    pause = _pause(headers.get("Retry-After", ""))
    if pause is not None and pause > LONGEST_WAIT:
        return Outcome(answer, fatal=f"The server asks to come back in {pause:.0f} seconds.")
    return Outcome(answer, again=status in PASSING, pause=pause, too_many=status in (429, 503, 529))


def _received(text: str, seconds: float, guess: int) -> Outcome:
    """A 200: an answer, or something that may be one at the next try. `guess`: tokens of the prompt, if not told."""
    try:
        whole = json.loads(text)
        choice = whole["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        finish = str(choice.get("finish_reason") or "stop")
        aside = message.get("reasoning_content") or message.get("reasoning") or ""
        counted = whole.get("usage") or {}
        usage = Usage(1, int(counted.get("prompt_tokens") or guess), int(counted.get("completion_tokens") or 0))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Outcome(Answer(text[:SHOWN], error="the answer is not one of a chat server", received=False), again=True)
    said, thoughts = part_thinking(content if isinstance(content, str) else "")
    thinking = "\n".join(part for part in (aside if isinstance(aside, str) else "", thoughts) if part)
    error, said = _problem(said, refusal, finish, thinking)
    return Outcome(Answer(said, thinking, finish, usage, seconds, error))


def _problem(said: str, refusal: object, finish: str, thinking: str) -> tuple[str, str]:
    """(what is wrong with an answer that came whole, its text)."""
    if isinstance(refusal, str) and refusal and not said:
        return "the model refuses", refusal
    if finish == "content_filter":
        return "the server's filter held the answer back", said
    if not said and finish == "length":
        return "the answer ran out of tokens" + (" while thinking" if thinking else "") + ": raise max_new_tokens", said
    if not said:
        return "the answer is empty", said
    return "", said


def _detail(text: str) -> str:
    """The message in a server's error."""
    try:
        error = json.loads(text)
        error = error.get("error", error) if isinstance(error, dict) else error
        found = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    except ValueError:
        found = text
    return " ".join(str(found or text).split())[:300] or "no reason given"


def _pause(after: str) -> float | None:
    """Seconds of a Retry-After header, a number or a date; None where it is neither."""
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None
