"""Texts that are begun, on any server with OpenAI's completions: vLLM, SGLang, llama.cpp.

A student is asked in the very tokens it learned from, where the server takes tokens, else in the text that gives them.
Which of the two, and how many log-probabilities the server gives, is found out once by a small request.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Final, NamedTuple

from reasoningrec.config import ModelConfig
from reasoningrec.errors import TeacherError
from reasoningrec.llm import likelihoods
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Opened, Request, Usage
from reasoningrec.llm.endpoint import NOT_WELL, UNKNOWN, Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.received import SHOWN, Outcome, detail, parsed, usage_of
from reasoningrec.llm.settings import answering
from reasoningrec.llm.tokens import estimate
from reasoningrec.rows import Json

SILENT: Final = "the server gives no log-probabilities, from which a student's decision is read"
GIVERS: Final = (
    "vLLM, SGLang and llama.cpp's server give them; llama-cpp-python with `--logits_all true`; `transformers serve` "
    "does not."
)


class Way(NamedTuple):
    """How a server is asked."""

    tokens: bool
    """Whether it takes tokens; else text."""
    top: int
    """Log-probabilities that it gives."""


WAYS: Final = (Way(True, 20), Way(True, 5), Way(False, 20), Way(False, 5))
"""The first that a server takes is taken. vLLM gives 20 unless told otherwise, OpenAI 5."""


class Sample(NamedTuple):
    """What a server may be tried with."""

    opened: Opened
    student: str
    """Digest of the student that is served: another one's answers are others, under the same name."""


class Completions(Endpoint):
    """See the module. The text of an answer to a request for likelihoods is `likelihoods.dumps` of them."""

    path: ClassVar = "/completions"

    def __init__(self, config: ModelConfig, purse: Purse, cache: Cache, sample: Sample, *, seed: int = 0) -> None:
        """As `Endpoint`. Raises ConfigError where the key is not there."""
        super().__init__(config, purse, cache, seed=seed)
        self._sample = sample
        self._way: Way | None = None
        self.settings = {**answering(config), "student": sample.student}

    def body(self, request: Request) -> dict[str, Json]:
        """Server, model, prompt, sampling, and which student that is."""
        return {**super().body(request), "student": self._sample.student}

    def payload(self, request: Request) -> dict[str, Json]:
        """What the server is sent. Fields that only some servers know are passed over by the others."""
        return self._asked(request, self.way())

    def learn(self) -> None:
        """Find out whether the server takes tokens, and how many log-probabilities it gives."""
        self.way()

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, which are known."""
        assert request.opened is not None
        return len(request.opened.tokens), True

    def read(self, request: Request, text: str, seconds: float, tokens: int) -> Outcome:
        """A text, or likelihoods, from the body of a 200."""
        assert request.opened is not None
        whole = parsed(text)
        try:
            choice = whole["choices"][0]
            written, finish = str(choice["text"] or ""), str(choice.get("finish_reason") or "stop")
            found = likelihoods.read(choice.get("logprobs"))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            error = f"the answer is not one of a server of completions: {detail(text)}"
            return Outcome(Answer(text[:SHOWN], error=error, received=False), again=True)
        usage = usage_of(whole.get("usage"), Usage(1, tokens, estimate([written])))
        if not request.opened.likelihoods:
            return Outcome(Answer(written, "", finish, usage, seconds))
        if not found:
            return Outcome(Answer(written[:SHOWN], error=SILENT, received=False), fatal=GIVERS)
        return Outcome(Answer(likelihoods.dumps(found), "", finish, usage, seconds))

    def way(self) -> Way:
        """How the server is asked; found out once for a server and model, by one small request or a few."""
        if self._way is None:
            known = parsed(self._cache.recall(self._noted) or "")
            self._way = Way(*known) if isinstance(known, list) else self._find_way()
        return self._way

    @property
    def _noted(self) -> str:
        return f"completions of {self.url} {self.name}"

    def _find_way(self) -> Way:
        self._retries = min(1, self.config.retries)  # some say 500 to what they do not know, however often
        try:
            for way in WAYS if self._sample.opened.text is not None else WAYS[:2]:
                answer = self._try_way(way)
                if answer.received:
                    self._cache.note(self._noted, json.dumps(way))
                    return way
                if not answer.error.startswith(UNKNOWN):
                    break
        finally:
            self._way, self._retries = None, self.config.retries
        hint = (
            f"Log-probabilities of completions are needed: {GIVERS}" if answer.error.startswith(UNKNOWN) else NOT_WELL
        )
        raise TeacherError(f"{self.url}: {answer.error}", hint=hint)

    def _try_way(self, way: Way) -> Answer:
        self._way = way
        opened = dataclasses.replace(self._sample.opened, most=1, likelihoods=True)
        ((_, answer),) = self.send([Request("probe", (), (), opened=opened)])
        return answer

    def _asked(self, request: Request, way: Way) -> dict[str, Json]:
        opened = request.opened
        assert opened is not None
        sampling: dict[str, Json] = {
            "temperature": opened.temperature,
            "max_tokens": opened.most,
            "seed": request.seed,
        }
        further: dict[str, Any] = {"stop_token_ids": [opened.end], "skip_special_tokens": False}
        if opened.stop:
            further["stop"] = [opened.stop]
        if opened.likelihoods:
            further = {"logprobs": way.top, "return_tokens_as_token_ids": True}
        text = None if way.tokens else opened.text
        return {
            "model": self.name,
            "prompt": list(opened.tokens) if text is None else text,
            **{name: value for name, value in sampling.items() if name not in self.config.leave_out},
            **further,
            **self.config.extra,
        }
