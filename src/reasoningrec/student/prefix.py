"""Which prompts share a prefix, and in which passes their tokens are computed: plain counting, without a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Tokens: TypeAlias = tuple[int, ...]

FORM_COST: Final = 48
"""Tokens that forming a group must save at least: about what its own calls of the attention cost."""


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that begin alike."""

    prefix: int
    """Tokens that all members begin with; each has at least one more. 0 for a prompt that is alone."""
    members: tuple[int, ...]
    """Indices of the prompts, those that are alike next to each other."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one pass computes of a group."""

    group: Group
    members: tuple[int, ...]
    """Those of the group whose suffixes are computed in this pass."""
    fresh: bool
    """Whether the prefix is computed in this pass, too; else an earlier pass has kept it."""
    kept: bool
    """Whether later passes need the prefix."""


@dataclass(frozen=True, slots=True)
class _Cover:
    """The cheapest groups found for some prompts."""

    members: tuple[int, ...]
    tokens: int
    """Of all members, nothing shared."""
    groups: tuple[Group, ...]
    cost: int
    """Tokens to compute with these groups, and `FORM_COST` for each that shares something."""


@dataclass(slots=True)
class _Branch:
    """Prompts, next to each other in sorted order, that have `depth` tokens in common."""

    depth: int
    parts: list[_Cover] = field(default_factory=list)

    def close(self) -> _Cover:
        """The cheaper of two covers: each part by itself, or one group at this depth of all parts that gain by it."""
        members = tuple(n for part in self.parts for n in part.members)
        tokens = sum(part.tokens for part in self.parts)
        apart = _Cover(
            members,
            tokens,
            tuple(group for part in self.parts for group in part.groups),
            sum(part.cost for part in self.parts),
        )
        joined = [part for part in self.parts if self._joining(part) < part.cost]
        within = tuple(n for part in joined for n in part.members)
        if len(within) < 2:
            return apart
        others = [part for part in self.parts if self._joining(part) >= part.cost]
        groups = (Group(self.depth, within), *(group for part in others for group in part.groups))
        cost = self.depth + FORM_COST + sum(map(self._joining, joined)) + sum(part.cost for part in others)
        return _Cover(members, tokens, groups, cost) if cost < apart.cost else apart

    def _joining(self, part: _Cover) -> int:
        """Tokens of the part's suffixes in a group of this depth."""
        return part.tokens - len(part.members) * self.depth


def share(prompts: Sequence[Tokens]) -> list[Group]:
    """Groups that hold each prompt once, chosen so that few tokens have to be computed.

    Walks the tree of common prefixes (those of neighbours in sorted order are its inner nodes) and decides at each node
    whether what hangs below forms one group there or stays in deeper ones.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda n: prompts[n])
    found = _alone(order[0], prompts)
    open_: list[_Branch] = []
    for before, n in itertools.pairwise(order):
        depth = _common(prompts[before], prompts[n])
        while open_ and open_[-1].depth > depth:
            found = _closed(open_.pop(), found)
        if not open_ or open_[-1].depth < depth:
            open_.append(_Branch(depth))
        open_[-1].parts.append(found)
        found = _alone(n, prompts)
    while open_:
        found = _closed(open_.pop(), found)
    return list(found.groups)


def _alone(n: int, prompts: Sequence[Tokens]) -> _Cover:
    tokens = len(prompts[n])
    return _Cover((n,), tokens, (Group(0, (n,)),), tokens)


def _closed(branch: _Branch, last: _Cover) -> _Cover:
    branch.parts.append(last)
    return branch.close()


def _common(one: Tokens, two: Tokens) -> int:
    """Tokens that both begin with, at least one less than the shorter has: halving, as comparing slices is quick."""
    low, high = 0, min(len(one), len(two)) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return max(low, 0)


def passes(groups: Sequence[Group], lengths: Sequence[int], budget: int) -> Iterator[list[Piece]]:
    """The groups' tokens in passes of at most `budget`; a pass of a single prompt may be longer.

    A prefix is computed in the first pass of its group. `lengths` are those of the prompts, prefix included.
    """
    pieces: list[Piece] = []
    room = budget
    for group in groups:
        waiting = sorted(group.members, key=lambda n: -lengths[n])
        fresh = True
        while waiting:
            own = group.prefix if fresh else 0
            if pieces and room < own + lengths[waiting[0]] - group.prefix:
                yield pieces
                pieces, room = [], budget
            count, used = _fitting([lengths[n] - group.prefix for n in waiting], room - own)
            members, waiting = waiting[:count], waiting[count:]
            pieces.append(Piece(group, tuple(members), fresh, kept=bool(waiting)))
            room -= own + used
            fresh = False
    if pieces:
        yield pieces


def _fitting(suffixes: Sequence[int], room: int) -> tuple[int, int]:
    """(how many from the first on fit into `room`, their tokens); the first always does."""
    used = suffixes[0]
    for count, tokens in enumerate(suffixes[1:], 1):
        if used + tokens > room:
            return count, used
        used += tokens
    return len(suffixes), used
