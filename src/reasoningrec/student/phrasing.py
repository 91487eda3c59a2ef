"""How the texts a student learned from go on, so that a model trained on little stays within their wording.

A place in a text is described by its side (Yes or No), the kind of line it will cite next, whether that line is
conceded, and the tokens before it. A next token is attested there when some text the student learned from goes on so
after the same `ORDER` tokens; where none does, after fewer, down to `LEAST`. Choosing among them is the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

ORDER: Final = 4
"""Tokens before a place that describe it."""
LEAST: Final = 2
"""Tokens before a place that must be known, from the second token on."""
START: Final = -1
"""Stands before a text's first token."""
Place: TypeAlias = tuple[bool, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Wording:
    """One text: its side, what it cites in order, and its tokens after "Why:", the end token included."""

    label: bool
    cites: tuple[str, ...]
    """Kinds of line, as `kinds` gives them."""
    tokens: tuple[int, ...]


def kinds(plan: Sequence[str], conceded: str, named: Mapping[str, str]) -> tuple[str, ...]:
    """The kind of each planned citation: "H" for a history item, else the id; "but ..." where it is conceded.

    `named` maps a line that names a history item to that item's id; the item's kind is then the line's, as in "H>C2".
    """
    by_item = {item: line for line, item in named.items() if line in plan}
    found = []
    for id_ in plan:
        kind = f"H>{by_item[id_]}" if id_ in by_item else "H" if id_.startswith("H") else id_
        found.append(f"but {kind}" if id_ == conceded else kind)
    return tuple(found)


class Phrasing:
    """What may come next, learned from texts; citation tokens of history items count as one."""

    def __init__(self, texts: Iterable[Wording], citations: Mapping[int, str]) -> None:
        """`citations`: token id -> citation id."""
        items = sorted(token for token, id_ in citations.items() if id_.startswith("H"))
        self._same = dict.fromkeys(items, items[0] if items else 0)
        self._items = frozenset(items)
        self._citations = citations
        self._next: dict[Place, set[int]] = {}
        for text in texts:
            self._learn(text)

    def _learn(self, text: Wording) -> None:
        tokens = [START, *(self._same.get(token, token) for token in text.tokens)]
        cited = 0
        for at, token in enumerate(tokens[1:], 1):
            kind = text.cites[cited] if cited < len(text.cites) else ""
            for order in range(min(at, ORDER) + 1):
                self._next.setdefault((text.label, kind, tuple(tokens[at - order : at])), set()).add(token)
            cited += text.tokens[at - 1] in self._citations

    def after(self, label: bool, kind: str, tokens: Sequence[int]) -> Iterator[frozenset[int]]:
        """Attested next tokens, for ever fewer tokens before the place; every history item's where one is attested."""
        near = tuple(self._same.get(token, token) for token in (START, *tokens)[-ORDER:])
        for start in range(max(1, len(near) - LEAST + 1)):
            found = self._next.get((label, kind, near[start:]), set())
            yield frozenset(found) | (self._items if found & self._items else frozenset())
