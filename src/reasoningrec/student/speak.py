"""Writing with any base: batched decoding that keeps to the form and cites only what may be cited."""

# Names end in their axes: B rows, T tokens so far, V vocabulary, K keys in the cache.
# ruff: noqa: N803, N806

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import torch
from transformers import DynamicCache

from reasoningrec.student.cites import LAST, OVER, May, Pieces, Place, advance, is_free

BARRED: Final = float("-inf")
Choose: TypeAlias = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
"""(logits_BV, rows) -> the next token of each."""
Wanted: TypeAlias = Callable[[Sequence[str]], frozenset[str]]
"""Given the ids cited so far, those that may be cited next."""


class Masks:
    """Which tokens may be written at a place, kept for the next time."""

    def __init__(self, pieces: Pieces, end: int, width: int) -> None:
        """`end` is the token that ends a text, `width` the number of logits: some may belong to no token."""
        self.pieces, self.end = pieces, end
        self._plain_V = torch.zeros(width, dtype=torch.bool)
        self._plain_V[list(pieces.plain)] = True
        self._known: dict[tuple[Place, May], torch.Tensor] = {}

    def at(self, place: Place, may: May) -> torch.Tensor:
        """allowed_V at `place`."""
        key = (Place(place.line, place.begun, place.head), may)  # what was cited last changes nothing
        if key not in self._known:
            mask_V = self._plain_V.clone() if is_free(place) else torch.zeros_like(self._plain_V)
            mask_V[list(self.pieces.allowed(place, may))] = True
            # A vocabulary that cannot spell the form ends the text: it will not pass as one.
            mask_V[self.end] = (place.line == LAST and place.begun is None) or not mask_V.any()
            self._known[key] = mask_V
        return self._known[key]


class Manners:
    """What each row of a batch may write next."""

    def __init__(self, masks: Masks, wanted: Sequence[Wanted], *, end_line: bool) -> None:
        """See `cites`; `wanted` says what each row may cite next."""
        self._masks, self._wanted, self._end_line = masks, wanted, end_line
        self._places = [Place() for _ in wanted]
        self._cited: list[list[str]] = [[] for _ in wanted]
        self._over = [False] * len(wanted)

    def apply(self, logits_BV: torch.Tensor, alive: Sequence[int]) -> torch.Tensor:
        """`logits_BV` of the rows `alive` with all they may not write barred."""
        allowed_BV = torch.stack([self._masks.at(self._places[row], self._may(row)) for row in alive])
        return logits_BV.masked_fill(~allowed_BV.to(logits_BV.device), BARRED)

    def note(self, row: int, token: int) -> None:
        """Row `row` has written `token`."""
        if token == self._masks.end:
            self._over[row] = True
            return
        before = self._places[row]
        after = advance(before, self._masks.pieces.all[token], self._may(row))
        assert after is not None
        if after.begun is None and (before.begun is not None or after.cited != before.cited):
            self._cited[row].append(after.cited)
        self._places[row] = after
        self._over[row] = after.line == OVER

    def is_over(self, row: int) -> bool:
        """Whether the text of `row` has ended."""
        return self._over[row]

    def _may(self, row: int) -> May:
        return May(self._wanted[row](self._cited[row]), self._end_line)


def write_on(
    model: Any, prompts: Sequence[Sequence[int]], manners: Manners, choose: Choose, most: int
) -> list[list[int]]:
    """The tokens written after each prompt, the one that ended it included, `most` at most."""
    texts: list[list[int]] = [[] for _ in prompts]
    for row, token in steps(model, prompts, manners, choose, most):
        texts[row].append(token)
    return texts


@torch.inference_mode()
def steps(
    model: Any, prompts: Sequence[Sequence[int]], manners: Manners, choose: Choose, most: int
) -> Iterator[tuple[int, int]]:
    """(row, token) as they are written, a token for each row whose text is not over, then the next.

    Prompts are padded on the left and masked, so that every architecture's own way with places and windows holds.
    """
    tokens_BT, mask_BT = _left_padded(prompts, model.device)
    cache = DynamicCache(config=model.config)
    alive = list(range(len(prompts)))
    for _ in range(most):
        logits_BV = _forward(model, tokens_BT, mask_BT, cache)
        chosen = choose(manners.apply(logits_BV, alive), alive).tolist()
        for row, token in zip(alive, chosen, strict=True):
            manners.note(row, token)
            yield row, token
        kept = [place for place, row in enumerate(alive) if not manners.is_over(row)]
        if not kept:
            return
        if len(kept) < len(alive):
            cache.batch_select_indices(torch.tensor(kept, device=model.device))
            alive, mask_BT = [alive[place] for place in kept], mask_BT[kept]
        tokens_BT = torch.tensor([[chosen[place]] for place in kept], device=model.device)
        mask_BT = torch.nn.functional.pad(mask_BT, (0, 1), value=1)


def _forward(model: Any, tokens_BT: torch.Tensor, mask_BK: torch.Tensor, cache: Any) -> torch.Tensor:
    """logits_BV after the last of `tokens_BT`, whose keys join the cache; `mask_BK` is over all keys."""
    places_BK = (mask_BK.cumsum(-1) - 1).clamp_min(0)
    known = inspect.signature(model.forward).parameters
    placed = {"position_ids": places_BK[:, -tokens_BT.shape[1] :]} if "position_ids" in known else {}
    answer = model(
        input_ids=tokens_BT, attention_mask=mask_BK, past_key_values=cache, use_cache=True, logits_to_keep=1, **placed
    )
    logits_BV: torch.Tensor = answer.logits[:, -1].float()
    return logits_BV


def _left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens_BT and mask_BT, the rows' ends in line."""
    longest = max(map(len, rows))
    tokens = [[0] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)
