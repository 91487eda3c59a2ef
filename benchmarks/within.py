"""Measure AUC within users on MovieLens-100K: of one user's targets, is the liked one put above the one that was not?

    python benchmarks/within.py [--runs FOLDER]

Needs REASONINGREC_DATA. The last ten reactions of each user are test targets (`split.tests_per_user`), and each is
asked twice: as every test question is, with a past that ends at the target and so holds the answers to the targets
before it; and with the past that ends at the user's first target, as `recommend` asks about many items at one moment
(what others have said is as of each target, in both).
No student, nothing chosen. What the decision has more than each statistic is paired (`ours`). Figures are put into
benchmarks/results/within.jsonl; a protocol is one look at the test set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from reasoningrec.baselines import statistics
from reasoningrec.cli.progress import Screen
from reasoningrec.config import read
from reasoningrec.data import evidence
from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.decisions import auc
from reasoningrec.evaluation.within import users_with_both, within_users
from reasoningrec.pipeline.line import run_line
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.ranking.fuse import learn, with_latent
from reasoningrec.rows import Row

sys.path.insert(0, str(Path(__file__).parent))
from decisions import Task, folder, here
from keeping import keep, note_look
from table import RESULTS, ROOT

DATASET, TARGETS = "ml-100k", 10
PROTOCOLS = ("strict", "honest")
OURS = "reasoningrec"
PASTS = ("up to each target", "up to the first target")


def measure(protocol: str, runs: Path) -> list[Row]:
    """A row for each method and kind of past; `ours` is what the decision has more than it, paired."""
    example = read(ROOT / "examples" / f"{DATASET}.toml")
    split = example.split.model_copy(update={"tests_per_user": TARGETS})
    config = example.model_copy(update={"protocol": protocol, "split": split})
    run = runs / f"{DATASET}-{protocol}-within"
    with Screen() as screen:
        run_line(run, config, screen, "evidence")
    space = Workspace(run, config)
    test = (space.windows["role"] == "test").to_numpy()
    user, labels = space.timeline.user[space.windows["at"].to_numpy()][test], space.labels[test]
    found: list[Row] = []
    for past, asked in zip(PASTS, (space.windows, with_one_past(space.windows)), strict=True):
        inside = partial(within_users, labels, groups=(user, user), level=0.95, draws=(1000, 0))
        answers = {method: said[test] for method, said in answered(space, asked).items()}
        for method, said in answers.items():
            own, gap = inside(said), inside(answers[OURS], minus=said)
            assert own
            assert gap  # the dataset is a fixed one
            figures = {
                "auc": auc(labels, said), "within": own.auc, "low": own.low, "high": own.high,
                "ours": gap.auc, "ours_low": gap.low, "ours_high": gap.high,
            }  # fmt: skip
            found.append(
                {
                    "name": f"{DATASET}-{protocol}-{method}-{past.replace(' ', '-')}", "protocol": protocol,
                    "method": method, "past": past, "n": int(test.sum()), "users": users_with_both(labels, user),
                    **{name: round(value or 0.0, 4) for name, value in figures.items()},
                }
            )  # fmt: skip
            print(found[-1], flush=True)
    return found


def with_one_past(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows, those of test with the past that their user's first test target has."""
    first = pl.col("past").min().over("user", "role")
    return windows.with_columns(pl.when(pl.col("role") == "test").then(first).otherwise("past").alias("past"))


def answered(space: Workspace, asked: pl.DataFrame) -> Mapping[str, Floats]:
    """(N,) P(like) of the windows by the decision of the evidence and by plain statistics.

    What is learned from has its own past; the windows are asked with that of `asked`.
    """
    config = space.config
    counted = evidence.numbers(space.timeline, space.attributes, asked, config.evidence, config.split.history)
    learning, labels, role = space.learning
    numbers = pl.concat([counted, learning[counted.height :]])
    deciding, _, _ = space.deciding
    known = role != "test"
    learned = learn(deciding.filter(known), labels[known.to_numpy()], role.filter(known), config.seed)
    fused, _ = learned.with_student(np.full(int(known.sum()), np.nan))
    decided = fused(with_latent(counted, space.timeline, asked), np.full(counted.height, np.nan))
    plain = statistics.predict(numbers, labels, role, config.seed)
    return {OURS: decided} | {method: found[: counted.height] for method, found in plain.items()}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Measure AUC within users on MovieLens-100K.")
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    asked = parser.parse_args()
    here([Task(DATASET, PROTOCOLS[0], 0)])
    for protocol in PROTOCOLS:
        keep(RESULTS / "within.jsonl", measure(protocol, asked.runs))
        note_look("within", DATASET, protocol)


if __name__ == "__main__":
    main()
