"""Training: the decision token's loss and the text's loss, weighted; early stopping on valid; resume after kill -9.

The loss of a batch is `decision_weight` * (mean cross-entropy of the decision tokens) + `text_weight` * (mean
cross-entropy of the tokens after them). Both are over the whole vocabulary: beside choosing between Yes and No, the
student so learns that nothing else stands there. Logits are computed at these places only.

What is kept of a run that was killed is a folder `checkpoint-STEP` with weights, moments, the best weights so far and a
JSON of the rest; it appears by one rename, so it is whole or absent. The order of the rows depends on seed and epoch
only, and nothing is random besides, so a resumed run ends in the bytes of a straight one (same machine and threads).
"""

# Names end in their axes: B rows, T tokens, H hidden, V vocabulary, N places with a loss.
# ruff: noqa: N806

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.metrics import log_loss, roc_auc_score

from reasoningrec.config import TrainConfig
from reasoningrec.errors import RunError, StudentError
from reasoningrec.student import bases
from reasoningrec.student.encode import (
    TokenRow,
    TrainingRow,
    decision_ids,
    encode_prompt,
    encode_row,
    row_text,
    wording,
)
from reasoningrec.student.score import batches, pad, probabilities

LOG: Final = "train_log.jsonl"
POOL: Final = 16
"""Batches whose rows are sorted by length together: less padding, and still nearly random batches."""
SLACK: Final = 0.01
"""Valid AUC given up for a later epoch, which writes better."""
Report: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
Weights: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Where and how a training runs.

    Attributes:
        folder: of the student, its log and its checkpoints.
        seed: of the first weights and the order of the rows.
        threads: of the CPU; 0 = all cores.
        progress: told (steps done, steps planned, figures of the step) after every step.
    """

    folder: Path
    seed: int
    threads: int = 0
    progress: Report | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The trained student (its best epoch), and one entry of figures per epoch."""

    student: bases.Student
    log: tuple[Mapping[str, float | int | None], ...]


@dataclass
class _State:
    """All of a checkpoint that is not a tensor."""

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    """Of this epoch: decision loss, decisions, text loss, text tokens."""
    log: list[dict[str, float | int | None]] = field(default_factory=list)
    best_epoch: int = 0
    """Whose weights are kept, counted from 1."""
    peak_epoch: int = 0
    """Of the best merit; `best_epoch` may be a later one within `SLACK` of it."""
    peak_merit: float = -math.inf


def train(
    examples: Sequence[TrainingRow], valid: Sequence[TrainingRow], config: TrainConfig, run: TrainingRun
) -> TrainingResult:
    """Train a student on `examples` and store it in `run.folder`, going on from a checkpoint found there.

    Args:
        examples: rows with a rationale train decision and text, others the decision only.
        valid: rows whose AUC (log loss, where they have one label only) chooses the epoch and ends a training that has
            not got better for `patience` epochs; without any, the last epoch is taken. Where texts are learned, only
            epochs of the second half count, and the latest within `SLACK` of the best is taken.
        config: sizes and schedule: AdamW, linear warm-up, then a cosine to 0; gradients clipped to norm 1.
        run: folder, seed, threads and whom to tell.

    Raises:
        StudentError: no rows, a row that does not fit into `max_tokens`, or a loss that is not finite.
        RunError: the newest checkpoint is damaged.
    """
    if not examples:
        raise StudentError("there are no rows to train on", hint="Check the split: does any user have a train window?")
    model, tokenizer = bases.build(config, [row_text(row) for row in examples], run.seed)
    rows = [encode_row(row, tokenizer, config.max_tokens) for row in examples]
    asked = [encode_prompt(row.case, tokenizer, config.max_tokens).tokens for row in valid]
    held = _Valid(asked, [row.label for row in valid], decision_ids(tokenizer))
    data = _fingerprint(rows, held, bases.tokenizer_digest(tokenizer))
    # How often to save does not change the result, so a checkpoint outlives a change of it.
    settings = _fingerprint(sorted(config.model_dump(exclude={"checkpoint_seconds"}).items()), run.seed)
    loop = _Loop(model, rows, held, config, run, f"{data} {settings}")
    with _threads(run.threads):
        loop.resume()
        loop.go()
    state = loop.state
    metrics = {
        **state.log[state.best_epoch - 1],
        "rows": len(rows),
        "texts": sum(len(row.completion) > 1 for row in rows),
        "valid_rows": len(valid),
        "epochs": len(state.log),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": len(tokenizer),
    }
    known = tuple(wording(row, tokenizer) for row in examples if row.rationale)
    card = bases.card_of(tokenizer, config, data, metrics)
    student = bases.Student(model.eval(), tokenizer, config, card, known)
    bases.save(student, run.folder)
    loop.forget()
    return TrainingResult(student, tuple(state.log))


@dataclass(frozen=True, slots=True)
class _Valid:
    prompts: list[tuple[int, ...]]
    labels: list[bool]
    decisions: tuple[int, int]

    def measure(self, model: Any, batch_tokens: int) -> tuple[float | None, float | None]:
        """(AUC, log loss) of the model as it is; None where undefined. A missing probability counts as 1/2."""
        if not self.prompts:
            return None, None
        found = probabilities(model.eval(), self.decisions, self.prompts, batch_tokens)
        p = [0.5 if value is None else value for value in found]
        auc = float(roc_auc_score(self.labels, p)) if len(set(self.labels)) == 2 else None
        return auc, float(log_loss(self.labels, p, labels=[False, True]))


class _Loop:
    """The steps of one training, and its checkpoints."""

    def __init__(
        self, model: Any, rows: list[TokenRow], valid: _Valid, config: TrainConfig, run: TrainingRun, key: str
    ) -> None:
        self.model, self.rows, self.valid, self.config, self.run, self.key = model, rows, valid, config, run, key
        self.state = _State()
        self.best: Weights = {}
        self.plan = [
            plan_epoch([_length(row) for row in rows], config.batch_tokens, run.seed, n) for n in range(config.epochs)
        ]
        self.total = sum(map(len, self.plan))
        self.named = dict(model.named_parameters())
        self.optimizer = _optimizer(self.named, config)
        self.saved_at = time.monotonic()
        self.texts = any(len(row.completion) > 1 for row in rows)
        # Deciding is learned long before writing is: with texts, no epoch of the first half is taken or counted.
        self.first = config.epochs // 2 + 1 if self.texts else 1

    def go(self) -> None:
        """Run what is left of the plan; leave the best epoch's weights in the model."""
        while len(self.state.log) < self.config.epochs and not self._exhausted():
            epoch = len(self.state.log)
            start = sum(map(len, self.plan[:epoch]))
            for batch in self.plan[epoch][self.state.step - start :]:
                self._step([self.rows[n] for n in batch])
                self._maybe_save()
            self._close_epoch()
        self._load(self.best)

    def _exhausted(self) -> bool:
        stale = len(self.state.log) - max(self.state.peak_epoch, self.first - 1)
        return bool(self.config.patience and self.valid.prompts and stale >= self.config.patience)

    def _step(self, rows: list[TokenRow]) -> None:
        config, state = self.config, self.state
        rate = config.learning_rate * schedule(state.step, self.total, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        decision, text, texts = losses(self.model.train(), rows)
        loss = config.decision_weight * decision + config.text_weight * text
        if not torch.isfinite(loss):
            raise StudentError(
                f"the loss is not finite at step {state.step + 1}", hint="Lower train.learning_rate and train again."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        state.step += 1
        added = (decision.item() * len(rows), len(rows), text.item() * texts, texts)
        state.sums = [total + more for total, more in zip(state.sums, added, strict=True)]
        if self.run.progress:
            figures = {"epoch": len(state.log) + 1, "loss": loss.item(), "rate": rate}
            self.run.progress(state.step, self.total, figures)

    def _close_epoch(self) -> None:
        state, config = self.state, self.config
        auc, loss = self.valid.measure(self.model, config.batch_tokens)
        decision, decisions, text, texts = state.sums
        state.log.append(
            {
                "epoch": len(state.log) + 1,
                "steps": state.step,
                "decision_loss": decision / decisions,
                "text_loss": text / texts if texts else None,
                "valid_auc": auc,
                "valid_log_loss": loss,
            }
        )
        state.sums = [0.0] * 4
        # Without a valid set every epoch is better than the one before it.
        merit = auc if auc is not None else -loss if loss is not None else float(len(state.log))
        if len(state.log) >= self.first:
            self._compare(merit)
        self._write_log()

    def _compare(self, merit: float) -> None:
        """Keep the weights of an epoch that is better, or, where texts are learned, nearly as good and later."""
        state, slack = self.state, SLACK if self.texts else 0.0
        if merit > state.peak_merit:
            state.peak_epoch, state.peak_merit = len(state.log), merit
        elif not slack or merit < state.peak_merit - slack:
            return
        state.best_epoch = len(state.log)
        self.best = {name: weight.detach().clone() for name, weight in self.named.items()}

    def _write_log(self) -> None:
        lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in self.state.log)
        self.run.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.run.folder / f"{LOG}.new"
        fresh.write_text(lines, "utf-8")
        fresh.replace(self.run.folder / LOG)

    def _maybe_save(self) -> None:
        if time.monotonic() - self.saved_at < self.config.checkpoint_seconds:
            return
        place = self.run.folder / f"checkpoint-{self.state.step:09d}"
        fresh = self.run.folder / "checkpoint.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file(self._tensors(), fresh / "tensors.safetensors")
        text = json.dumps({"key": self.key, "state": dataclasses.asdict(self.state)})
        (fresh / "state.json").write_text(text, "utf-8")
        fresh.rename(place)
        for old in self._checkpoints():
            if old != place:
                shutil.rmtree(old)
        self.saved_at = time.monotonic()

    def _tensors(self) -> Weights:
        moments = {
            f"{kind}.{name}": self.optimizer.state[weight][kind]
            for name, weight in self.named.items()
            for kind in ("exp_avg", "exp_avg_sq")
        }
        weights = {f"weight.{name}": weight.detach() for name, weight in self.named.items()}
        return weights | moments | {f"best.{name}": weight for name, weight in self.best.items()}

    def resume(self) -> None:
        """Go on from the newest checkpoint of these very rows and settings; drop those of others."""
        found = self._checkpoints()
        if not found:
            return
        try:
            raw = json.loads((found[-1] / "state.json").read_text("utf-8"))
            if raw["key"] != self.key:
                self.forget()
                return
            tensors = load_file(found[-1] / "tensors.safetensors")
            self.state = _State(**raw["state"])
            self._load({name: tensors[f"weight.{name}"] for name in self.named})
            self._load_moments(tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise RunError(
                f"{found[-1]}: the checkpoint is damaged: {error}", hint="Delete it to train anew."
            ) from None
        self.best = {name: tensors[f"best.{name}"] for name in self.named if f"best.{name}" in tensors}

    def _load(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.named[name].copy_(value)

    def _load_moments(self, tensors: Weights) -> None:
        for name, weight in self.named.items():
            self.optimizer.state[weight] = {
                "step": torch.tensor(float(self.state.step)),
                **{
                    kind: torch.empty_like(weight).copy_(tensors[f"{kind}.{name}"])
                    for kind in ("exp_avg", "exp_avg_sq")
                },
            }

    def _checkpoints(self) -> list[Path]:
        return sorted(self.run.folder.glob("checkpoint-*"))

    def forget(self) -> None:
        """Delete every checkpoint."""
        for place in (*self._checkpoints(), self.run.folder / "checkpoint.new"):
            shutil.rmtree(place, ignore_errors=True)


def losses(model: Any, rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(mean decision loss, mean text loss, text tokens) of a batch, in nats; without any text its loss is 0."""
    tokens_BT, _ = pad([(row.prompt + row.completion)[:-1] for row in rows], model.device)
    hidden_BTH = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
    width = tokens_BT.shape[1]
    places = [n * width + len(row.prompt) - 1 + i for n, row in enumerate(rows) for i in range(len(row.completion))]
    targets_N = torch.tensor([token for row in rows for token in row.completion], device=model.device)
    first_N = torch.tensor([i == 0 for row in rows for i in range(len(row.completion))], device=model.device)
    logits_NV = model.get_output_embeddings()(hidden_BTH.flatten(0, 1)[places])
    loss_N = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    texts = len(places) - len(rows)
    return loss_N[first_N].mean(), loss_N[~first_N].sum() / max(texts, 1), texts


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


def _length(row: TokenRow) -> int:
    return len(row.prompt) + len(row.completion) - 1


def _optimizer(named: Mapping[str, torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    matrices = [weight for weight in named.values() if weight.ndim > 1]
    others = [weight for weight in named.values() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def _fingerprint(*parts: object) -> str:
    """SHA-256 of the values' reprs, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
