"""Measure training against the published recipe, side by side, and that it ends alike however it is cut up.

    python benchmarks/training.py [--threads 2] [--seeds 3] [--only speed equal] [--keep]

Both recipes train the same model from the same first weights on the same rows of the made shop, as often, with the same
loss, optimiser and schedule, in steps of four rows or, without padding, of as many tokens as the four longest rows
have: rows of this shop are nearly of one length, so both take as many steps, which are kept with the figures. Both ask
the same held-out rows once per epoch. The published one pads every row to 2,100 tokens and computes logits at every
place, as a plain Trainer does. `equal` trains once straight and then killed and resumed, in parts, and in two
processes, and compares. `--keep` puts figures into benchmarks/results/ in place of older ones of the same names.
"""

# Names end in their axes: B rows, T tokens, V vocabulary, N places with a loss.
# ruff: noqa: N806

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from reasoningrec.config import TrainConfig, read
from reasoningrec.pipeline.learn import training_rows
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.student import bases
from reasoningrec.student.encode import TokenRow, TrainingRow, encode_row, row_text
from reasoningrec.student.steps import losses, optimizer, plan_epoch, schedule
from reasoningrec.student.train import LOG, TrainingRun, train

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from students import STUDENTS, reasoningrec
from table import RESULTS, ROOT, read_rows, write_readme

LENGTH, BATCH = 2100, 4
"""The published recipe: every row is padded to so many tokens, so many rows at once."""
ROWS, HELD, EPOCHS = 120, 40, 3
CONFIG = TrainConfig(epochs=EPOCHS, patience=0, checkpoint_seconds=1e6, max_tokens=512)
"""nano as it is by default."""


@dataclass(frozen=True, slots=True)
class Data:
    """Rows of the made shop, of different users."""

    rows: list[TrainingRow]
    held: list[TrainingRow]

    @classmethod
    def read(cls, runs: Path) -> Data:
        """From a run of `demo` as far as the gates, which is made where it is missing."""
        source = ROOT / "examples" / "demo.toml"
        reasoningrec("verify", "--run", runs / "demo-nano", source)
        found = [row for row in training_rows(Workspace(runs / "demo-nano", read(source))) if row.rationale]
        users = sorted({row.case.query.user for row in found})
        held = set(users[:HELD])
        first = {row.case.query.user: row for row in reversed(found)}
        return cls(
            [row for row in found if row.case.query.user not in held][:ROWS], [first[user] for user in users[:HELD]]
        )


class Trained(NamedTuple):
    """What a training came to."""

    rate: float
    """Rows per second."""
    loss: float
    """On the held rows, in nats."""
    steps: int


def ours(data: Data, seed: int, folder: Path, threads: int) -> Trained:
    """The package's training, tokens and storing included."""
    tokenizer = started(data, seed)[1]
    tokens = [encode_row(row, tokenizer, CONFIG.max_tokens) for row in data.rows]
    longest = max(len(row.prompt) + len(row.completion) - 1 for row in tokens)
    config = CONFIG.model_copy(update={"batch_tokens": BATCH * longest})
    begun = time.perf_counter()
    found = train(data.rows, data.held, config, TrainingRun(folder, seed, threads)).student
    seconds = time.perf_counter() - begun
    steps = read_rows(folder / LOG)[-1]["steps"]
    return Trained(EPOCHS * len(data.rows) / seconds, held_loss(found.model, found.tokenizer, data), steps)


def started(data: Data, seed: int) -> tuple[Any, Any]:
    """The model and tokenizer that both recipes begin with."""
    return bases.build(CONFIG, [row_text(row) for row in data.rows], seed)


def published(data: Data, seed: int, threads: int) -> Trained:
    """The published recipe."""
    torch.set_num_threads(threads)
    model, tokenizer = started(data, seed)
    rows, held = ([encode_row(row, tokenizer, CONFIG.max_tokens) for row in part] for part in (data.rows, data.held))
    steps = optimizer(dict(model.named_parameters()), CONFIG)
    plans = [plan_epoch([LENGTH] * len(rows), LENGTH * BATCH, seed, epoch) for epoch in range(EPOCHS)]
    total, step = sum(map(len, plans)), 0
    begun = time.perf_counter()
    for planned in plans:
        for batch in planned:
            for group in steps.param_groups:
                group["lr"] = CONFIG.learning_rate * schedule(step, total, CONFIG.warmup)
            steps.zero_grad(set_to_none=True)
            padded_loss(model.train(), [rows[n] for n in batch]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            steps.step()
            step += 1
        with torch.inference_mode():
            for start in range(0, len(held), BATCH):
                padded_loss(model.eval(), held[start : start + BATCH])
    return Trained(EPOCHS * len(rows) / (time.perf_counter() - begun), held_loss(model, tokenizer, data), step)


def padded_loss(model: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    """The package's loss of some rows, from padded rows and logits at every place."""
    lines = [[*row.prompt, *row.completion] for row in rows]
    tokens_BT = torch.tensor([line + [0] * (LENGTH - len(line)) for line in lines])
    mask_BT = torch.tensor([[1] * len(line) + [0] * (LENGTH - len(line)) for line in lines])
    logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
    decisions, texts = [], []
    for logits_TV, row in zip(logits_BTV, rows, strict=True):
        places = torch.arange(len(row.completion)) + len(row.prompt) - 1
        loss_N = torch.nn.functional.cross_entropy(logits_TV[places], torch.tensor(row.completion), reduction="none")
        decisions.append(loss_N[:1])
        texts.append(loss_N[1:])
    return torch.cat(decisions).mean() + torch.cat(texts).mean()


@torch.inference_mode()
def held_loss(model: Any, tokenizer: Any, data: Data) -> float:
    """Decision loss and text loss on the held rows, in nats."""
    rows = [encode_row(row, tokenizer, CONFIG.max_tokens) for row in data.held]
    decision, text, _ = losses(model.eval(), rows)
    return float(decision + text)


def speed(data: Data, seeds: int, threads: int) -> list[dict[str, object]]:
    """The row of the two recipes. Exits where they do not end at the same loss, within the noise of the seeds."""
    found: dict[str, list[Trained]] = {"ours": [], "published": []}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            found["ours"].append(ours(data, seed, Path(place), threads))
        found["published"].append(published(data, seed, threads))
        print({name: values[-1] for name, values in found.items()}, flush=True)
    rates = {name: statistics.median(one.rate for one in values) for name, values in found.items()}
    ends = {name: [one.loss for one in values] for name, values in found.items()}
    means = {name: statistics.fmean(values) for name, values in ends.items()}
    noise = max(statistics.stdev(values) for values in ends.values())
    if means["ours"] - means["published"] > 2 * noise:
        sys.exit(f"ours ends at a higher loss: {means}, standard deviation over seeds {noise:.3f}")
    return [
        {
            "name": "training-nano", "value": round(rates["ours"], 2), "unit": "rows/s",
            "baseline": f"published: padded to {LENGTH}, batch {BATCH}, logits everywhere",
            "baseline_value": round(rates["published"], 3), "ratio": round(rates["ours"] / rates["published"], 2),
            "rows": len(data.rows), "epochs": EPOCHS, "seeds": seeds, "threads": threads,
            "steps": found["ours"][0].steps, "baseline_steps": found["published"][0].steps,
            "loss": round(means["ours"], 4), "baseline_loss": round(means["published"], 4),
            "loss_spread": round(statistics.stdev(ends["ours"]), 4),
            "baseline_loss_spread": round(statistics.stdev(ends["published"]), 4),
        }
    ]  # fmt: skip


SMALL = """name = "demo"
threads = 1
[data]
source = "demo"
users = 60
[train]
epochs = 4
max_tokens = 512
checkpoint_seconds = 0.0
batch_tokens = {batch}
accumulate = {parts}
"""


def equal(place: Path) -> list[dict[str, object]]:
    """The greatest difference of weights, or of losses, from a straight run in one process and one part."""
    straight = run_train(place / "straight", 8192, 1)
    killed = place / "killed"
    kill_once(killed)
    pairs = {
        "training-resumed-after-kill-9": weights_apart(straight, run_train(killed, 8192, 1)),
        "training-in-8-parts": losses_apart(straight, run_train(place / "parts", 1024, 8)),
        "training-in-2-processes": weights_apart(straight, run_train(place / "two", 8192, 1, processes=2)),
    }
    unit = {"training-in-8-parts": "greatest difference of an epoch's losses, in nats"}
    return [
        {"name": name, "value": value, "unit": unit.get(name, "greatest difference of a weight")}
        for name, value in pairs.items()
    ]


def command(folder: Path, batch: int, parts: int, processes: int = 1) -> list[str]:
    """The command line that trains a small student in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "c.toml").write_text(SMALL.format(batch=batch, parts=parts), "utf-8")
    many = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "--"]
    words = ["reasoningrec", "train", "--run", str(folder / "run"), str(folder / "c.toml")]
    return [sys.executable, "-m", *(many if processes > 1 else []), *words]


def run_train(folder: Path, batch: int, parts: int, processes: int = 1) -> Path:
    """The trained student's folder."""
    subprocess.run(command(folder, batch, parts, processes), check=True, capture_output=True)
    return folder / "run" / "train"


def kill_once(folder: Path) -> None:
    """Begin a training and kill it when it is half done."""
    with subprocess.Popen(command(folder, 8192, 1), stderr=subprocess.DEVNULL) as work:
        while not any(int(path.name[-9:]) >= 6 for path in (folder / "run" / "train").glob("checkpoint-0*")):
            if work.poll() is not None:
                sys.exit("the training ended before it could be killed")
            time.sleep(0.01)
        work.kill()


def weights_apart(one: Path, two: Path) -> float:
    """The greatest difference of any weight."""
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def losses_apart(one: Path, two: Path) -> float:
    """The greatest difference of an epoch's decision or text loss."""
    logs = [read_rows(folder / "train_log.jsonl") for folder in (one, two)]
    pairs = [(a[name], b[name]) for a, b in zip(*logs, strict=True) for name in ("decision_loss", "text_loss")]
    return max(abs(a - b) for a, b in pairs)


def main() -> None:
    """Measure, show, and keep if asked to."""
    parser = argparse.ArgumentParser(description="Measure training against the published recipe.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, choices=range(2, 11), metavar="N", help="2 to 10")
    parser.add_argument("--only", nargs="*", default=["speed", "equal"], choices=["speed", "equal"])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "students")
    parser.add_argument("--keep", action="store_true", help="into benchmarks/results/")
    asked = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    if "equal" in asked.only:
        with tempfile.TemporaryDirectory() as place:
            rows = equal(Path(place))
        print(*rows, sep="\n", flush=True)
        if asked.keep:
            keep(STUDENTS, rows, load=load)
            write_readme()
    if "speed" in asked.only:
        rows = speed(Data.read(asked.runs), asked.seeds, asked.threads)
        print(*rows, sep="\n")
        if asked.keep:
            keep(RESULTS / "speed.jsonl", rows, load=load)
            write_readme()


if __name__ == "__main__":
    main()
