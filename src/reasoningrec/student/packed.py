"""A model's body run on packed passes: many prompts in one row of tokens, each seeing its group's prefix and itself.

A pass is a row of N tokens: for each piece the prefix (where it is fresh), then the suffixes of its prompts. Positions
count on from the prefix for every suffix. The layers' own code runs on the row; only attention is ours, through the
interface that transformers has for it, and it needs no tree mask: all suffixes look at their prefix as if they were one
long text, each looks at itself in a block of suffixes of similar length, and the two are merged (`attend`). The keys
and values of a prefix exist once; what later passes need of them is kept.

In the last layer only the last token of each prompt matters, so all others stop at their keys and values.
"""

# Names end in their axes: N tokens of a pass, L last tokens (one for each prompt), B rows, S tokens of a suffix,
# H heads, D features of a head, F features of a hidden state.
# ruff: noqa: N803, N806, N815

from __future__ import annotations

import contextvars
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from transformers import AttentionInterface

from reasoningrec.student.attend import Looked, Manner, banded, look, merge
from reasoningrec.student.prefix import Group, Piece, Tokens

NAME: Final = "reasoningrec_packed"
KeysValues: TypeAlias = tuple[torch.Tensor, torch.Tensor]
Kept: TypeAlias = dict[Group, dict[int, KeysValues]]
"""Keys and values of prefixes that later passes need, by layer."""
HARMLESS: Final = frozenset({"position_ids", "cache_position"})
"""Tensors that layers hand to attention without changing what it reads."""
WASTE: Final = 8
"""Rows of suffixes are padded by at most a third of the longest, or this many tokens."""


class CannotPackError(Exception):
    """The model's code does not run in this form."""


class _Captured(Exception):  # noqa: N818 - no error: it leaves a layer whose keys and values are all that is needed
    """The last layer's keys and values are there."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a piece lies in the row of its pass."""

    piece: Piece
    prefix: slice
    """Empty where the prefix was computed before."""
    suffixes: slice
    lasts: slice
    """Its prompts among the pass's prompts."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Suffixes of similar length as a padded block; padding repeats the last token, and is on the right."""

    tokens_BS: torch.Tensor
    """Places in the row."""
    real_BS: torch.Tensor | None
    """Which of them are no padding; None for all."""
    lasts_B: torch.Tensor
    """The prompts among the pass's prompts."""


@dataclass(frozen=True)
class _Layout:
    """A pass as tensors."""

    spans: tuple[_Span, ...]
    rows: tuple[_Rows, ...]
    tokens_N: torch.Tensor
    places_N: torch.Tensor
    """Positions in the prompts."""
    lasts_L: torch.Tensor
    """Places in the row of the prompts' last tokens."""
    longest: int
    """Tokens of the longest prompt."""


def lay_out(prompts: Sequence[Tokens], pieces: Sequence[Piece], device: Any) -> _Layout:
    """The pass of `pieces`, whose members are indices of `prompts`."""
    tokens: list[int] = []
    places: list[int] = []
    spans: list[_Span] = []
    starts: list[tuple[int, int]] = []
    for piece in pieces:
        begin, shared = len(tokens), piece.group.prefix
        if piece.fresh:
            tokens += prompts[piece.members[0]][:shared]
            places += range(shared)
        middle, first = len(tokens), len(starts)
        for n in piece.members:
            starts.append((len(tokens), len(prompts[n]) - shared))
            tokens += prompts[n][shared:]
            places += range(shared, len(prompts[n]))
        spans.append(_Span(piece, slice(begin, middle), slice(middle, len(tokens)), slice(first, len(starts))))
    return _Layout(
        tuple(spans),
        tuple(_rows(starts, device)),
        torch.tensor(tokens, device=device),
        torch.tensor(places, device=device),
        torch.tensor([start + length - 1 for start, length in starts], device=device),
        max(len(prompts[n]) for piece in pieces for n in piece.members),
    )


def _rows(starts: Sequence[tuple[int, int]], device: Any) -> Iterator[_Rows]:
    """Blocks of the suffixes given as (start, length)."""
    order = sorted(range(len(starts)), key=lambda n: -starts[n][1])
    while order:
        longest = starts[order[0]][1]
        least = longest - max(WASTE, longest // 3)
        block = [n for n in order if starts[n][1] >= least]
        order = order[len(block) :]
        begins_B, lengths_B = torch.tensor([starts[n] for n in block], device=device).unbind(1)
        steps_S = torch.arange(longest, device=device)
        real_BS = steps_S < lengths_B[:, None]
        tokens_BS = begins_B[:, None] + torch.minimum(steps_S, lengths_B[:, None] - 1)
        yield _Rows(tokens_BS, None if real_BS.all() else real_BS, torch.tensor(block, device=device))


@dataclass
class _Run:
    """One pass on its way through the layers."""

    layout: _Layout
    kept: Kept
    last: KeysValues | None = None
    """Of the last layer, once they are all that is needed."""
    capturing: bool = False
    calls: int = 0

    def attend(self, layer: Any, q_HND: torch.Tensor, kv: KeysValues, manner: Manner) -> torch.Tensor:
        """out_NHD of one layer, or out_LHD of the last tokens where `last` holds the layer's keys and values."""
        self.calls += 1
        short = self.last is not None
        kv = self.last or kv
        if manner.window is not None and manner.window >= self.layout.longest:
            manner = Manner(manner.scale, manner.softcap)
        size = q_HND.shape[1]
        out_NHD = q_HND.new_empty(size, q_HND.shape[0], kv[1].shape[-1])
        lse_NH = q_HND.new_empty(size, q_HND.shape[0], dtype=torch.float32)
        for span in self.layout.spans:
            prefix = self._prefix(layer, span, kv)
            if span.piece.fresh and not short:
                out_NHD[span.prefix] = self._over(q_HND, span.prefix, prefix, manner, causal=True)[0][0]
            asking = span.lasts if short else span.suffixes
            looked = self._over(q_HND, asking, prefix, manner, causal=False)
            out_NHD[asking], lse_NH[asking] = looked[0][0], looked[1][0]
        for rows in self.layout.rows:
            self._add_own(rows, q_HND, (out_NHD, lse_NH), kv, manner)
        return out_NHD

    def _prefix(self, layer: Any, span: _Span, kv: KeysValues) -> KeysValues:
        """Keys and values of a span's prefix; kept here where later passes need them."""
        group = span.piece.group
        if not span.piece.fresh:
            return self.kept[group][id(layer)]
        found = (kv[0][:, span.prefix], kv[1][:, span.prefix])
        if span.piece.kept:
            self.kept.setdefault(group, {})[id(layer)] = (found[0].clone(), found[1].clone())
        return found

    def _over(self, q_HND: torch.Tensor, asking: slice, kv: KeysValues, manner: Manner, causal: bool) -> Looked:
        """What the queries `asking` read of a prefix."""
        queries, seen = q_HND[None, :, asking], None
        if manner.window is not None:
            short = self.last is not None
            places_N = self.layout.places_N[self.layout.lasts_L] if short else self.layout.places_N
            seen, causal = banded(places_N[asking], kv[0].shape[1], manner.window), False
        return look(queries, kv[0][None], kv[1][None], manner, causal, seen)

    def _add_own(self, rows: _Rows, q_HND: torch.Tensor, found: Looked, kv: KeysValues, manner: Manner) -> None:
        """Merge into `found`, of prefixes, what suffixes read of themselves."""
        short = self.last is not None
        asking = rows.lasts_B[:, None] if short else rows.tokens_BS
        out_NHD, lse_NH = found
        k_BHSD, v_BHSD = (x.transpose(0, 1)[rows.tokens_BS].transpose(1, 2) for x in kv)
        q_BHTD = q_HND.transpose(0, 1)[asking].transpose(1, 2)
        seen = None
        if short:
            seen = self._seen_by_lasts(rows, manner)
        elif manner.window is not None:
            seen = banded(torch.arange(rows.tokens_BS.shape[1], device=q_HND.device), k_BHSD.shape[2], manner.window)
        own = look(q_BHTD, k_BHSD, v_BHSD, manner, causal=seen is None and not short, seen=seen)
        merged_BTHD = merge((out_NHD[asking], lse_NH[asking]), own)
        if short or rows.real_BS is None:
            out_NHD[asking] = merged_BTHD
        else:
            out_NHD[asking[rows.real_BS]] = merged_BTHD[rows.real_BS]

    @staticmethod
    def _seen_by_lasts(rows: _Rows, manner: Manner) -> torch.Tensor | None:
        """What the last token of each suffix sees of it, as (B, 1, 1, S)."""
        if rows.real_BS is None and manner.window is None:
            return None
        steps_S = torch.arange(rows.tokens_BS.shape[1], device=rows.tokens_BS.device)
        real_BS = rows.real_BS if rows.real_BS is not None else torch.ones_like(rows.tokens_BS, dtype=torch.bool)
        if manner.window is not None:
            real_BS = real_BS & (steps_S > real_BS.sum(1, keepdim=True) - 1 - manner.window)
        return real_BS[:, None, None]


_RUN: contextvars.ContextVar[_Run] = contextvars.ContextVar("_RUN")


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **manner: Any
) -> tuple[torch.Tensor, None]:
    """What the layers call: (1, H, N, D) each; returns (1, N, H, D). Other keywords say how the layer attends."""
    if strange := [name for name, x in manner.items() if isinstance(x, torch.Tensor) and name not in HARMLESS]:
        raise CannotPackError(f"attention reads {strange[0]}")
    run = _RUN.get()
    if run.capturing:
        run.last = (key[0], value[0])
        raise _Captured
    scale = manner.get("scaling") or query.shape[-1] ** -0.5
    how = Manner(scale, manner.get("softcap"), manner.get("sliding_window"))
    return run.attend(module, query[0], (key[0], value[0]), how)[None], None


AttentionInterface.register(NAME, _attention)


class PackedBody:
    """The body of a causal LM, sharing its weights, whose attention reads packed passes.

    The model itself is left as it is, so that others may use it at the same time.
    """

    def __init__(self, model: Any, early: bool = True) -> None:
        """The packed body of `model`.

        Args:
            model: a causal LM of `transformers`.
            early: whether all but the last tokens stop at the last layer's keys and values. Not all code can.

        Raises:
            CannotPackError: the layers are not found.
        """
        body = model.base_model
        shared: dict[int, Any] = {id(x): x for x in (*body.parameters(), *body.buffers())}
        self._body = copy.deepcopy(body, shared).eval()
        self._body.config._attn_implementation = NAME
        self._layers = self._body.config.get_text_config().num_hidden_layers
        self._early = early
        if early:
            modules = self._body.modules()
            stack = next((m for m in modules if isinstance(m, torch.nn.ModuleList) and len(m) == self._layers), None)
            if stack is None:
                raise CannotPackError("it has no list of its layers")
            stack[-1].register_forward_pre_hook(_shorten, with_kwargs=True)

    def __call__(self, prompts: Sequence[Tokens], pieces: Sequence[Piece], kept: Kept) -> torch.Tensor:
        """last_LF: the hidden state that follows each prompt of the pass, in the order of the pieces' members.

        Args:
            prompts: of all passes.
            pieces: what this pass computes.
            kept: prefixes that earlier passes computed; changed by what this pass keeps and no longer needs.

        Raises:
            CannotPackError: a layer has attention of its own.
        """
        layout = lay_out(prompts, pieces, self._body.device)
        run = _Run(layout, kept)
        token = _RUN.set(run)
        try:
            hidden: torch.Tensor = self._body(
                input_ids=layout.tokens_N[None], position_ids=layout.places_N[None], use_cache=False
            ).last_hidden_state
        finally:
            _RUN.reset(token)
        if run.calls != self._layers:
            raise CannotPackError("a layer has attention of its own")
        for piece in pieces:
            if not piece.kept:
                kept.pop(piece.group, None)
        return hidden[0] if self._early else hidden[0, layout.lasts_L]


def _shorten(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before the last layer: take its keys and values of all tokens, and go on with the last tokens only."""
    run = _RUN.get()
    run.capturing = True
    try:
        layer.forward(*args, **kwargs)
    except _Captured:
        pass
    finally:
        run.capturing = False
    if run.last is None:
        raise CannotPackError("the last layer has attention of its own")
    return _at(args, run.layout), {name: _at(value, run.layout) for name, value in kwargs.items()}


def _at(value: Any, layout: _Layout) -> Any:
    """`value` with its tensors of (1, N), (1, N, features) or (N,) at the last tokens."""
    size = layout.tokens_N.shape[0]
    if isinstance(value, torch.Tensor) and value.shape[1:2] == (size,):
        return value[:, layout.lasts_L]
    if isinstance(value, torch.Tensor) and value.shape == (size,):
        return value[layout.lasts_L]
    if isinstance(value, tuple):
        return tuple(_at(part, layout) for part in value)
    return value
