"""Attention with its log-sum-exp, so that attention over two sets of keys can be computed apart and merged.

With o1, l1 and o2, l2 the outputs and log-sum-exps over two disjoint sets of keys, attention over both is
(e^l1 o1 + e^l2 o2) / (e^l1 + e^l2), exactly (Dao et al. 2022, FlashAttention; Juravsky et al. 2024, Hydragen).
"""

# Names end in their axes: B rows, H heads, T queries, K keys, D features of a head.
# ruff: noqa: N803, N806

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch

Seen: TypeAlias = torch.Tensor | None
Looked: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""(out_BTHD, lse_BTH): what attention read, and the log-sum-exp of its scores."""

MOST_SCORES: Final = 1 << 23
"""Scores at most that exist at a time where they are computed one by one: 32 MiB in fp32."""
FLASH: Final[Any] = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
"""The kernel behind `scaled_dot_product_attention` on a CPU; the public function keeps the log-sum-exp to itself."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a layer attends."""

    scale: float
    softcap: float | None = None
    """Scores s become c tanh(s / c) (Gemma 2)."""
    window: int | None = None
    """A query sees this many tokens back, itself included."""


def look(
    q_BHTD: torch.Tensor, k_BHKD: torch.Tensor, v_BHKD: torch.Tensor, manner: Manner, causal: bool, seen: Seen = None
) -> Looked:
    """Attention of the queries over the keys.

    Args:
        q_BHTD: queries.
        k_BHKD: keys; H may divide that of the queries (grouped-query attention).
        v_BHKD: values.
        manner: scale and soft-cap; the window is the caller's, by `seen`.
        causal: query t sees keys up to t. Not together with `seen`.
        seen: which keys a query sees, as Bool that broadcasts to (B, 1, T, K); None for all.
    """
    heads = q_BHTD.shape[1]
    if k_BHKD.shape[1] != heads:
        k_BHKD, v_BHKD = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k_BHKD, v_BHKD))
    alike = q_BHTD.shape[-1] == v_BHKD.shape[-1]
    if q_BHTD.device.type == "cpu" and FLASH is not None and seen is None and not manner.softcap and alike:
        out_BHTD, lse_BHT = FLASH(q_BHTD, k_BHKD, v_BHKD, 0.0, causal, scale=manner.scale)
        return out_BHTD.transpose(1, 2), lse_BHT.transpose(1, 2)
    if causal:
        seen = banded(torch.arange(q_BHTD.shape[2], device=q_BHTD.device), k_BHKD.shape[2], None)
    return _explicit(q_BHTD, k_BHKD, v_BHKD, manner, seen)


def banded(places_T: torch.Tensor, keys: int, window: int | None) -> torch.Tensor:
    """seen_TK: whether a query at a place sees keys at places 0 to `keys` - 1: none after it, none out of window."""
    back_TK = places_T[:, None] - torch.arange(keys, device=places_T.device)
    return (back_TK >= 0) & (back_TK < window) if window else back_TK >= 0


def merge(one: Looked, two: Looked) -> torch.Tensor:
    """out_BTHD of attention over the keys of both."""
    weight_BTH1 = torch.sigmoid(one[1] - two[1])[..., None].to(one[0].dtype)
    return torch.lerp(two[0], one[0], weight_BTH1)


def _explicit(q_BHTD: torch.Tensor, k_BHKD: torch.Tensor, v_BHKD: torch.Tensor, manner: Manner, seen: Seen) -> Looked:
    """`look` score by score, some queries at a time; a query that sees nothing gets a log-sum-exp of nearly -inf."""
    rows, heads, queries, _ = q_BHTD.shape
    step = max(1, MOST_SCORES // (rows * heads * k_BHKD.shape[2]))
    outs, lses = [], []
    for start in range(0, queries, step):
        scores_BHTK = (q_BHTD[:, :, start : start + step] @ k_BHKD.transpose(2, 3)).float() * manner.scale
        if manner.softcap:
            scores_BHTK = torch.tanh(scores_BHTK / manner.softcap) * manner.softcap
        if seen is not None:
            part = seen[..., start : start + step, :]
            scores_BHTK = scores_BHTK.masked_fill(~part, torch.finfo(torch.float32).min)
        lse_BHT1 = scores_BHTK.logsumexp(-1, keepdim=True)
        weights_BHTK = (scores_BHTK - lse_BHT1).exp().to(v_BHKD.dtype)
        outs.append((weights_BHTK @ v_BHKD).transpose(1, 2))
        lses.append(lse_BHT1[..., 0].transpose(1, 2))
    return torch.cat(outs, 1), torch.cat(lses, 1)
