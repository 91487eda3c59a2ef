"""What may be written next in a text of reasons, by the text alone, whatever its tokens.

A text stands after "Why:" and has two lines, the reasons and, after "Taste:", the taste. An id is several tokens, and
one token may hold part of an id and more. So the rule is on signs: a bracket opens only where some line may be cited;
as long as it is open, the text stays the beginning of such an id; and a token with more than one bracket is written
only where it is one whole citation, as some vocabularies have them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

from reasoningrec.student.form import TASTE

REASONS, BETWEEN, LAST, OVER = range(4)
"""The line of the reasons; the head of the second line, begun; the second line; after it."""
HEAD: Final = TASTE.removeprefix("\n")
WATCHED: Final = frozenset("[]\n\r")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a text has come."""

    line: int = REASONS
    begun: str | None = None
    """What is written of an id whose bracket is open; None = there is none open."""
    head: str = ""
    """What is written of the second line's head."""
    cited: str = ""
    """The id whose bracket was closed last."""


class May(NamedTuple):
    """What is allowed besides words."""

    cite: frozenset[str]
    """Ids that may be cited next."""
    end_line: bool
    """Whether the second line ends with a new line, and the text with it; else with the token that ends a text."""


def advance(place: Place, piece: str, may: May) -> Place | None:
    """Where a text at `place` stands after `piece`; None where `piece` may not be written."""
    if "".join(sign for sign in piece if sign in "[]") not in ("", "[", "]", "[]") or "\r" in piece:
        return None
    at: Place | None = place
    for sign in piece:
        if at is None or at.line == OVER:
            return None
        at = _sign(at, sign, may)
    return at


def _sign(at: Place, sign: str, may: May) -> Place | None:
    if at.begun is not None:
        return _in_brackets(at, at.begun, sign, may)
    if at.line == BETWEEN:
        head = at.head + sign
        if not HEAD.startswith(head):
            return None
        return replace(at, head=head, line=LAST if head == HEAD else BETWEEN)
    opened = {
        "[": replace(at, begun="") if at.line == REASONS and may.cite else None,
        "]": None,
        "\n": replace(at, line=BETWEEN) if at.line == REASONS else replace(at, line=OVER) if may.end_line else None,
    }
    return opened.get(sign, at)


def _in_brackets(at: Place, begun: str, sign: str, may: May) -> Place | None:
    if sign == "]":
        return replace(at, begun=None, cited=begun) if begun in may.cite else None
    grown = begun + sign
    return replace(at, begun=grown) if any(id_.startswith(grown) for id_ in may.cite) else None


class Pieces:
    """A vocabulary's pieces of text, sorted by what can be wrong with them."""

    def __init__(self, pieces: Sequence[str]) -> None:
        """`pieces` are what each token adds to a text; "" for those that are never written."""
        self.all = tuple(pieces)

    @cached_property
    def plain(self) -> tuple[int, ...]:
        """Tokens that may be written wherever words may."""
        return tuple(n for n, piece in enumerate(self.all) if piece and not WATCHED & set(piece))

    @cached_property
    def watched(self) -> tuple[int, ...]:
        """Tokens that open or close something."""
        return tuple(n for n, piece in enumerate(self.all) if WATCHED & set(piece))

    @cached_property
    def by_sign(self) -> dict[str, list[int]]:
        """Tokens by their first sign."""
        found: dict[str, list[int]] = defaultdict(list)
        for n, piece in enumerate(self.all):
            if piece:
                found[piece[0]].append(n)
        return found

    def allowed(self, place: Place, may: May) -> Iterator[int]:
        """Tokens that may be written at `place`, but for the plain ones, which `is_free` tells."""
        candidates: Sequence[int] = self.watched
        if not is_free(place):
            candidates = [token for sign in _next_signs(place, may) for token in self.by_sign.get(sign, ())]
        yield from (token for token in candidates if advance(place, self.all[token], may) is not None)


def is_free(place: Place) -> bool:
    """Whether any words may be written at `place`."""
    return place.begun is None and place.line in (REASONS, LAST)


def _next_signs(place: Place, may: May) -> set[str]:
    """Signs that a piece may begin with where a bracket or a head is open."""
    if place.begun is None:
        return {HEAD[len(place.head)]}
    begun = place.begun
    return {f"{id_}]"[len(begun)] for id_ in may.cite if id_.startswith(begun)}
