"""Yes or No by how likely a chat's next token is, on any server that says so; `local_choosing` is for this machine.

The messages are sent as they are: no form of an answer is asked for, and one token is written.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from reasoningrec.llm import likelihoods
from reasoningrec.llm.client import Message, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.likelihoods import Chance, Likelihood
from reasoningrec.llm.received import GIVERS, Outcome, first_choice, likely, parsed, unread
from reasoningrec.rows import Json

TOPS: Final = (20, 5)
"""Log-probabilities to ask for: OpenAI and vLLM give 20, some servers 5."""
WORDS: Final = ("no", "yes")
INSTEAD: Final = 'Or have the word taken that is written: zero_shot = "word" under [baselines].'


def chance(text: str) -> Chance:
    """P(Yes) from the text of an answer of this module's models, given that it is Yes or No.

    Vocabularies have several tokens for a word (with a space before it, in capitals): their probabilities are added up.
    A word of which none is named is at most as likely as the least of those named, and is taken to be that.

    Raises:
        ValueError, TypeError: the text is another.
    """
    found = likelihoods.loads(text)
    if not all(one.log <= likelihoods.ROUNDING for one in found if _word(one) in WORDS):  # false for nan
        return Chance(None)
    no, yes = (sum(math.exp(one.log) for one in found if _word(one) == word) for word in WORDS)
    if not no + yes > 0:
        return Chance(None)
    least = math.exp(min(one.log for one in found))
    return Chance((yes or least) / ((yes or least) + (no or least)), bounded=not (no and yes))


def _word(one: Likelihood) -> str:
    return one.name.translate(likelihoods.SPACES).strip().lower()


class ServedChooser(Endpoint):
    """A server, asked for log-probabilities of chats. The text of an answer is `likelihoods.dumps` of them."""

    _top: int | None = None
    own: ClassVar = ("max_tokens", "temperature", "logprobs", "top_logprobs")

    def payload(self, request: Request) -> dict[str, Json]:
        """What the server is sent: the first token alone counts, so nothing is drawn."""
        sampling: dict[str, Json] = {"temperature": 0.0, "max_tokens": 1}
        return {
            "model": self.name,
            "messages": turns(request),
            **{name: value for name, value in sampling.items() if name not in self.config.leave_out},
            **{name: value for name, value in self.config.extra.items() if name not in self.own},
            "logprobs": True,
            "top_logprobs": self.top(),
        }

    def learn(self) -> None:
        """Find out how many log-probabilities the server gives."""
        self.top()

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, and whether they were counted with the model's own tokenizer."""
        return self._counter.count(message.text for message in request.messages), self._counter.exact

    def read(self, request: Request, text: str, seconds: float, tokens: int) -> Outcome:
        """Likelihoods from the body of a 200."""
        choice = first_choice(text, lambda found: found["message"]["content"], tokens)
        return likely(choice, seconds) if choice else unread(text, "a chat")

    def top(self) -> int:
        """How many log-probabilities are asked for; found out once for a server and model."""
        if self._top is None:
            known = parsed(self._cache.recall(self._noted) or "")
            self._top = known if known in TOPS else self._find_top() if self._asks else TOPS[0]
        return self._top

    @property
    def _noted(self) -> str:
        return f"log-probabilities of {self.url} {self.name}"

    def _find_top(self) -> int:
        probe = Request("probe", (Message("user", "Is water wet? Yes or No."),), ())
        needed = f"Log-probabilities of chats are needed: {GIVERS} {INSTEAD}"
        found = self.first_taken(TOPS, self._use, probe, needed)
        self._cache.note(self._noted, str(found))
        return found

    def _use(self, top: int | None) -> None:
        self._top = top


def turns(request: Request) -> list[dict[str, Json]]:
    """The messages as they are sent."""
    return [{"role": message.role, "content": message.text} for message in request.messages]
