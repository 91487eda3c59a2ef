"""Measure scoring behind a shared prefix against plain batches and against the published recipe, side by side.

    python benchmarks/scoring.py [--threads 2] [--rounds 5] [--quick] [--keep]

One small model, trained a little so that its numbers mean something, scores the same prompts every way; the ways take
turns, and medians are compared. Each must decide alike, or nothing is reported. Of the plain ways the fastest in a
trial is taken: batches of several sizes, with and without padding, with either of two attention kernels. `--keep` puts
the figures into benchmarks/results/speed.jsonl in place of older ones of the same names; do that on a machine that does
nothing else (`load` is recorded with them).
"""

# Names end in their axes: B rows, T tokens, V vocabulary; 2 stands for (No, Yes).
# ruff: noqa: N806

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from reasoningrec.student.score import probabilities

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from table import RESULTS

NO, YES = 1, 2
VOCABULARY, HIDDEN, LAYERS, HEADS = 4096, 256, 4, 4
MODEL: dict[str, object] = {"hidden": HIDDEN, "layers": LAYERS, "vocabulary": VOCABULARY}
PREFIX, SUFFIX = 400, 40
FIRST, SPEAKING = 8, 16
"""Tokens from 8 to 15 speak for or against, those above for nothing."""
STEPS = 150
BATCH_TOKENS = 16384
"""The default of [predict]."""
FULL = (BATCH_TOKENS - PREFIX) // SUFFIX
PUBLISHED_LENGTH, PUBLISHED_TEXT = 2100, 256
"""The published recipe: tokens every prompt is padded to, and tokens generated for each."""
MOST_APART = 1e-4
"""Greatest difference of P(Yes) between the ways in fp32, where all must decide alike.

In bf16 any two ways round differently: each is compared with fp32 on the same weights, and ours must come as near.
"""
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}

Prompt = tuple[int, ...]
Scorer = Callable[[Sequence[Prompt]], list[float]]


@dataclass(frozen=True, slots=True)
class Plain:
    """A way to score each prompt by itself."""

    batch: int
    kernel: str
    padded: bool

    def __str__(self) -> str:
        return f"batches of {self.batch}, {self.kernel}, {'left-padded' if self.padded else 'not padded'}"


def untrained() -> LlamaForCausalLM:
    """A model of the size of a larger nano."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=704, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, tie_word_embeddings=True,
        max_position_embeddings=PUBLISHED_LENGTH + PUBLISHED_TEXT, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(shape)


def trained() -> LlamaForCausalLM:
    """A model that has begun to learn which of two kinds of token was more frequent of late."""
    model = untrained().train()
    optimizer = torch.optim.AdamW(model.parameters())
    luck = random.Random(0)  # noqa: S311 - made data, not secrets
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, (step + 1) / 10)
        length = luck.choice((24, 48, 72))
        rows = [text(luck, length) for _ in range(16)]
        labels_B = torch.tensor([sum(side(token) for token in row[-10:]) > 0 for row in rows]).long()
        logits_B2 = model(torch.tensor(rows), logits_to_keep=1, use_cache=False).logits[:, -1, [NO, YES]]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits_B2, labels_B).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def text(luck: random.Random, length: int) -> Prompt:
    """Tokens, half of them of few kinds that speak for or against."""
    return tuple(
        luck.randrange(8, 72) if luck.random() < 0.5 else luck.randrange(72, VOCABULARY) for _ in range(length)
    )


def side(token: int) -> int:
    """What a token speaks for: 1, -1, or 0 for nothing."""
    return (1 if token % 2 else -1) if token < SPEAKING else 0


def group(seed: int, candidates: int, spread: int = 0) -> list[Prompt]:
    """Prompts of one user; lengths of prefix and suffixes vary by at most `spread` each way."""
    luck = random.Random(seed)  # noqa: S311 - made data, not secrets
    prefix = text(luck, PREFIX + luck.randint(-spread, spread))
    return [(*prefix, *text(luck, SUFFIX + luck.randint(-spread, spread) // 4)) for _ in range(candidates)]


def shared(model: Any) -> Scorer:
    """The package's own way."""

    def run(prompts: Sequence[Prompt]) -> list[float]:
        found = probabilities(model, (NO, YES), prompts, BATCH_TOKENS)
        return [p if p is not None else float("nan") for p in found]

    return run


def plain(model: Any, way: Plain) -> Scorer:
    """Batches of whole prompts, one forward pass each, logits of the last place only."""

    @torch.inference_mode()
    def run(prompts: Sequence[Prompt]) -> list[float]:
        model.set_attn_implementation(way.kernel)
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
        found = [0.0] * len(prompts)
        for start in range(0, len(order), way.batch):
            batch = order[start : start + way.batch]
            tokens_BT, mask_BT = left_padded([prompts[n] for n in batch], model.device)
            mask = {"attention_mask": mask_BT} if way.padded else {}
            logits_B2 = model(tokens_BT, logits_to_keep=1, use_cache=False, **mask).logits[:, -1, [NO, YES]]
            for n, p in zip(batch, torch.softmax(logits_B2.double(), -1)[:, 1].tolist(), strict=True):
                found[n] = p
        model.set_attn_implementation("sdpa")
        return found

    return run


def left_padded(prompts: Sequence[Prompt], device: Any, length: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens_BT, mask_BT), to the longest or to `length`."""
    length = length or max(map(len, prompts))
    tokens_BT = torch.tensor([[0] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask_BT = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return tokens_BT.to(device), mask_BT.to(device)


def published(model: Any, batch: int, most: int) -> Scorer:
    """Pad to a fixed length, generate up to `most` tokens, read the scores of the label's place."""

    @torch.inference_mode()
    def run(prompts: Sequence[Prompt]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(prompts), batch):
            tokens_BT, mask_BT = left_padded(prompts[start : start + batch], model.device, PUBLISHED_LENGTH)
            written = model.generate(
                input_ids=tokens_BT, attention_mask=mask_BT, max_new_tokens=most, do_sample=False,
                return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            found += torch.softmax(written.scores[0][:, [NO, YES]].double(), -1)[:, 1].tolist()
        return found

    return run


def best_plain(model: Any, prompts: Sequence[Prompt], padded: bool, batches: Sequence[int]) -> Plain:
    """The fastest in a trial: of all sizes and kernels first, then, unless padding is needed, of that one with it."""
    first = [Plain(batch, kernel, padded) for batch in batches for kernel in ("sdpa", "eager")]
    trial = {way: take_turns({way: plain(model, way)}, prompts, 1, warm=way.batch)[way] for way in first}
    best = min(trial, key=lambda way: trial[way])
    ways = [best] if padded else [best, dataclasses.replace(best, padded=True)]
    seconds = take_turns({way: plain(model, way) for way in ways}, prompts, 1)
    return min(seconds, key=lambda way: seconds[way])


def take_turns(
    ways: dict[Any, Scorer], prompts: Sequence[Prompt], rounds: int, warm: int | None = 64
) -> dict[Any, float]:
    """Median seconds of each way, after a run on `warm` prompts; in each round every way has its turn."""
    taken: dict[Any, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run(prompts[:warm])
    for _ in range(rounds):
        for name, run in ways.items():
            begun = time.perf_counter()
            run(prompts)
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def middle(answers: Sequence[float]) -> float:
    """A threshold that half the answers reach. Exits where a model says the same of all."""
    if max(answers) - min(answers) < 0.05:
        sys.exit("the model says the same of all prompts: the comparison would prove nothing")
    ordered = sorted(answers)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def agreement(ours: Sequence[float], theirs: Sequence[float], exact: Sequence[float] | None) -> dict[str, float]:
    """How far apart two ways are; `exact` are the answers of fp32 where they used bf16. Exits where ours is worse."""
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    threshold = middle(theirs if exact is None else exact)
    found = {"most_apart": float(f"{apart:.2g}"), "decided_otherwise": otherwise(ours, theirs, threshold)}
    if exact is None:
        if not apart <= MOST_APART or found["decided_otherwise"]:
            sys.exit(f"the ways differ: {found}")
        return found
    for name, answers in (("ours", ours), ("baseline", theirs)):
        found[f"{name}_from_exact"] = float(f"{distance(answers, exact):.2g}")
        found[f"{name}_otherwise_than_exact"] = otherwise(answers, exact, threshold)
    if found["ours_from_exact"] > 1.5 * found["baseline_from_exact"]:
        sys.exit(f"ours is further from fp32 than the baseline: {found}")
    return found


def otherwise(one: Sequence[float], two: Sequence[float], threshold: float) -> int:
    """How many decisions differ."""
    return sum((a >= threshold) != (b >= threshold) for a, b in zip(one, two, strict=True))


def distance(one: Sequence[float], two: Sequence[float]) -> float:
    """Root of the mean squared difference."""
    return statistics.fmean((a - b) ** 2 for a, b in zip(one, two, strict=True)) ** 0.5


def exactly(model: Any, prompts: Sequence[Prompt], dtype: torch.dtype) -> list[float] | None:
    """The same weights' answers in fp32, prompt by prompt; None where that is what is measured anyhow."""
    if dtype is torch.float32:
        return None
    return plain(copy.deepcopy(model).float(), Plain(4, "sdpa", padded=False))(prompts)


def peak(dtype: torch.dtype, candidates: int) -> float:
    """Megabytes by which a fresh process grows at most while it scores a group behind its prefix.

    The median of five processes: what the allocator keeps differs from one to the next.
    """
    command = [sys.executable, __file__, "--peak", NAMES[dtype], str(candidates)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def grow(name: str, candidates: int) -> float:
    """What `peak` measures, in the fresh process. Weights are at random: memory does not depend on them."""
    model = untrained().to(next(dtype for dtype in NAMES if NAMES[dtype] == name)).eval()
    run, prompts = shared(model), group(candidates, candidates)
    run([prompt[-60:] for prompt in prompts[:4]])
    before = resident("VmRSS")
    run(prompts)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Megabytes of this process in memory: now (VmRSS), or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def row(name: str, values: tuple[float, float], unit: str, baseline: str, **sizes: object) -> dict[str, object]:
    """A figure: (ours, the baseline's). More is better, save for memory."""
    ours, theirs = values
    ratio = theirs / ours if unit == "MB" else ours / theirs
    return {
        "name": name, "value": round(ours, 3), "unit": unit, "baseline": baseline, "baseline_value": round(theirs, 3),
        "ratio": round(ratio, 2), **sizes,
    }  # fmt: skip


def measure_group(model: Any, dtype: torch.dtype, candidates: int, rounds: int) -> list[dict[str, object]]:
    """One user: speed behind the prefix and in the best plain batches."""
    prompts = group(candidates, candidates)
    way = best_plain(model, prompts[:64], False, (1, 4, 16, 64))
    ways = {"shared": shared(model), "plain": plain(model, way)}
    sizes: dict[str, object] = {**MODEL, "candidates": candidates, "prefix_tokens": PREFIX, "suffix_tokens": SUFFIX}
    sizes |= agreement(ways["shared"](prompts), ways["plain"](prompts), exactly(model, prompts, dtype))
    seconds = take_turns(ways, prompts, rounds)
    name, of = f"scoring-{NAMES[dtype]}-{candidates}", f"plain: {way}"
    speeds = (candidates / seconds["shared"], candidates / seconds["plain"])
    return [row(name, speeds, "decisions/s", of, **sizes)]


def measure_memory(dtype: torch.dtype) -> list[dict[str, object]]:
    """One user: peak memory for more candidates than `BATCH_TOKENS` holds at once, and for as many as it holds."""
    peaks = {count: peak(dtype, count) for count in (64, FULL, 1000, 4000)}
    sizes = {**MODEL, "prefix_tokens": PREFIX, "suffix_tokens": SUFFIX, "batch_tokens": BATCH_TOKENS}
    sizes |= {f"mb_{count}": round(found, 1) for count, found in peaks.items()}
    of = f"{FULL} candidates, as many as are scored at once"
    return [
        row(f"scoring-{NAMES[dtype]}-{count}-memory", (peaks[count], peaks[FULL]), "MB", of, **sizes)
        for count in (1000, 4000)
    ]


def measure_users(model: Any, dtype: torch.dtype, users: int, rounds: int) -> list[dict[str, object]]:
    """Several users at once, of prompts that differ in length, against left-padded batches and the published recipe."""
    prompts = [prompt for user in range(users) for prompt in group(user, 64, spread=40)]
    way = best_plain(model, prompts[:32], True, (1, 4, 8, 32))
    ways = {"shared": shared(model), "plain": plain(model, way)}
    sizes = {**MODEL, "users": users, "candidates": 64, "prefix_tokens": PREFIX, "suffix_tokens": SUFFIX}
    ours = ways["shared"](prompts)
    alike = agreement(ours, ways["plain"](prompts), exactly(model, prompts, dtype))
    seconds = take_turns(ways, prompts, rounds)
    speed, name = len(prompts) / seconds["shared"], f"scoring-{NAMES[dtype]}-users"
    found = [row(name, (speed, len(prompts) / seconds["plain"]), "decisions/s", f"plain: {way}", **sizes, **alike)]
    for most, words in ((PUBLISHED_TEXT, f"{PUBLISHED_TEXT} tokens"), (1, "the label only")):
        timed, apart = {}, {}
        for batch in (1, 4):
            few, run = prompts[:batch], published(model, batch, most)
            timed[batch] = batch / take_turns({"": run}, few, 1)[""]
            apart[batch] = max(abs(a - b) for a, b in zip(run(few), ours, strict=False))
        best = max(timed, key=lambda batch: timed[batch])
        of = f"published: padded to {PUBLISHED_LENGTH}, generates {words}; {best} prompts timed"
        if dtype is torch.float32 and not max(apart.values()) <= MOST_APART:
            sys.exit(f"the published recipe says something else: by {max(apart.values()):.2g}")
        sizes["most_apart"] = float(f"{max(apart.values()):.2g}")
        found.append(row(f"{name}-published-{most}", (speed, timed[best]), "decisions/s", of, **sizes))
    return found


def main() -> None:
    """Measure, show, and keep if asked to."""
    parser = argparse.ArgumentParser(description="Measure scoring behind a shared prefix.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every way")
    parser.add_argument("--quick", action="store_true", help="64 candidates only")
    parser.add_argument("--keep", action="store_true", help="into benchmarks/results/speed.jsonl")
    parser.add_argument("--only", nargs="*", default=["speed", "memory"], choices=["speed", "memory"])
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        print(grow(asked.peak[0], int(asked.peak[1])))
        return
    load = round(os.getloadavg()[0], 2)
    torch.set_num_threads(asked.threads)
    model, found = trained() if "speed" in asked.only else untrained(), []
    for dtype in (torch.float32, torch.bfloat16):
        for part in measured(model.to(dtype), dtype, asked):
            show(part)
            found += part
    print(f"load before: {load} on {os.cpu_count()} cores; {asked.threads} threads")
    if asked.keep:
        keep(RESULTS / "speed.jsonl", found, threads=asked.threads, load=load)


def measured(model: Any, dtype: torch.dtype, asked: argparse.Namespace) -> Iterator[list[dict[str, object]]]:
    """The rows of one type of number, as they come."""
    if "speed" in asked.only:
        few = max(1, asked.rounds // 2)
        yield measure_group(model, dtype, 64, asked.rounds)
        if not asked.quick:
            yield measure_group(model, dtype, 1000, few)
            yield measure_users(model, dtype, 4, few)
    if "memory" in asked.only and not asked.quick:
        yield measure_memory(dtype)


def show(rows: Sequence[dict[str, object]]) -> None:
    """A line of the table for each row."""
    for part in rows:
        print(
            f"{part['name']:<32}{part['value']:>10} {part['unit']:<12}{part['ratio']:>8} x "
            f"{part['baseline_value']:>9} ({part['baseline']}"
            + (
                f"; apart {part['most_apart']}, otherwise {part.get('decided_otherwise', 0)})"
                if "most_apart" in part
                else ")"
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
