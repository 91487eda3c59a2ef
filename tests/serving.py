"""A chat server that behaves badly on purpose, in a process of its own: `with serving(trouble=0.3) as server: ...`.

What it does to a request is decided by a hash of the request and of how often it was seen, so that runs are alike. It
counts what it fully answered, that is, what a client has received or could have: a whole chat answer under status 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

from aiohttp import web

PASSING = (
    "429", "429-seconds", "429-date", "500", "502", "503", "silence", "drop", "drop-at-once", "truncated", "empty-body",
    "html-200", "html-502", "no-choices", "null-message", "error-200", "nonsense", "deep", "not-text",
)  # fmt: skip
"""After these, another try can help."""
FINAL = ("400", "422")
"""Another try cannot help this request."""
FATAL = ("401", "402", "403", "404", "quota", "redirect", "429-late")
"""Nothing can help any request."""
BAD = ("empty-content", "null-content", "refusal", "refused-in-words", "wrong-form", "unclosed", "length", "filter")
"""Answers that are received and count, but say nothing of use."""
ODD = ("tags", "no-opening-tag", "aside", "no-usage", "usage-in-text", "mad-usage", "surrogate", "in-parts")
"""Answers that are good, and oddly put."""


@dataclass(frozen=True)
class Manner:
    """How the server behaves."""

    trouble: float = 0.0
    """Share of requests that meet something of `kinds`."""
    kinds: tuple[str, ...] = (*PASSING, *BAD, *ODD)
    times: int = 0
    """Times that a request may meet trouble; then it is answered well. 0 = any number."""
    latency: float = 0.0
    spread: float = 0.0
    """Share by which latencies differ."""
    schemas: str = "known"
    """"known", "refused" (400), "ignored"."""
    echo: bool = False
    """Whether the key is repeated in whatever it says."""
    room: int = 0
    """Requests in flight above which it says 429; 0 = any number."""
    retry_after: str = "0.01"
    seed: int = 0


@dataclass
class Counts:
    """What happened so far."""

    answered: dict[str, int] = field(default_factory=dict)
    """SHA-256 of a request's body -> how often it was fully answered."""
    seen: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    peak: int = 0
    input_tokens: int = 0
    """As told in full answers; where it told none or nonsense, they are not in here."""
    output_tokens: int = 0
    uncounted: int = 0
    """Full answers without a sound count of tokens."""

    @property
    def twice(self) -> int:
        """Full answers to what had been fully answered before."""
        return sum(self.answered.values()) - len(self.answered)


class Serving:
    """The server's end, for tests."""

    def __init__(self, address: str) -> None:
        self.address, self.url = address, f"{address}/v1"

    def counts(self) -> Counts:
        return Counts(**self._call("/counts"))

    def behave(self, **manner: Any) -> None:
        """From now on."""
        self._call("/manner", asdict(Manner(**manner)))

    def forget(self) -> None:
        """Begin to count anew."""
        self._call("/forget", {})

    def last(self) -> Any:
        """The latest request's body."""
        return self._call("/last")

    def _call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.address}{path}", data=data, timeout=20) as answer:
            return json.load(answer)


@contextlib.contextmanager
def serving(**manner: Any) -> Iterator[Serving]:
    """A server that lives until the block ends."""
    command = [sys.executable, "-I", str(Path(__file__).resolve()), json.dumps(asdict(Manner(**manner)))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Serving(process.stdout.readline().strip())
        finally:
            process.stdin.close()  # it ends with us, however we end
            process.wait(20)


class Server:
    """The server itself."""

    def __init__(self, manner: Manner) -> None:
        self.manner, self.counted = manner, Counts()
        self.seen: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.body = b"null"

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.counted.in_flight += 1
        self.counted.peak = max(self.counted.peak, self.counted.in_flight)
        try:
            return await self._serve(request, await request.read())
        finally:
            self.counted.in_flight -= 1

    async def _serve(self, request: web.Request, body: bytes) -> web.StreamResponse:
        self.body = body
        key = hashlib.sha256(body).hexdigest()
        kind, luck = self._choose(key)
        self.seen[key] += 1
        self.kinds[kind] += 1
        chat = Chat(request, json.loads(body), self.manner, key, luck)
        await asyncio.sleep(self.manner.latency * (1 + self.manner.spread * (2 * luck - 1)))
        failure = FAILURES.get(kind)
        if failure is not None:
            return await failure(chat)
        sent = await chat.answer(kind)
        self.answered[key] += 1
        self._count(chat.usage)
        return sent

    def _choose(self, key: str) -> tuple[str, float]:
        """(what to do, a number between 0 and 1)."""
        manner = self.manner
        text = f"{manner.seed} {key} {self.seen[key]}".encode()
        first, second, third = (int.from_bytes(hashlib.sha256(text).digest()[i : i + 8]) / 2**64 for i in (0, 8, 16))
        if manner.room and self.counted.in_flight > manner.room:
            return "429-seconds", third
        over = bool(manner.times) and self.seen[key] >= manner.times
        troubled = first < manner.trouble and not over
        return (manner.kinds[int(second * len(manner.kinds))] if troubled else "well"), third

    def _count(self, usage: Any) -> None:
        tokens = (usage or {}).get("prompt_tokens"), (usage or {}).get("completion_tokens")
        try:
            given, written = map(int, tokens)
            assert 0 < given < 10**6
            assert 0 < written < 10**6
        except (TypeError, OverflowError, AssertionError):
            self.counted.uncounted += 1
        else:
            self.counted.input_tokens += given
            self.counted.output_tokens += written

    async def counts(self, _: web.Request) -> web.Response:
        told = replace(self.counted, answered=dict(self.answered), seen=dict(self.seen), kinds=dict(self.kinds))
        return web.json_response(asdict(told))

    async def behave(self, request: web.Request) -> web.Response:
        told = await request.json()
        known = {item.name for item in fields(Manner)}
        self.manner = Manner(**{name: value for name, value in told.items() if name in known})
        return web.json_response({})

    async def forget(self, _: web.Request) -> web.Response:
        for counter in (self.seen, self.answered, self.kinds):
            counter.clear()
        self.counted = Counts(in_flight=self.counted.in_flight)
        return web.json_response({})

    async def last(self, _: web.Request) -> web.Response:
        return web.Response(body=self.body, content_type="application/json")


class Chat:
    """One request, and the ways to answer it."""

    def __init__(self, request: web.Request, body: dict[str, Any], manner: Manner, key: str, luck: float) -> None:
        self.request, self.body, self.manner, self.key, self.luck = request, body, manner, key, luck
        self.echo = f" {request.headers.get('Authorization', '')}" if manner.echo else ""
        self.usage: Any = {"prompt_tokens": 100 + len(key) % 7, "completion_tokens": 20 + int(key[:2], 16) % 30}

    async def answer(self, kind: str) -> web.StreamResponse:
        """A whole chat answer, written out to the last byte."""
        if self.schema and self.manner.schemas == "refused":
            return await self.refuse(400, "response_format is not supported")
        choice = {"index": 0, "message": self._message(kind), "finish_reason": self._finish(kind)}
        whole = {"id": "x", "object": "chat.completion", "choices": [choice], **self._usage(kind)}
        return await self.send(200, json.dumps(whole))

    @property
    def schema(self) -> Any:
        return self.body.get("response_format", {}).get("json_schema", {}).get("schema")

    def text(self) -> str:
        """A good answer in the form that was asked for."""
        said = f"So says the model about {self.key[:12]}.{self.echo}"
        if self.schema and self.manner.schemas == "known":
            return json.dumps({name: kind.get("enum", [said])[0] for name, kind in self.schema["properties"].items()})
        asked = re.findall(r"^(\w+): (?:\.\.\.|Yes or No)$", self.body["messages"][-1]["content"], re.MULTILINE)
        return "\n".join(f"{name}: {'Yes' if name == 'Prediction' else said}" for name in asked or ["Why"])

    def _message(self, kind: str) -> dict[str, Any]:
        text = self.text()
        ways: dict[str, dict[str, Any]] = {
            "empty-content": {"content": ""},
            "null-content": {"content": None},
            "refusal": {"content": None, "refusal": f"I cannot help with that.{self.echo}"},
            "refused-in-words": {"content": "I'm sorry, but I can't help with that."},
            "wrong-form": {"content": "Well... yes?"},
            "unclosed": {"content": f"<think>Hm. {text}"},
            "length": {"content": None, "reasoning_content": "Let me see, and see, and"},
            "filter": {"content": ""},
            "tags": {"content": f"<think>Hm.{self.echo}</think>\n\n{text}"},
            "no-opening-tag": {"content": f"Hm.</think>\n{text}"},
            "aside": {"content": text, "reasoning_content": f"Hm.{self.echo}"},
            "surrogate": {"content": text + "\ud83d"},
            "in-parts": {"content": [{"type": "text", "text": text}]},
        }
        return {"role": "assistant", **ways.get(kind, {"content": text})}

    def _finish(self, kind: str) -> str | None:
        return {"length": "length", "filter": "content_filter", "aside": None}.get(kind, "stop")

    def _usage(self, kind: str) -> dict[str, Any]:
        if kind == "usage-in-text":
            self.usage = {name: str(count) for name, count in self.usage.items()}
        elif kind == "mad-usage":
            self.usage = {"prompt_tokens": float("inf"), "completion_tokens": -(10**30)}
        elif kind == "no-usage":
            self.usage = None
            return {}
        return {"usage": self.usage}

    async def refuse(self, status: int, message: str, **headers: str) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(status, json.dumps({"error": {"message": message + self.echo}}), named)

    async def send(self, status: int, text: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **(headers or {})})
        body = text.encode("utf-8", "replace")
        response.content_length = len(body)
        await response.prepare(self.request)
        await response.write(body)
        await response.write_eof()
        return response

    async def too_many(self) -> web.StreamResponse:
        return await self.refuse(429, "Too many requests", Retry_After=self.manner.retry_after)

    async def date(self) -> web.StreamResponse:
        return await self.refuse(429, "Too many", Retry_After=formatdate(time.time() - 0.5, usegmt=True))

    async def silence(self) -> web.StreamResponse:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while self.request.transport is not None and not self.request.transport.is_closing():
                    await asyncio.sleep(0.05)
        return web.Response(status=504)

    async def drop(self) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers={"Content-Type": "application/json"})
        response.content_length = 5000
        await response.prepare(self.request)
        await response.write(b'{"choices": [{"message": {"content": "Pred')
        self.cut()
        return response

    async def drop_at_once(self) -> web.StreamResponse:
        self.cut()
        return web.Response()

    def cut(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


def _refusing(status: int, message: str, **headers: str) -> Callable[[Chat], Awaitable[web.StreamResponse]]:
    return lambda chat: chat.refuse(status, message, **headers)


def _saying(text: str, status: int = 200) -> Callable[[Chat], Awaitable[web.StreamResponse]]:
    return lambda chat: chat.send(status, text.replace("ECHO", json.dumps(chat.echo)[1:-1]))


def _pointing(chat: Chat) -> Awaitable[web.StreamResponse]:
    return chat.refuse(307, "Elsewhere", Location=f"http://127.0.0.1:9/v2?{chat.echo.replace(' ', '%20')}")


HTML = "<html><body><h1>Bad gateway ECHO</h1></body></html>"
FAILURES: dict[str, Callable[[Chat], Awaitable[web.StreamResponse]]] = {
    "429": _refusing(429, "Rate limit reached"),
    "429-seconds": Chat.too_many,
    "429-date": Chat.date,
    "429-late": _refusing(429, "Come back tomorrow", Retry_After="86400"),
    "500": _refusing(500, "Internal error"),
    "502": _refusing(502, "Bad gateway"),
    "503": _refusing(503, "Overloaded"),
    "400": _refusing(400, "The prompt is too long"),
    "422": _refusing(422, "seed: unknown field"),
    "401": _refusing(401, "Incorrect API key provided:"),
    "402": _refusing(402, "Insufficient balance"),
    "403": _refusing(403, "Not allowed"),
    "404": _refusing(404, "The model does not exist"),
    "quota": lambda chat: chat.send(429, '{"error": {"code": "insufficient_quota", "message": "Pay first"}}'),
    "redirect": _pointing,
    "silence": Chat.silence,
    "drop": Chat.drop,
    "drop-at-once": Chat.drop_at_once,
    "truncated": _saying('{"choices": [{"message": {"content": "Predic ECHO'),
    "empty-body": _saying(""),
    "html-200": _saying(HTML),
    "html-502": _saying(HTML, 502),
    "no-choices": _saying('{"choices": []}'),
    "null-message": _saying('{"choices": [{"message": null}]}'),
    "error-200": _saying('{"error": {"message": "Upstream failed ECHO", "code": 502}}'),
    "nonsense": _saying('[1, "two", ECHO]'),
    "deep": _saying("[" * 100_000),
    "not-text": _saying('{"choices": "none"}'),
}


async def _serve(manner: Manner) -> None:
    server = Server(manner)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/counts", server.counts)
    app.router.add_post("/manner", server.behave)
    app.router.add_post("/forget", server.forget)
    app.router.add_get("/last", server.last)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started us closes it, or ends
    await runner.cleanup()


def main(arguments: Sequence[str]) -> None:
    logging.disable()  # clients that are killed are no news
    told = json.loads(arguments[0])
    asyncio.run(_serve(Manner(**{**told, "kinds": tuple(told["kinds"])})))


if __name__ == "__main__":
    main(sys.argv[1:])
