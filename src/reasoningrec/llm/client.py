"""The one protocol between a teacher and whoever writes for it: requests in, replies out, in any order.

A writer that is a model reads `messages`; the offline writer, having no model, reads `material`, the record the
messages were rendered from. Both answer in the labelled lines named by `fields`, and the same parsers read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from reasoningrec.records import Case, Item
from reasoningrec.rows import Json


@dataclass(frozen=True, slots=True)
class ItemMaterial:
    """What a description may be written from."""

    item: Item
    item_word: str
    details: str
    reviews: tuple[str, ...]
    """Oldest first; only those the protocol allows."""
    words: int


@dataclass(frozen=True, slots=True)
class Past:
    """One row of a user's past, for a profile."""

    item: Item
    liked: bool
    review: str


@dataclass(frozen=True, slots=True)
class UserMaterial:
    """What a profile may be written from."""

    user: str
    item_word: str
    past: tuple[Past, ...]
    """Oldest first; only rows before the windows."""
    words: int


@dataclass(frozen=True, slots=True)
class ReasonMaterial:
    """What a rationale may be written from."""

    case: Case
    label: bool | None
    """None where the writer is not to know it."""
    item_word: str
    taste_words: int
    why_words: int
    max_reasons: int


Material = ItemMaterial | UserMaterial | ReasonMaterial


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A text that is begun, to be gone on with as it stands: no chat is made of it."""

    tokens: tuple[int, ...]
    """As the model is to read it, beginning of text and all."""
    text: str | None
    """The same for a server that takes no tokens and makes them itself; None = no text gives these tokens."""
    most: int = 1
    """Tokens to write at most."""
    temperature: float = 0.0
    likelihoods: bool = False
    """Whether nothing is wanted but how likely the next tokens are."""
    end: int = 0
    """The token that ends the text."""
    stop: str = ""
    """What the text is cut before; "" = nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be written.

    Attributes:
        id: unique among the requests that are asked together.
        messages: the chat so far; the client appends, to the last one, the form that the answer is to have.
        fields: names of the lines that the answer must have, in order; `Prediction` is Yes or No.
        material: what the messages were rendered from; None where only a model can answer.
        words: at most so many are asked for in all, for estimates.
        seed: of the draw, where the model draws; another seed is another request.
        opened: a text to go on with, in place of messages and fields.
    """

    id: str
    messages: tuple[Message, ...]
    fields: tuple[str, ...]
    material: Material | None = None
    words: int = 0
    seed: int = 0
    opened: Opened | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, as the model's server counts them."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """One text, raw as it came, without what the model thought before it."""

    request_id: str
    text: str
    usage: Usage = field(default_factory=Usage)
    error: str = ""
    """Why there is no text that may be read; `text` is then whatever came instead."""
    answered: bool = True
    """False where no answer was received, so that the same request may be put again."""
    finish: str = "stop"
    """Why it ended, in the words of its server."""


class Client(Protocol):
    """Writes texts. Implementations keep requests in flight as they see fit and yield replies as they come."""

    name: str
    """Who wrote: stands as `origin` on every text."""

    @property
    def settings(self) -> Mapping[str, Json]:
        """All of its configuration that can change an answer."""

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in any order.

        Requests are taken from the iterable as there is room for them. Raises TeacherError when it cannot go on at all;
        what was answered until then has been yielded.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model gave for one call."""

    text: str
    thinking: str = ""
    """What it thought before; kept in the cache, never shown, never trained on."""
    finish: str = "stop"
    """Why it ended, in the words of its server: "stop", "length", ..."""
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    error: str = ""
    """Why this is no answer; `text` is then whatever came instead."""
    received: bool = True
    """Whether a whole answer came, good or bad; only such are kept, and never asked for again."""


class Model(Protocol):
    """A language model behind a `Client`: knows how to say a request whole, and how to get it answered."""

    name: str
    rescued: list[tuple[Request, Answer]]
    """Answers that had come when whoever took them was interrupted; to be kept by whoever asked."""

    @property
    def settings(self) -> Mapping[str, Json]:
        """All of its configuration that can change an answer."""

    def body(self, request: Request) -> dict[str, Json]:
        """The whole request, everything that can change its answer; its canonical JSON is the key of the cache."""

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """An answer for each request, in any order. Raises TeacherError when it cannot go on at all."""

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, and whether they were counted with the model's own tokenizer (else estimated)."""
