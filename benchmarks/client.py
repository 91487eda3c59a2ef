"""Measure the client of language models: calls per second and memory, against a server that answers in 50 ms.

    python benchmarks/client.py [--calls N] [--memory N] [--keep]

The server runs in a process of its own and does next to nothing, so that what is measured is the client: building the
request, the cache's key, the claim, the call, the answer, and keeping it. `--keep` puts the figures into
benchmarks/results/speed.jsonl; do that on a machine that does nothing else (`load` is recorded with them).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasoningrec.config import BudgetConfig, ModelConfig
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Message, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.remember import Remembering

sys.path.insert(0, str(Path(__file__).parent))

LATENCY = 0.05
IN_FLIGHT = 64
IDEAL = IN_FLIGHT / LATENCY
"""Calls per second, if everything but the server took no time."""
SETTLED = 1000
"""Calls after which memory is measured."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TEXT = "Liked: " + "; ".join(f"A film with number {number}, of which much was written" for number in range(30))


class Stub(asyncio.Protocol):
    """Answers any request after a while."""

    def __init__(self) -> None:
        self._got, self._transport = b"", asyncio.Transport()
        usage = {"prompt_tokens": 500, "completion_tokens": 60}
        message = {
            "role": "assistant",
            "content": "Prediction: Yes\nWhy: " + "It goes with what was liked before. " * 8,
        }
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._answer = (head + body).encode()

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the request is whole."""
        self._got += data
        head, parted, body = self._got.partition(b"\r\n\r\n")
        if parted and len(body) >= int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            self._got = b""
            asyncio.get_running_loop().call_later(LATENCY, self._transport.write, self._answer)


async def serve() -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The server's address, in another process."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


def requests(count: int) -> Iterator[Request]:
    """As long as those of a run."""
    system = Message("system", "You explain why a recommendation fits.")
    for number in range(count):
        yield Request(f"{number}", (system, Message("user", f"Viewer {number}. {TEXT}")), ("Prediction", "Why"))


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE / 1e6


@contextlib.contextmanager
def client() -> Iterator[Remembering]:
    """A client on a new cache."""
    with tempfile.TemporaryDirectory() as folder, serving() as url, Cache(Path(folder) / "answers.sqlite") as cache:
        config = ModelConfig(endpoint=url, model="stub", answer_form="lines", concurrency=IN_FLIGHT)
        yield Remembering(Endpoint(config, Purse(BudgetConfig()), cache), cache, "benchmark")


def measure_speed(calls: int) -> dict[str, Any]:
    """Calls per second, as a share of the ideal."""
    with client() as asked:
        begun, worked = time.perf_counter(), time.process_time()
        assert sum(reply.answered for reply in asked.answer(requests(calls))) == calls
        seconds, worked = time.perf_counter() - begun, time.process_time() - worked
    return {
        "name": "client-calls", "value": round(calls / seconds, 1), "unit": "calls/s",
        "baseline": f"ideal: {IN_FLIGHT} in flight, {LATENCY * 1000:.0f} ms each", "baseline_value": IDEAL,
        "ratio": round(calls / seconds / IDEAL, 4), "calls": calls, "in_flight": IN_FLIGHT, "latency_s": LATENCY,
        "cpu_ms_per_call": round(1000 * worked / calls, 4),
    }  # fmt: skip


def measure_memory(calls: int) -> dict[str, Any]:
    """By how much the process grows after it has settled."""
    sizes = []
    with client() as asked:
        for number, _ in enumerate(asked.answer(requests(calls)), start=1):
            if number >= SETTLED and number % 250 == 0:
                sizes.append(resident())
    return {
        "name": "client-memory-growth", "value": round(max(sizes) - sizes[0], 2), "unit": "MB",
        "baseline": f"resident after {SETTLED} calls", "baseline_value": round(sizes[0], 1),
        "ratio": round(max(sizes) / sizes[0], 4), "calls": calls, "in_flight": IN_FLIGHT, "latency_s": LATENCY,
    }  # fmt: skip


def main() -> None:
    """Measure, show, and keep if asked to."""
    parser = argparse.ArgumentParser(description="Measure the client of language models.")
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--memory", type=int, default=20_000, metavar="CALLS")
    parser.add_argument("--keep", action="store_true", help="into benchmarks/results/speed.jsonl")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve())
        return
    load = round(os.getloadavg()[0], 2)
    found = [measure_speed(asked.calls), measure_memory(asked.memory)]
    for row in found:
        print(f"{row['name']:<22}{row['value']:>9} {row['unit']:<9}{row['ratio']:>8} of {row['baseline']}")
    print(f"load before: {load} on {os.cpu_count()} cores; {found[0]['cpu_ms_per_call']} ms of processor to a call")
    if asked.keep:
        from keeping import keep  # late: it brings 200 MB of libraries, and the memory measured is to be the client's
        from table import RESULTS

        keep(RESULTS / "speed.jsonl", found, load=load)


if __name__ == "__main__":
    main()
