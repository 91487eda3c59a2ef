"""Texts that are begun, on any server with OpenAI's completions: vLLM, SGLang, llama.cpp.

A student is asked in the very tokens it learned from, where the server takes tokens, else in the text that gives them.
Which of the two, and how many log-probabilities the server gives, is found out once by a small request.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Final, NamedTuple

from reasoningrec.config import ModelConfig
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Answer, Opened, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.received import GIVERS, Outcome, first_choice, likely, parsed, unread
from reasoningrec.llm.settings import answering
from reasoningrec.rows import Json


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
        choice = first_choice(text, lambda found: found["text"], tokens)
        if choice is None:
            return unread(text, "a server of completions")
        if request.opened.likelihoods:
            return likely(choice, seconds)
        return Outcome(Answer(choice.text, "", choice.finish, choice.usage, seconds))

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
        opened = dataclasses.replace(self._sample.opened, most=1, likelihoods=True)
        ways = WAYS if opened.text is not None else WAYS[:2]
        needed = f"Log-probabilities of completions are needed: {GIVERS}"
        found = self.first_taken(ways, self._use, Request("probe", (), (), opened=opened), needed)
        self._cache.note(self._noted, json.dumps(found))
        return found

    def _use(self, way: Way | None) -> None:
        self._way = way

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
