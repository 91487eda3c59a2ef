"""SASRec, Caser, GRU4Rec and DIN, trained on every row of every user's allowed past (see `networks`, `allowed`).

All blocks of time are trained side by side, epoch by epoch. How many epochs, and how many items are veiled, is one
choice for all of them, made on the AUC of valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reasoningrec.baselines.allowed import Allowed, Block
from reasoningrec.baselines.choice import auc, chosen
from reasoningrec.baselines.networks import NETWORKS, UNKNOWN, Batch, Sizes
from reasoningrec.baselines.sequences import LONGEST, Sequences, codes, reaction_codes
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.config import BaselinesConfig
from reasoningrec.data.timeline import Floats, Ints

CARRIED: Final = 0.5
"""Share of the epochs before in the log-odds after an epoch: the mean of neighbouring epochs errs less than either."""
STEPS: Final = 32
"""Steps an epoch takes at least: few rows are learned from in smaller batches."""
LEAST: Final = 16
"""Questions of a step at least."""


@dataclass(frozen=True)
class _Coding:
    """Numbers of items, users and reactions as a block's model knows them."""

    item: Ints
    user: Ints
    reaction: Ints

    def batch(self, allowed: Allowed, sequences: Sequences, stretches: Ints) -> tuple[Batch, Ints]:
        """The stretches as a batch, and its questions' places in `sequences`."""
        line = allowed.timeline
        questions, of = sequences.questions(stretches)
        start, length = sequences.start[stretches], (sequences.stop - sequences.start)[stretches]
        place = np.arange(max(1, int(length.max(initial=0))))
        there = place < length[:, None]
        rows = np.where(there, start[:, None] + place, 0)
        batch = Batch(
            items_BT=torch.from_numpy(np.where(there, self.item[line.item[rows]], 0)),
            reactions_BT=torch.from_numpy(np.where(there, self.reaction[rows], 0)),
            user_B=torch.from_numpy(self.user[line.user[start]]),
            of_M=torch.from_numpy(of),
            place_M=torch.from_numpy(sequences.known[questions]),
            target_M=torch.from_numpy(self.item[line.item[sequences.row[questions]]]),
        )
        return batch, questions


class _Learner:
    """One block's model, what it learns from, and what it answers."""

    def __init__(self, method: str, allowed: Allowed, block: Block, config: BaselinesConfig, veiled: float) -> None:
        line = allowed.timeline
        self._allowed, self._config, self._veil, self.asked = allowed, config, veiled, block.asked
        self._shift = block.shift
        self._learned = Sequences.of(allowed, block.rows)
        self._queries = Sequences.alone(allowed, allowed.at[block.asked])
        seen = allowed.with_past(block.rows)
        self._coding = _Coding(
            codes(len(line.items), line.item[seen], UNKNOWN),
            codes(len(line.users), line.user[block.rows], UNKNOWN),
            reaction_codes(line, allowed.train),
        )
        items, users, reactions = (
            int(code.max(initial=UNKNOWN)) + 1 for code in (self._coding.item, self._coding.user, self._coding.reaction)
        )
        sizes = Sizes(items, reactions, users, LONGEST, config.hidden, config.dropout)
        self._model = NETWORKS[method](sizes)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def epoch(self, rng: np.random.Generator) -> None:
        """Learn from every question once."""
        self._model.train()
        liked = self._allowed.timeline.liked
        if not self._learned.row.size:
            return
        size = max(LEAST, min(self._config.batch, self._learned.row.size // STEPS))
        for stretches in self._learned.batches(size, rng):
            batch, questions = self._coding.batch(self._allowed, self._learned, stretches)
            labels = torch.from_numpy(liked[self._learned.row[questions]]).float()
            loss = functional.binary_cross_entropy_with_logits(self._model(self._veiled(batch)), labels)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimizer.step()

    def _veiled(self, batch: Batch) -> Batch:
        """Some items and users made unknown, so that the model learns what to make of an unknown one."""

        def veil(ids: Tensor) -> Tensor:
            return torch.where((torch.rand(ids.shape) < self._veil) & (ids > 0), UNKNOWN, ids)

        return Batch(
            veil(batch.items_BT), batch.reactions_BT, veil(batch.user_B), batch.of_M, batch.place_M,
            veil(batch.target_M),
        )  # fmt: skip

    @torch.no_grad()
    def answers(self) -> Floats:
        """Log-odds of the block's queries; those of the user's own likes where there was nothing to learn from."""
        if not self._learned.row.size:
            share = self._allowed.own_mean(self.asked, self._allowed.timeline.liked.astype(np.float64), 0.5)
            return np.asarray(np.log(share / (1 - share)))
        self._model.eval()
        found = np.zeros(self.asked.size)
        for stretches in self._queries.batches(1024, None):
            batch, questions = self._coding.batch(self._allowed, self._queries, stretches)
            found[questions] = self._model(batch).double().numpy()
        return found + self._shift


def predict(method: str, allowed: Allowed, config: BaselinesConfig, seed: int) -> Floats:
    """(Q,) P(like) of the valid and test queries.

    Args:
        method: one of `networks.NETWORKS`.
        allowed: what may be learned from, and the queries.
        config: sizes and rates.
        seed: of first weights, order, dropout and shots.
    """
    if not allowed.at.size:
        return np.zeros(0)
    tried = [answers for veiled in config.veiled for answers in _epochs(method, allowed, config, veiled, seed)]
    return sigmoid(chosen(allowed, tried))


def _epochs(method: str, allowed: Allowed, config: BaselinesConfig, veiled: float, seed: int) -> list[Floats]:
    """(Q,) log-odds after each epoch, until they are no better on valid for long."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks = allowed.blocks(config.refits, config.shots, seed)
        learners = [_Learner(method, allowed, block, config, veiled) for block in blocks]
        tried: list[Floats] = []
        best_auc, since = -1.0, 0
        for _ in range(config.epochs):
            now = np.zeros(allowed.at.size)
            for learner in learners:
                learner.epoch(rng)
                now[learner.asked] = learner.answers()
            tried.append(CARRIED * tried[-1] + (1 - CARRIED) * now if tried else now)
            reached = auc(allowed.valid_labels, tried[-1][allowed.valid])
            since = 0 if reached > best_auc else since + 1
            best_auc = max(best_auc, reached)
            if config.patience and since >= config.patience:
                break
    return tried
