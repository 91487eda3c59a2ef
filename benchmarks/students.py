"""Measure what students learn: nano and a LoRA adapter on `demo` against their untrained selves, and learning curves.

    python benchmarks/students.py [--only NAME ...] [--runs FOLDER]

Needs REASONINGREC_DATA and the `student` extra. Every part is a run and `reasoningrec student curve` on it, so what is
done is not done again. The base under the adapter is made here: a small Llama that reads the shop's texts before it is
given to the package. It is told no label: the prompts it reads end in Yes or No by the toss of a coin, so that it knows
that one of the two comes, as any real base does, and nothing of which. Figures replace those of the same names in
benchmarks/results/students.jsonl, and the README's tables are made anew.
"""

# Names end in their axes: B rows, T tokens.
# ruff: noqa: N806

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reasoningrec.config import read
from reasoningrec.evaluation.learning import Cell, Latency, points
from reasoningrec.pipeline.workspace import Workspace, texts_of
from reasoningrec.rows import read_records
from reasoningrec.student.encode import TrainingRow, row_parts

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep, note_look
from table import RESULTS, ROOT, write_readme

STUDENTS = RESULTS / "students.jsonl"
HIDDEN, LAYERS, VOCABULARY = 128, 4, 2000
BATCH_TOKENS, READ_STEPS, READ_RATE = 4096, 400, 2e-3
ADAPTER = """
[train]
base = "{base}"
order = "{order}"
max_tokens = {max_tokens}
shots = {shots}
epochs = {epochs}
batch_tokens = 4096
learning_rate = {rate}
lora_rank = {rank}
lora_alpha = {alpha}
lora_targets = {targets}

[predict]
explain = 60
mode = "{mode}"
max_new_tokens = 160
"""
"""Chosen on valid; what else was tried is in docs/experiments.md."""
SETTINGS = {
    "epochs": 8, "max_tokens": 448, "shots": 0, "order": "label-first", "mode": "predict-first",
    "rate": 3e-3, "rank": 16, "alpha": 32,
    "targets": '["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]',
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One learning curve."""

    name: str
    example: str
    shots: tuple[str, ...]
    queries: int = 0
    seeds: int = 3
    flags: tuple[str, ...] = ()


PARTS = (
    Part("demo-nano", "demo", ("all",)),
    Part("demo-lora", "demo", ("all",), flags=("--decisions-only",)),
    Part("fashion", "fashion", ("16", "64", "256", "all")),
    Part("ml-1m", "ml-1m", ("16", "64", "256", "all"), queries=1000, seeds=2),
)
WRITES = {"epochs": 4, "max_tokens": 768, "shots": 400}
TIMED: dict[str, dict[str, object]] = {
    "demo-nano": {},
    "demo-writes": WRITES,
    "demo-reasons": {**WRITES, "order": "reason-first", "mode": "reason-first"},
}
"""Runs whose answers are timed, and what is set otherwise for an adapter that is to write: room for whole reasons, and
fewer rows, since its time is asked for and not its skill."""


def reasoningrec(*words: object) -> None:
    """Run the command line. Exits where it fails."""
    subprocess.run([sys.executable, "-m", "reasoningrec", *map(str, words)], check=True)


def shop_texts(run: Path) -> list[str]:
    """Everything the shop says: titles, descriptions, profiles, and prompts with a decision by the toss of a coin."""
    space = Workspace(run, read(ROOT / "examples" / "demo.toml"))
    coin = random.Random(0)  # noqa: S311 - no secret
    cases = space.cases(space.ids("train"))
    prompts = ["".join(row_parts(TrainingRow(case, coin.random() < 0.5))) for case in cases]
    written = [text for stage in ("describe", "profile") for text in texts_of(run / f"{stage}.jsonl").values()]
    return [*space.corpus.items["title"], *written, *prompts]


def tokenizer_of(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE. That both answers are words of their own says nothing about which is right."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    plain.train_from_iterator([*texts, *["Prediction: Yes", "Prediction: No"] * 1000], trainer)
    names = dict(zip(("bos_token", "eos_token", "pad_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=plain, **names)


def make_base(folder: Path, texts: Sequence[str], steps: int = READ_STEPS) -> None:
    """Train a small Llama to go on with the shop's texts, and store it as transformers does."""
    tokenizer = tokenizer_of(texts)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=3 * HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model, luck = LlamaForCausalLM(shape), random.Random(0)  # noqa: S311 - drawing texts, not secrets
    optimizer = torch.optim.AdamW(model.parameters(), lr=READ_RATE, weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, READ_RATE, total_steps=steps)
    encoded = [tokenizer(text)["input_ids"][:1023] for text in texts]
    begun = time.monotonic()
    for step in range(1, steps + 1):
        rows: list[list[int]] = []
        while sum(map(len, rows)) < BATCH_TOKENS:
            rows.append([0, *encoded[luck.randrange(len(encoded))]])
        longest = max(map(len, rows))
        tokens_BT = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
        labels_BT = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
        loss = model(tokens_BT, labels=labels_BT, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        if step % 50 == 0:
            print(
                f"  base: step {step} of {steps}, loss {loss.item():.3f}, {time.monotonic() - begun:.0f} s", flush=True
            )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def configuration(part: str, example: str, runs: Path) -> Path:
    """The example itself; for an adapter, a copy with the base, which is made where it is missing."""
    source = ROOT / "examples" / f"{example}.toml"
    if part not in ("demo-lora", "demo-writes", "demo-reasons"):
        return source
    base, texts = runs / "base", runs / "demo-nano"
    if not (base / "tokenizer_config.json").exists():
        reasoningrec("verify", "--run", texts, source)
        make_base(base, shop_texts(texts))
    path = runs / f"{part}.toml"
    adapter = ADAPTER.format(**{"base": base, **SETTINGS, **TIMED.get(part, {})})
    path.write_text(source.read_text("utf-8") + adapter, "utf-8")
    return path


def learn(part: Part, runs: Path) -> list[dict[str, object]]:
    """The rows of one learning curve."""
    run = runs / part.name
    reasoningrec("verify", "--run", run, configuration(part.name, part.example, runs))
    shots = [word for count in part.shots for word in ("--shots", count)]
    reasoningrec(
        "student", "curve", "--run", run, *shots, "--seeds", part.seeds, "--queries", part.queries, *part.flags
    )
    found = points(read_records(Cell, run / "curve.jsonl"))
    untrained = found[0].auc or 0.0
    return [
        {
            "name": part.name, "shots": point.shots, "rows": point.rows, "seeds": point.seeds, "n": point.n,
            "order": point.order, "auc": rounded(point.auc), "spread": rounded(point.spread),
            "valid_auc": rounded(point.valid_auc), "above_untrained": rounded((point.auc or 0.0) - untrained),
        }
        for point in found
    ]  # fmt: skip


def answer_times(name: str, runs: Path) -> list[dict[str, object]]:
    """The rows of one student's latencies."""
    run = runs / name
    reasoningrec("train", "--run", run, configuration(name, "demo", runs))
    reasoningrec("student", "latency", "--run", run)
    return [
        {
            "name": f"{name}-latency", "mode": row.mode, "n": row.n, "median_s": row.median, "p95_s": row.most,
            "together_s": row.together, "by_student": row.by_student, "where": row.where,
        }
        for row in read_records(Latency, run / "latency.jsonl")
    ]  # fmt: skip


def rounded(value: float | None) -> float | None:
    """To four digits."""
    return None if value is None else round(value, 4)


def main() -> None:
    """Measure what is asked for."""
    known = [*(part.name for part in PARTS), *(f"{name}-latency" for name in TIMED)]
    parser = argparse.ArgumentParser(description="Measure what students learn, and how fast they answer.")
    parser.add_argument("--only", nargs="*", default=known, choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "students")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if part.name in asked.only:
            rows = learn(part, asked.runs)
            keep(STUDENTS, rows)
            note_look("students", part.example, "honest", sum(int(str(row["seeds"])) for row in rows))
            write_readme()
    for name in TIMED:
        if f"{name}-latency" in asked.only:
            keep(STUDENTS, answer_times(name, asked.runs))
            write_readme()


if __name__ == "__main__":
    main()
