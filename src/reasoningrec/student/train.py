"""Training: the decision token's loss and the text's loss, weighted; early stopping on valid; resume after kill -9.

What is kept of a run that was killed is a folder `checkpoint-STEP` with weights, moments, the best weights so far and a
JSON of the rest; it appears by one rename, so it is whole or absent. Weights that are frozen are in none of these. The
order of the rows depends on seed and epoch only, and what a step drops out on seed and step only, so a resumed run ends
in the bytes of a straight one (same machine and threads).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.metrics import log_loss, roc_auc_score

from reasoningrec.config import NANO, TrainConfig
from reasoningrec.errors import RunError, StudentError
from reasoningrec.student import bases, follow
from reasoningrec.student.encode import (
    TokenRow,
    TrainingRow,
    decision_ids,
    encode_prompt,
    encode_reasons,
    encode_row,
    row_text,
    wording,
)
from reasoningrec.student.ranks import ALONE, Ranks
from reasoningrec.student.score import probabilities
from reasoningrec.student.steps import Step, balanced, optimizer, plan, schedule, sums, text_tokens
from reasoningrec.student.weights import write

LOG: Final = "train_log.jsonl"
SLACK: Final = 0.01
"""Valid AUC given up for a later epoch, which writes better."""
SHOWN: Final = {
    "epoch": "epoch",
    "decision_loss": "train/decision_loss",
    "text_loss": "train/text_loss",
    "valid_auc": "valid/auc",
    "valid_log_loss": "valid/log_loss",
}
"""What trackers call an epoch's figures in the log."""
Report: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
Weights: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Where and how a training runs.

    Attributes:
        folder: of the student, its log and its checkpoints. Trackers write beside it, into `NAME-tracked`.
        seed: of the first weights and the order of the rows.
        threads: of the CPU; 0 = all cores.
        progress: told (steps done, steps planned, figures of the step) after every step.
        ranks: the processes that train together. Only the first writes and tells.
    """

    folder: Path
    seed: int
    threads: int = 0
    progress: Report | None = None
    ranks: Ranks = ALONE


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
        examples: rows with a rationale train decision and text, others the decision only, or nothing where the reasons
            come first.
        valid: rows whose AUC (log loss, where they have one label only) chooses the epoch and ends a training that has
            not got better for `patience` epochs; without any, the last epoch is taken. Where texts are learned, only
            epochs of the second half count, and the latest within `SLACK` of the best is taken. Where the reasons come
            first, nothing can be measured without writing them: the last epoch is taken.
        config: base, sizes and schedule: AdamW, linear warm-up, then a cosine to 0; gradients clipped to norm 1.
        run: folder, seed, threads and whom to tell.

    Raises:
        StudentError: no rows, a row that does not fit into `max_tokens`, a loss that is not finite, or a base that
            cannot be fetched or learned from.
        ConfigError: there is no such base, the configuration does not fit it, or a tracker does not start.
        RunError: the newest checkpoint, or the note of trackers, is damaged.
        MissingExtraError: a tracker is not installed.
    """
    if not examples:
        raise StudentError("there are no rows to train on", hint="Check the split: does any user have a train window?")
    examples, base = _shown(examples, config, run.seed), bases.Base.of(config)
    model, tokenizer = bases.build(config, [row_text(row) for row in examples], run.seed)
    rows = _rows(examples, tokenizer, config)
    asked = [] if config.order == "reason-first" else valid
    prompts = [encode_prompt(row.case, tokenizer, config.max_tokens).tokens for row in asked]
    held = _Valid(prompts, [row.label for row in asked], decision_ids(tokenizer))
    data = _fingerprint(rows, held, bases.tokenizer_digest(tokenizer))
    loop = _Loop(model, rows, held, config, run, f"{data} {_fingerprint(*_settings(config), run.seed)}")
    run.ranks.agree(data)
    loop.resume()
    with loop.followed() as loop.trackers, _threads(run.threads or run.ranks.threads):
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
    if run.ranks.size > 1:
        metrics["processes"] = run.ranks.size
    if config.base != NANO:
        metrics["trained_parameters"] = sum(weight.numel() for weight in loop.named.values())
    nano = config.base == NANO
    known = tuple(wording(row, tokenizer) for row in examples if nano and row.rationale and not row.case.published)
    card = bases.card_of(tokenizer, config, data, metrics, base)
    student = bases.Student(model.eval(), tokenizer, config, card, known)
    if run.ranks.first:
        bases.save(student, run.folder)
        loop.forget()
    return TrainingResult(student, tuple(state.log))


def _shown(examples: Sequence[TrainingRow], config: TrainConfig, seed: int) -> list[TrainingRow]:
    """The rows to learn from, without what is not to be learned."""
    chosen = balanced(examples, config.shots, seed)
    if config.order == "decision-only":
        return [dataclasses.replace(row, rationale=None) for row in chosen]
    return chosen


def _rows(examples: Sequence[TrainingRow], tokenizer: Any, config: TrainConfig) -> list[TokenRow]:
    if config.order != "reason-first":
        return [encode_row(row, tokenizer, config.max_tokens) for row in examples]
    found = [row for example in examples if (row := encode_reasons(example, tokenizer, config.max_tokens))]
    if not found:
        hint = "Does any rationale pass the gates (see `status`), and is train.max_tokens large enough?"
        raise StudentError("no row has reasons that fit, and they are to come first", hint=hint)
    return found


def _settings(config: TrainConfig) -> list[Any]:
    """What a checkpoint must share with the training that goes on from it. How often to save is none of that."""
    settings = {**bases.settings_of(config), **bases.identity(config)}
    settings.pop("checkpoint_seconds")
    return sorted(settings.items())


@dataclass(frozen=True, slots=True)
class _Valid:
    prompts: list[tuple[int, ...]]
    labels: list[bool]
    decisions: tuple[int, int]

    def measure(self, model: Any, batch_tokens: int, ranks: Ranks) -> tuple[float | None, float | None]:
        """(AUC, log loss) of the model as it is; None where undefined. A missing probability counts as 1/2."""
        if not self.prompts:
            return None, None
        own = self.prompts[ranks.rank :: ranks.size]
        found = ranks.gather(probabilities(model.eval(), self.decisions, own, batch_tokens), len(self.prompts))
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
        self.trackers = follow.Trackers()
        self.best: Weights = {}
        self.plan = [plan(rows, config, run.seed, epoch) for epoch in range(config.epochs)]
        self.total = sum(map(len, self.plan))
        self.named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.optimizer = optimizer(self.named, config)
        self.saved_at = time.monotonic()
        self.texts = text_tokens(rows) > 0
        # Deciding is learned long before writing is: with texts, no epoch of the first half is taken or counted.
        self.first = config.epochs // 2 + 1 if self.texts else 1

    def go(self) -> None:
        """Run what is left of the plan; leave the best epoch's weights in the model."""
        while len(self.state.log) < self.config.epochs and not self._exhausted():
            epoch = len(self.state.log)
            start = sum(map(len, self.plan[:epoch]))
            for step in self.plan[epoch][self.state.step - start :]:
                self._step(step)
                self._maybe_save()
            self._close_epoch()
        self._load(self.best)

    def followed(self) -> contextlib.AbstractContextManager[follow.Trackers]:
        """The trackers that the configuration names, in the first process."""
        names = self.config.trackers if self.run.ranks.first else ()
        settings = {**dict(_settings(self.config)), "seed": self.run.seed}
        place = self.run.folder.with_name(f"{self.run.folder.name}-tracked")
        return follow.following(names, follow.Followed(place, self.key, self.state.step, settings))

    def _exhausted(self) -> bool:
        stale = len(self.state.log) - max(self.state.peak_epoch, self.first - 1)
        return bool(self.config.patience and self.valid.prompts and stale >= self.config.patience)

    def _step(self, step: Step) -> None:
        config, state = self.config, self.state
        rate = config.learning_rate * schedule(state.step, self.total, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        decision, text = self._gradients(step)
        loss = config.decision_weight * decision + config.text_weight * text
        if not math.isfinite(loss):
            raise StudentError(
                f"the loss is not finite at step {state.step + 1}", hint="Lower train.learning_rate and train again."
            )
        self.run.ranks.add_gradients(self.named.values())
        torch.nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        self.optimizer.step()
        state.step += 1
        added = (decision * step.decisions, step.decisions, text * step.texts, step.texts)
        state.sums = [total + more for total, more in zip(state.sums, added, strict=True)]
        self.trackers.tell(state.step, {"train/loss": loss, "train/rate": rate})
        if self.run.progress and self.run.ranks.first:
            self.run.progress(state.step, self.total, {"epoch": len(state.log) + 1, "loss": loss, "rate": rate})

    def _gradients(self, step: Step) -> tuple[float, float]:
        """Add up the gradients of a step's parts; (mean decision loss, mean text loss) of the whole step.

        Each part's share is of the whole step's tokens, so that what other processes compute has but to be added.
        """
        config, decisions, texts = self.config, step.decisions, max(step.texts, 1)
        means = [0.0, 0.0]
        for part, rows in self.run.ranks.share(step.parts):
            with _chance(self.model.device, f"{self.run.seed} {self.state.step} {part}"), self._arithmetic():
                found = sums(self.model.train(), rows)
                decision, text = found.decision / decisions, found.text / texts
                loss = config.decision_weight * decision + config.text_weight * text
                loss.backward()  # type: ignore[no-untyped-call]
            means = [means[0] + decision.item(), means[1] + text.item()]
        added = self.run.ranks.total(means)
        return added[0], added[1]

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        low = self.config.precision != "float32"
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=low)

    def _close_epoch(self) -> None:
        state, config = self.state, self.config
        auc, loss = self.valid.measure(self.model, config.batch_tokens, self.run.ranks)
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
        self.trackers.tell(state.step, {shown: state.log[-1][name] for name, shown in SHOWN.items()})

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
        if not self.run.ranks.first:
            return
        lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in self.state.log)
        self.run.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.run.folder / f"{LOG}.new"
        fresh.write_text(lines, "utf-8")
        fresh.replace(self.run.folder / LOG)

    def _maybe_save(self) -> None:
        early = time.monotonic() - self.saved_at < self.config.checkpoint_seconds
        if early or not self.run.ranks.first:
            return
        place = self.run.folder / f"checkpoint-{self.state.step:09d}"
        fresh = self.run.folder / "checkpoint.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write(self._tensors(), fresh / "tensors.safetensors")
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
        ranks = self.run.ranks
        if ranks.first:
            self._resume()
        ranks.wait()
        if not ranks.first:
            self._resume()
        ranks.wait()

    def _resume(self) -> None:
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
                "step": torch.tensor(float(self.state.step), device=weight.device),
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


def _fingerprint(*parts: object) -> str:
    """SHA-256 of the values' reprs, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _chance(device: torch.device, seed: str) -> Iterator[None]:
    """What is drawn within, such as what is dropped out, depends on `seed` alone; outside nothing changes."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big"))
        yield


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
