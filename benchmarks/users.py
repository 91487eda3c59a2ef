"""Measure how the decision of the evidence grows with the users it learns from: would more data reach further?

    python benchmarks/users.py [--only NAME:PROTOCOL ...] [--draws 5] [--runs FOLDER]

Needs REASONINGREC_DATA. For shares of the users, drawn anew each time, the models of the numbers are fitted on the rows
of these users alone (train, valid and earlier rows) and asked about every distinct test user; what is known of others
is counted and fitted over all users, as ever. Without the student, and with nothing chosen. Figures replace those of
the same names in benchmarks/results/users.jsonl. Each draw is one look at the test set; they are counted in the rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import polars as pl

from reasoningrec.cli.progress import Screen
from reasoningrec.config import read
from reasoningrec.data.split import earlier
from reasoningrec.data.timeline import Bools
from reasoningrec.errors import ReasoningRecError
from reasoningrec.evaluation.decisions import auc
from reasoningrec.evaluation.uncertainty import clusters, distinct
from reasoningrec.pipeline.line import run_line
from reasoningrec.pipeline.measure import sequences
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.ranking import fuse

sys.path.insert(0, str(Path(__file__).parent))
from decisions import Task, folder, here
from keeping import keep, note_look
from table import RESULTS, ROOT

PAIRS = (("fashion", "strict"), ("beauty", "strict"))
"""Where the decision falls short of what was aimed at."""
SHARES = (0.125, 0.25, 0.5, 1.0)


def measure(dataset: str, protocol: str, draws: int, runs: Path) -> list[dict[str, object]]:
    """The rows of one dataset and protocol."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    folder = runs / f"{dataset}-{protocol}-evidence"
    with Screen() as screen:
        run_line(folder, config, screen, "evidence")
    space = Workspace(folder, config)
    numbers, labels, role = space.deciding
    past = earlier(space.timeline, config.split, config.protocol, config.evidence.past_rows)
    user = space.timeline.user[np.concatenate([space.windows["at"].to_numpy(), past["at"].to_numpy()])]
    asked = (space.windows["role"] == "test").to_numpy()
    asked &= space.windows["user"].is_in(list(distinct(clusters(sequences(space))))).to_numpy()
    found = []
    for share in SHARES:
        count = round(share * len(space.timeline.users))
        aucs = [
            auc(space.labels[asked], _answers(space, numbers, labels, role, _drawn(user, count, seed))[asked]) or 0.0
            for seed in range(draws if share < 1 else 1)
        ]
        spread = round(statistics.stdev(aucs), 4) if len(aucs) > 1 else None
        found.append(
            {
                "name": f"{dataset}-{protocol}-{share:g}", "users": count, "n": int(asked.sum()), "looks": len(aucs),
                "auc": round(statistics.fmean(aucs), 4), "spread": spread,
            }
        )  # fmt: skip
        print(found[-1], flush=True)
    return found


def _drawn(user: np.ndarray, count: int, seed: int) -> Bools:
    """Rows of so many users."""
    chosen = np.random.default_rng(seed).permutation(int(user.max()) + 1)[:count]
    return np.isin(user, chosen)


def _answers(space: Workspace, numbers: pl.DataFrame, labels: Bools, role: pl.Series, kept: Bools) -> np.ndarray:
    """(N,) P(like) of the windows by models that learned from the rows `kept`."""
    keep_rows = kept & (role != "test").to_numpy()
    learned = fuse.learn(numbers.filter(keep_rows), labels[keep_rows], role.filter(pl.Series(keep_rows)), 0)
    fused, _ = learned.with_student(np.full(int(keep_rows.sum()), np.nan))
    return fused(numbers[: space.windows.height], np.full(space.windows.height, np.nan))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure how the decision grows with the users it learns from.")
    known = [":".join(pair) for pair in PAIRS]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME:PROTOCOL")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    asked = parser.parse_args()
    if asked.draws < 1:
        parser.error("--draws: must be 1 or more")
    for task in here([Task(*pair, 0) for pair in PAIRS if ":".join(pair) in asked.only]):
        try:
            rows = measure(task.dataset, task.protocol, asked.draws, asked.runs)
        except ReasoningRecError as error:
            sys.exit(f"{task.dataset}:{task.protocol}: {error}")
        keep(RESULTS / "users.jsonl", rows)
        note_look("users", task.dataset, task.protocol, sum(int(str(row["looks"])) for row in rows))


if __name__ == "__main__":
    main()
