"""Measure training and scoring of a Llama-2-7B-shaped student against the published recipe, on one GPU.

    python benchmarks/gpu.py [--keep] [--small]

The weights are at random, in the shape of Llama-2-7B: speed and memory do not depend on them, and no accuracy is
measured. Rows are those of the made shop. Tokens per second count real tokens, no padding, so that both recipes are
told by what they get done. **It has not been run on a GPU yet: no figure of it is kept.** `--small` runs all of it on a
model of a million weights, on a CPU too, to see that it works; its figures mean nothing and cannot be kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from reasoningrec.config import TrainConfig, read
from reasoningrec.pipeline.learn import training_rows
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.student import bases
from reasoningrec.student.encode import TokenRow, TrainingRow, encode_row, row_text
from reasoningrec.student.train import TrainingRun, train

sys.path.insert(0, str(Path(__file__).parent))
import scoring
from keeping import keep
from students import reasoningrec, tokenizer_of
from table import RESULTS, ROOT

LENGTH, BATCH = 2100, 4
"""The published recipe: every row is padded to so many tokens, so many rows at once."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model's shape, and how much is measured."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    rows: int
    batch_tokens: int
    candidates: int


SEVEN = Size("7b", 4096, 11008, 32, 32, 32000, 512, 16384, 256)
SMALL = Size("small", 64, 128, 2, 4, 4000, 12, 4096, 16)


def make_base(folder: Path, size: Size, texts: Sequence[str]) -> None:
    """A model of random weights in bfloat16 and a tokenizer of the shop's texts, as transformers stores them."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.hidden, intermediate_size=size.inner,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
        max_position_embeddings=4096, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(shape).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")
    tokenizer_of(texts).save_pretrained(folder)


def rows_of(run: Path, count: int) -> list[TrainingRow]:
    """Training rows of the made shop."""
    source = ROOT / "examples" / "demo.toml"
    reasoningrec("verify", "--run", run, source)
    return training_rows(Workspace(run, read(source)))[:count]


def settings(base: Path, size: Size) -> TrainConfig:
    """The package's, with the paper's adapter."""
    return TrainConfig(
        base=str(base), precision="bfloat16", max_tokens=1024, batch_tokens=size.batch_tokens, epochs=1,
        learning_rate=3e-4, gradient_checkpointing=True, checkpoint_seconds=1e6,
    )  # fmt: skip


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """(tokens per second, GiB at the peak) of `work`, which returns its tokens."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    tokens = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return tokens / (time.perf_counter() - begun), torch.cuda.max_memory_allocated() / 2**30
    return tokens / (time.perf_counter() - begun), scoring.resident("VmHWM") / 1024


def tokens_of(rows: Sequence[TokenRow]) -> int:
    """Real tokens of the rows."""
    return sum(len(row.prompt) + len(row.completion) for row in rows)


def train_ours(rows: Sequence[TrainingRow], encoded: Sequence[TokenRow], config: TrainConfig, folder: Path) -> int:
    """One epoch by the package, loading of the weights included; its tokens."""
    train(rows, [], config, TrainingRun(folder, 0))
    return tokens_of(encoded)


def train_published(model: Any, rows: Sequence[TokenRow]) -> int:
    """Rows padded to the fixed length, logits at every place, a step for every batch, as a plain Trainer does."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-4)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        lines = [[*row.prompt, *row.completion] for row in batch]
        ids = torch.tensor([line + [0] * (LENGTH - len(line)) for line in lines], device=model.device)
        labels = torch.tensor(
            [[-100] * len(row.prompt) + list(row.completion) + [-100] * (LENGTH - len(line))
             for row, line in zip(batch, lines, strict=True)], device=model.device,
        )  # fmt: skip
        mask = torch.tensor([[1] * len(line) + [0] * (LENGTH - len(line)) for line in lines], device=model.device)
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tokens_of(rows)


def score_all(score: scoring.Scorer, prompts: Sequence[scoring.Prompt]) -> int:
    """Score the prompts; how many there are."""
    score(prompts)
    return len(prompts)


def with_model(
    config: TrainConfig, rows: Sequence[TrainingRow], candidates: int
) -> tuple[list[TokenRow], tuple[float, float], dict[str, tuple[float, float]]]:
    """(rows as tokens, what training takes as published, what scoring takes in each way)."""
    model, tokenizer = bases.build(config, [], 0)
    encoded = [encode_row(row, tokenizer, config.max_tokens) for row in rows]
    theirs = measured(lambda: train_published(model.train(), encoded[: 8 * BATCH]))
    prompts = [tuple(token % len(tokenizer) for token in prompt) for prompt in scoring.group(0, candidates)]
    scorers = {"ours": scoring.shared(model.eval()), "plain": scoring.plain(model, scoring.Plain(8, "sdpa", True))}
    scorers["published"] = scoring.published(model, BATCH, scoring.PUBLISHED_TEXT)
    parts = {"ours": prompts, "plain": prompts, "published": prompts[:BATCH]}
    for score in scorers.values():
        score(prompts[:BATCH])
    return (
        encoded,
        theirs,
        {name: measured(lambda name=name: score_all(scorers[name], parts[name])) for name in scorers},
    )


def compare(size: Size, place: Path) -> list[dict[str, object]]:
    """The rows of training and scoring, ours and the published recipe's."""
    rows = rows_of(place / "shop", size.rows)
    make_base(place / "base", size, [row_text(row) for row in rows])
    config = settings(place / "base", size)
    encoded, theirs, speeds = with_model(config, rows, size.candidates)
    ours = measured(lambda: train_ours(rows, encoded, config, place / "student"))
    found = [two(f"{size.name}-lora-training", "tokens/s", ours, theirs, "published: padded to 2100, batch 4")]
    for other, words in (("plain", "batches of 8"), ("published", "published: padded to 2100, generates 256 tokens")):
        found += [two(f"{size.name}-scoring-{other}", "decisions/s", speeds["ours"], speeds[other], words)]
    return found


def two(
    name: str, unit: str, ours: tuple[float, float], theirs: tuple[float, float], baseline: str
) -> dict[str, object]:
    """A row: speed, and the GiB at the peak of both."""
    return {
        "name": f"gpu-{name}", "value": round(ours[0], 2), "unit": unit, "baseline": baseline,
        "baseline_value": round(theirs[0], 3), "ratio": round(ours[0] / theirs[0], 2), "peak_gib": round(ours[1], 2),
        "baseline_peak_gib": round(theirs[1], 2),
    }  # fmt: skip


def main() -> None:
    """Measure, show, and keep if asked to."""
    parser = argparse.ArgumentParser(description="Measure a Llama-2-7B-shaped student on one GPU.")
    parser.add_argument("--keep", action="store_true", help="into benchmarks/results/speed.jsonl")
    parser.add_argument("--small", action="store_true", help="a tiny model, to see that all works")
    asked = parser.parse_args()
    if asked.small and asked.keep:
        parser.error("figures of --small mean nothing: they are not kept")
    if not asked.small and not torch.cuda.is_available():
        sys.exit("no GPU with CUDA here: this measures a model of 7 billion weights. --small shows that it works.")
    with tempfile.TemporaryDirectory() as place:
        found = compare(SMALL if asked.small else SEVEN, Path(place))
    for row in found:
        print(row)
    if asked.keep:
        keep(RESULTS / "speed.jsonl", found, machine=torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
