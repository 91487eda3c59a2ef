"""Inference servers as child processes: started on a free port, asked, and ended with all they began."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_model import CONTEXT

ROOT = Path(__file__).parents[2]
NAME = "small"
"""What the model is called in requests."""
ADAPTER = "shop"
"""And an adapter beside it."""
UP_SECONDS, ANSWER_SECONDS, END_SECONDS = 300, 120, 20
PATH = "/chat/completions"
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
}


def vllm(model: Path, port: int) -> list[str]:
    """The command line that serves a model's folder by vLLM."""
    python = str(ROOT / ".venv-vllm/bin/python")
    where = ["--model", str(model), "--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)]
    how = ["--dtype", "float32", "--enforce-eager", "--max-model-len", str(CONTEXT)]
    return [python, "-m", "vllm.entrypoints.openai.api_server", *where, *how]


def llamacpp(model: Path, port: int) -> list[str]:
    """The command line that serves a GGUF file by llama.cpp."""
    python = str(ROOT / ".venv-llamacpp/bin/python")
    where = ["--model", str(model), "--model_alias", NAME, "--host", "127.0.0.1", "--port", str(port)]
    return [python, "-m", "llama_cpp.server", *where, "--n_ctx", str(CONTEXT)]


def vllm_with(adapter: Path) -> Callable[[Path, int], list[str]]:
    """As `vllm`, with an adapter served beside its base, under the name of `ADAPTER`."""

    def vllm_lora(model: Path, port: int) -> list[str]:
        return [*vllm(model, port), "--enable-lora", "--lora-modules", f"{ADAPTER}={adapter}"]

    return vllm_lora


def llamacpp_logprobs(model: Path, port: int) -> list[str]:
    """As `llamacpp`, with log-probabilities."""
    return [*llamacpp(model, port), "--logits_all", "true"]


@dataclass(frozen=True)
class Server:
    """A server that is up."""

    kind: str
    url: str
    """As a client wants it, up to /v1."""
    log: Path

    def ask(self, text: str, **fields: Any) -> tuple[int, Any]:
        """Status and body of the answer to one message of the user; a field that is None is left out of the request."""
        body = {"model": NAME, "messages": [{"role": "user", "content": text}], "max_tokens": 200, "temperature": 0.0}
        return call(self.url + PATH, {name: value for name, value in {**body, **fields}.items() if value is not None})

    def text(self, text: str, **fields: Any) -> str:
        """The answer alone."""
        status, body = self.ask(text, **fields)
        assert status == 200, body
        return body["choices"][0]["message"]["content"]

    def asked(self, path: str = PATH) -> int:
        """How often a text was asked for so far, by the server's own log."""
        return self.log.read_text("utf-8", "replace").count(f"POST /v1{path} HTTP")

    def metric(self, name: str) -> float:
        """A counter of vLLM's, summed over its labels."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/metrics", timeout=ANSWER_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


def call(url: str, body: object = None) -> tuple[int, Any]:
    """GET, or POST where there is a body: the status, and what came, as JSON where it is that."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
        try:
            return error.code, json.loads(text)
        except json.JSONDecodeError:
            return error.code, text


@contextlib.contextmanager
def serving(command: Callable[[Path, int], list[str]], model: Path, folder: Path) -> Iterator[Server]:
    """Start a server and wait until it lists its models; its output goes to a log in `folder`.

    Raises:
        RuntimeError: it ended, or was not up in time; the end of its log is in the message.
    """
    port = free_port()
    server = Server(command.__name__, f"http://127.0.0.1:{port}/v1", folder / f"{command.__name__}.log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command(model, port),
            cwd=folder,
            env={**os.environ, **SETTINGS},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, process)
        yield server
    finally:
        _end(process)


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log."""
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + UP_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{server.kind} ended with {process.returncode}:\n{tail(server.log)}")
        with contextlib.suppress(OSError):
            if call(f"{server.url}/models")[0] == 200:
                return
        time.sleep(0.5)
    raise RuntimeError(f"{server.kind} was not up after {UP_SECONDS} s:\n{tail(server.log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process of its group."""
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, deadly)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
