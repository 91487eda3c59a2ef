"""What one step of a training is made of: rows, parts that are computed one after the other, losses and rates.

The loss of a step is `decision_weight` * (mean cross-entropy of its decision tokens) + `text_weight` * (mean
cross-entropy of its other tokens). Both are over the whole vocabulary: beside choosing between Yes and No, the student
so learns that nothing else stands there. Logits are computed at these places only. The means are over the whole step,
so its gradient is the same in however many parts, or on however many machines, it is computed and added up.
"""

# Names end in their axes: B rows, T tokens, H hidden, V vocabulary, N places with a loss.
# ruff: noqa: N806

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch

from reasoningrec.config import TrainConfig
from reasoningrec.student.encode import TokenRow, TrainingRow
from reasoningrec.student.score import batches, pad

POOL: Final = 16
"""Batches whose rows are sorted by length together: less padding, and still nearly random batches."""


class Sums(NamedTuple):
    """Losses of some rows, added up, in nats."""

    decision: torch.Tensor
    text: torch.Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """The rows of one step, in parts."""

    parts: tuple[tuple[TokenRow, ...], ...]

    @property
    def decisions(self) -> int:
        """Decision tokens in all parts."""
        return sum(map(len, self.parts))

    @property
    def texts(self) -> int:
        """Other tokens with a loss in all parts."""
        return sum(text_tokens(part) for part in self.parts)


def text_tokens(rows: Sequence[TokenRow]) -> int:
    """Tokens with a loss that are no decision."""
    return sum(len(row.completion) - 1 for row in rows)


def losses(model: Any, rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(mean decision loss, mean text loss, text tokens) of a batch, in nats; without any text its loss is 0."""
    found, texts = sums(model, rows), text_tokens(rows)
    return found.decision / len(rows), found.text / max(texts, 1), texts


def sums(model: Any, rows: Sequence[TokenRow]) -> Sums:
    """The losses of `rows`, added up."""
    tokens_BT, _ = pad([(row.prompt + row.completion)[:-1] for row in rows], model.device)
    hidden_BTH = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
    width = tokens_BT.shape[1]
    places = [n * width + len(row.prompt) - 1 + i for n, row in enumerate(rows) for i in range(len(row.completion))]
    targets_N = torch.tensor([token for row in rows for token in row.completion], device=model.device)
    first_N = torch.tensor([i == row.decision for row in rows for i in range(len(row.completion))], device=model.device)
    logits_NV = model.get_output_embeddings()(hidden_BTH.flatten(0, 1)[places])
    loss_N = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    return Sums(loss_N[first_N].sum(), loss_N[~first_N].sum())


def schedule(step: int, total: int, warmup: float) -> float:
    """Share of the learning rate at `step` of `total`: up in a line over `warmup` of them, then down a cosine to 0."""
    warm = max(1, round(warmup * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def plan_epoch(lengths: Sequence[int], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch: every index once, similar lengths together, in an order fixed by seed and epoch."""
    order = random.Random(f"{seed} {epoch}")  # noqa: S311 - shuffling, not secrets
    shuffled = list(range(len(lengths)))
    order.shuffle(shuffled)
    planned: list[list[int]] = []
    pool = max(1, POOL * batch_tokens // max(lengths))
    for start in range(0, len(shuffled), pool):
        part = shuffled[start : start + pool]
        planned += [[part[n] for n in batch] for batch in batches([lengths[n] for n in part], batch_tokens)]
    order.shuffle(planned)
    return planned


def plan(rows: Sequence[TokenRow], config: TrainConfig, seed: int, epoch: int) -> list[Step]:
    """The steps of one epoch, each of `accumulate` times `batch_tokens` tokens, in parts of `batch_tokens`."""
    lengths = [len(row.prompt) + len(row.completion) - 1 for row in rows]
    return [
        Step(
            tuple(
                tuple(rows[chosen[n]] for n in part)
                for part in batches([lengths[n] for n in chosen], config.batch_tokens)
            )
        )
        for chosen in plan_epoch(lengths, config.batch_tokens * config.accumulate, seed, epoch)
    ]


def balanced(rows: Sequence[TrainingRow], count: int, seed: int) -> list[TrainingRow]:
    """At most `count` rows, as many of each label as there are, in their order; 0 = all.

    Rows with a rationale are taken first, else the seed decides. Where one label has too few, the other fills up.
    """
    if not count or count >= len(rows):
        return list(rows)
    order = list(range(len(rows)))
    random.Random(f"shots {seed}").shuffle(order)  # noqa: S311 - drawing rows, not secrets
    order.sort(key=lambda n: rows[n].rationale is None)
    sides = {label: [n for n in order if rows[n].label is label] for label in (True, False)}
    smaller = min(count // 2, *map(len, sides.values()))
    more = len(sides[True]) >= len(sides[False])
    chosen = sides[not more][:smaller] + sides[more][: count - smaller]
    return [rows[n] for n in sorted(chosen)]


def optimizer(named: Mapping[str, torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the weights that are trained; weight decay on matrices only."""
    matrices = [weight for weight in named.values() if weight.ndim > 1]
    others = [weight for weight in named.values() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
