"""Whether a model's packed passes say what its plain ones say: found out once for each model, and remembered.

A model whose code cannot run in the packed form, or gives other numbers there, is scored the plain way from then on.
"""

# Names end in their axes: B rows, L prompts, F features of a hidden state.
# ruff: noqa: N806

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from reasoningrec.student.packed import CannotPackError, Kept, PackedBody
from reasoningrec.student.prefix import Group, Piece, Tokens

LOG: Final = logging.getLogger(__name__)
TOLERANCE: Final = {True: (1e-4, 1e-4), False: (5e-2, 5e-2)}
"""By whether weights have 32 bits or more: greatest difference of P(Yes), and relative difference of hidden states.

The second notices what the first cannot: a model that has learned nothing says the same of all.
"""
UNFIT: Final = (CannotPackError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""How a model's code fails that cannot run in the packed form."""


@dataclass(frozen=True, slots=True)
class PlainWay:
    """The plain way to score, which packed passes must agree with."""

    last: Callable[[Sequence[Tokens]], torch.Tensor]
    """Prompts -> last_BF, the hidden state that follows each."""
    decide: Callable[[torch.Tensor], torch.Tensor]
    """last_BF -> P(Yes), (B,)."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is known of a model: under which circumstances, and the body to use; None for the plain way."""

    circumstances: Hashable
    body: PackedBody | None


_FOUND: Final[weakref.WeakKeyDictionary[Any, dict[bool, _Finding]]] = weakref.WeakKeyDictionary()
"""By model, and by whether prompts are longer than what its layers see at a time."""


def trusted(model: Any, prompts: Sequence[Tokens], groups: Sequence[Group], plain: PlainWay) -> PackedBody | None:
    """The model's packed body where it agrees with the plain way, else None.

    Args:
        model: a causal LM of `transformers`.
        prompts: what is to be scored.
        groups: of more than one member each, at least one.
        plain: what to compare with, on a few members of the group with the longest prompt.
    """
    if not isinstance(model.base_model, torch.nn.Module):
        return None
    chosen = max(groups, key=lambda group: _longest(group, prompts))
    known = _FOUND.setdefault(model, {})
    beyond = _longest(chosen, prompts) > _reach(model)
    circumstances = _circumstances(model)
    if beyond not in known or known[beyond].circumstances != circumstances:
        found = _find(model, [prompts[n] for n in _sample(chosen, prompts)], chosen.prefix, plain)
        if found is None:
            return None
        known[beyond] = _Finding(circumstances, found[0])
    return known[beyond].body


def _find(model: Any, prompts: Sequence[Tokens], prefix: int, plain: PlainWay) -> tuple[PackedBody | None] | None:
    """(the body to use or None,), or None where the numbers are no numbers and nothing can be told."""
    plain_LF = plain.last(prompts)
    if not plain_LF.isfinite().all():
        return None
    for early in (True, False):
        try:
            body = PackedBody(model, early)
            packed_LF = _packed(body, prompts, prefix)
        except UNFIT as error:
            LOG.info("the model's code cannot share prefixes (early=%s): %s: %s", early, type(error).__name__, error)
            continue
        p = float((plain.decide(packed_LF) - plain.decide(plain_LF)).abs().max())
        hidden = float((packed_LF - plain_LF).float().norm() / plain_LF.float().norm())
        most_p, most_hidden = TOLERANCE[plain_LF.element_size() >= 4]
        # Written so that NaN does not pass.
        if p <= most_p and hidden <= most_hidden:
            return (body,)
        LOG.info("sharing prefixes (early=%s) changes P(Yes) by %.2g, hidden states by %.2g", early, p, hidden)
    return (None,)


def _packed(body: PackedBody, prompts: Sequence[Tokens], prefix: int) -> torch.Tensor:
    """last_LF of the prompts in two passes: the first computes the prefix, the second uses it."""
    group = Group(prefix, tuple(range(len(prompts))))
    kept: Kept = {}
    first = body(prompts, [Piece(group, group.members[:-1], fresh=True, kept=True)], kept)
    second = body(prompts, [Piece(group, group.members[-1:], fresh=False, kept=False)], kept)
    return torch.cat([first, second])


def _longest(group: Group, prompts: Sequence[Tokens]) -> int:
    return max(len(prompts[n]) for n in group.members)


def _sample(group: Group, prompts: Sequence[Tokens]) -> list[int]:
    """Members of the least, the middle and the greatest length; two where there are but two."""
    by_length = sorted(group.members, key=lambda n: len(prompts[n]))
    return [by_length[n] for n in sorted({0, len(by_length) // 2, len(by_length) - 1})]


def _circumstances(model: Any) -> Hashable:
    """What a finding holds for: these very tensors, whose values may change, in these types."""
    body = model.base_model
    return tuple((id(x), x.dtype, x.device) for x in (*body.parameters(), *body.buffers()))


def _reach(model: Any) -> int:
    """Tokens up to which all layers see everything and positions are read alike, as far as the configuration says."""
    config = getattr(model, "config", None)
    rope = getattr(config, "rope_parameters", None) or {}
    limits = (
        getattr(config, "sliding_window", None),
        getattr(config, "attention_chunk_size", None),
        rope.get("original_max_position_embeddings"),
    )
    return min((limit for limit in limits if isinstance(limit, int)), default=1 << 62)
