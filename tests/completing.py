"""A server of completions and chats that a model of transformers answers for, and how it can be no good."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar

import torch

Body = dict[str, Any]
Hurt = Callable[[Body, dict[str, Any]], Any]
"""(request, good answer) -> what is sent instead: JSON, a text as it is, or (status, JSON)."""


def unhurt(_: Body, answer: dict[str, Any]) -> Any:
    return answer


@dataclass
class Completing:
    """What the server does, and what it was asked."""

    model: Any
    tokenizer: Any
    """Of transformers."""
    names: str = "numbers"
    """How it names tokens: "numbers" as vLLM, "texts" as llama-cpp-python, "both" as llama.cpp's own server."""
    takes_tokens: bool = True
    most_top: int = 20
    hurt: Hurt = unhurt
    asked: list[Body] = field(default_factory=list)
    url: str = ""
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, body: Body) -> tuple[int, Any]:
        with self.lock:
            self.asked.append(body)
            if "messages" in body and body.get("top_logprobs", 0) <= self.most_top:
                sent = self.hurt(body, self._chat(body))
                return sent if isinstance(sent, tuple) else (200, sent)
            if isinstance(body.get("prompt"), list) and not self.takes_tokens:
                return 422, {"error": {"message": "prompt: must be a text"}}
            if max(int(body.get("logprobs") or 0), body.get("top_logprobs", 0)) > self.most_top:
                return 400, {"error": {"message": f"at most {self.most_top} log-probabilities"}}
            sent = self.hurt(body, self._good(body))
        return sent if isinstance(sent, tuple) else (200, sent)

    @torch.inference_mode()
    def _chat(self, body: Body) -> dict[str, Any]:
        tokens = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
        logs_V = torch.log_softmax(self.model(input_ids=torch.tensor([tokens])).logits[0, -1].float(), -1)
        choice: dict[str, Any] = {"message": {"content": self.tokenizer.decode([int(logs_V.argmax())])}}
        if body.get("logprobs"):
            choice["logprobs"] = self._by_place(logs_V, body["top_logprobs"])
        return {"choices": [choice], "usage": {"prompt_tokens": len(tokens), "completion_tokens": 1}}

    def _by_place(self, logs_V: torch.Tensor, top: int) -> dict[str, Any]:  # noqa: N803 - V vocabulary
        best = [(int(token), float(logs_V[token])) for token in logs_V.topk(top).indices]
        tops = [{"id": token, "token": self.tokenizer.decode([token]), "logprob": log} for token, log in best]
        return {"content": [{**tops[0], "top_logprobs": tops}]}

    @torch.inference_mode()
    def _good(self, body: Body) -> dict[str, Any]:
        tokens = body["prompt"]
        if isinstance(tokens, str):
            tokens = list(self.tokenizer(tokens)["input_ids"])
        begun, places, finish = len(tokens), [], "length"
        draw = torch.Generator().manual_seed(body.get("seed", 0))
        for _ in range(body["max_tokens"]):
            logits_V = self.model(input_ids=torch.tensor([tokens])).logits[0, -1].float()
            places.append(torch.log_softmax(logits_V, -1))
            if body["temperature"]:
                token = int(torch.multinomial(torch.softmax(logits_V / body["temperature"], -1), 1, generator=draw))
            else:
                token = int(logits_V.argmax())
            if token in body.get("stop_token_ids", []):
                finish = "stop"
                break
            tokens = [*tokens, token]
        text = self.tokenizer.decode(tokens[begun:], skip_special_tokens=not body.get("skip_special_tokens", True))
        for stop in body.get("stop", []):
            if stop in text:
                text, finish = text.partition(stop)[0], "stop"
        choice = {"index": 0, "text": text, "finish_reason": finish}
        if body.get("logprobs"):
            choice["logprobs"] = self._named(places[0], body["logprobs"])
        usage = {"prompt_tokens": begun, "completion_tokens": len(tokens) - begun}
        return {"object": "text_completion", "choices": [choice], "usage": usage}

    def _named(self, logs_V: torch.Tensor, top: int) -> dict[str, Any]:  # noqa: N803 - V vocabulary
        if self.names == "both":
            return self._by_place(logs_V, top)
        best = [(int(token), float(logs_V[token])) for token in logs_V.topk(top).indices]
        name = (
            (lambda token: f"token_id:{token}") if self.names == "numbers" else (lambda t: self.tokenizer.decode([t]))
        )
        return {"tokens": ["x"], "top_logprobs": [{name(token): log for token, log in reversed(best)}]}


class Answering(Protocol):
    """What a server does with requests of completions and chats."""

    url: str

    def answer(self, body: Body) -> tuple[int, Any]: ...


S = TypeVar("S", bound=Answering)


@contextlib.contextmanager
def completing(server: S) -> Iterator[S]:
    """Start it on a free port; its `url` is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path in ("/v1/completions", "/v1/chat/completions")
            status, sent = server.answer(body) if known else (404, {"error": {"message": "Not Found"}})
            content = (sent if isinstance(sent, str) else json.dumps(sent)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.url = f"http://127.0.0.1:{listening.server_port}/v1"
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
