"""The one protocol between a teacher and whoever writes for it: requests in, replies out, in any order.

A writer that is a model reads `prompt`; the offline writer, having no model, reads `material`, the record the prompt
was rendered from. Both answer in the labelled lines that the prompt asks for, and the same parsers read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from reasoningrec.records import Case, Item


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
    """What a rationale may be written from; the label is given, as in the paper."""

    case: Case
    label: bool
    item_word: str
    taste_words: int
    why_words: int
    max_reasons: int


Material = ItemMaterial | UserMaterial | ReasonMaterial


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be written."""

    id: str
    prompt: str
    material: Material


@dataclass(frozen=True, slots=True)
class Reply:
    """One text, raw as it came."""

    request_id: str
    text: str


class Client(Protocol):
    """Writes texts. Implementations keep requests in flight as they see fit and yield replies as they come."""

    name: str
    """Who wrote: stands as `origin` on every text, and in the fingerprint of the stage."""

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in any order. Raises TeacherError when it cannot go on at all."""
