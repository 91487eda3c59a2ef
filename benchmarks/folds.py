"""Measure what a student adds that is weighed on rows it has not learned from: students of folds, one stack.

    python benchmarks/folds.py [--only NAME:PROTOCOL ...] [--runs FOLDER]

Needs the extra `student`, and REASONINGREC_DATA for all but demo; trains five students of each. The train windows of a
run are parted into five folds by clusters of twins. Each fold is asked of a student, and of models of the evidence,
that learned from the users of the other four, and the answers are weighed by the coefficients that suit the other four
best: the decision's own stack, under its own ridge and under a weak one. (So no answer is learned from by what is asked
for it; the coefficients are, at one remove, by the models that answer the other folds.) Epochs are chosen on valid, as
ever, whose prompts show the rows asked about. AUC over all train windows, with paired intervals that resample clusters,
fits as they are; noise, drawn twenty times in place of the student, shows what nothing adds. No test target is looked
at. Figures replace those of the same names in benchmarks/results/folds.jsonl.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
import polars as pl

from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.cli.progress import Screen
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools, Floats, Ints
from reasoningrec.errors import ReasoningRecError
from reasoningrec.evaluation.decisions import auc, filled
from reasoningrec.evaluation.uncertainty import auc_draws, clusters, percentile_interval
from reasoningrec.pipeline.learn import training_rows
from reasoningrec.pipeline.line import run_line
from reasoningrec.pipeline.measure import sequences
from reasoningrec.pipeline.studies import of_students
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.ranking.fuse import STACK_PENALTY, Stack, learn
from reasoningrec.rows import read_jsonl, write_jsonl
from reasoningrec.runs import Run
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.score import score, use_threads
from reasoningrec.student.train import TrainingRun, train

sys.path.insert(0, str(Path(__file__).parent))
from decisions import Task, folder, here
from keeping import keep
from table import RESULTS, ROOT

PAIRS = ("demo:honest", "beauty:strict", "beauty:honest", "fashion:strict", "fashion:honest", "ml-100k:strict")
FOLDS, NOISES = 5, 20
RIDGES = {"own": STACK_PENALTY, "weak": 1.0}
"""In nats; the weak one, since nothing has flattered a student of a fold."""


@dataclass(frozen=True)
class Folds:
    """The rows that a run's decision learns from, in folds that part no twins; its W train windows are asked about."""

    space: Workspace
    window: Bools
    """(N,) whether a row is a train window."""
    cluster: Ints
    """(N,) of the row's user."""
    fold: Ints
    """(N,)"""

    @classmethod
    def of(cls, space: Workspace) -> Folds:
        """Of a run whose windows are counted."""
        line, windows = space.timeline, space.windows
        found = clusters(sequences(space))
        user = line.user[np.concatenate([windows["at"].to_numpy(), space.past["at"].to_numpy()])]
        cluster = np.array([found[name] for name in line.users])[user]
        drawn = np.random.default_rng(space.config.seed).permutation(max(found.values()) + 1) % FOLDS
        window = np.zeros(user.size, dtype=bool)
        window[: windows.height] = (windows["role"] == "train").to_numpy()
        return cls(space, window, cluster, drawn[cluster])

    @property
    def labels(self) -> Bools:
        """(W,) of the train windows."""
        return self.space.labels[self.window[: self.space.labels.size]]

    @cached_property
    def evidence(self) -> Floats:
        """(W,) log-odds, each by models that learned from the other folds."""
        numbers, labels, role = self.space.deciding
        train = (role == "train").to_numpy()
        found = np.zeros(role.len())
        for fold in range(FOLDS):
            asked = self.window & (self.fold == fold)
            known = asked | train & (self.fold != fold)
            part = pl.Series(np.where(asked, "valid", "train")[known])
            found[asked] = learn(numbers.filter(pl.Series(known)), labels[known], part, self.space.config.seed).evidence
        return found[self.window]

    def student(self, room: Path) -> Floats:
        """(W,) P(Yes), each by a student that learned from the other folds; those that have answered stay in `room`."""
        space, config = self.space, self.space.config
        use_threads(config.threads)
        ids = space.windows.filter(role="train")["id"].to_list()
        fold = dict(zip(ids, self.fold[self.window].tolist(), strict=True))
        rows = {row.case.query.id: row for row in training_rows(space)}
        valid = [TrainingRow(case, space.label_of[case.query.id]) for case in space.cases(space.ids("valid"))]
        said: dict[str, float | None] = {}
        for number in range(FOLDS):
            place = room / f"{number}.jsonl"
            if not place.exists():
                known = [row for id, row in rows.items() if fold[id] != number]
                asked = [row.case for id, row in rows.items() if fold[id] == number]
                run = TrainingRun(room / str(number), config.seed, config.threads)
                answers = score(train(known, valid, config.train, run).student, asked, config.predict.batch_tokens)
                found = zip(asked, answers, strict=True)
                write_jsonl(place, ({"query_id": case.query.id, "p": p} for case, p in found))
            said |= {row["query_id"]: row["p"] for row in read_jsonl(place)}
            print(f"student {number + 1} of {FOLDS} has answered", flush=True)
        return np.array([math.nan if said[id] is None else said[id] for id in ids], dtype=np.float64)

    def decided(self, student: Floats, ridge: float) -> tuple[Floats, float]:
        """(W,) P(like), each weighed by the other folds; and the student's weight for one deviation, mean of folds."""
        fold, evidence, labels = self.fold[self.window], self.evidence, self.labels
        found, weights = np.zeros(fold.size), []
        for number in range(FOLDS):
            seen, asked = fold != number, fold == number
            stack = Stack.fit(evidence[seen], student[seen], labels[seen], ridge)
            found[asked] = stack(evidence[asked], student[asked])
            weights.append(stack.student * stack.student_scale)
        return found, fmean(weights)


def measure(dataset: str, protocol: str, runs: Path) -> dict[str, object]:
    """The row of one dataset and protocol; `adds` has value, low and high."""
    config = read(Task(dataset, protocol, 0).example).model_copy(update={"protocol": protocol})
    run = runs / f"{dataset}-{protocol}-folds"
    with Screen() as screen:
        run_line(run, config, screen, "verify")
    space = Workspace(run, config)
    folds = Folds.of(space)
    mark = of_students(Run.read(run), space)[-12:]  # answers of other texts or settings are not taken for these
    student = folds.student(run / "folds" / f"{mark}-seed{config.seed}")
    alone = auc(folds.labels, filled(student))
    assert alone is not None  # the datasets are fixed ones
    row = {
        "name": f"{dataset}-{protocol}",
        "n": folds.labels.size,
        "positives": int(folds.labels.sum()),
        "seed": config.seed,
        "student": round(alone, 4),
        **{name: added(folds, student, ridge) for name, ridge in RIDGES.items()},
    }
    print(row, flush=True)
    return row


def added(folds: Folds, student: Floats, ridge: float) -> dict[str, object]:
    """What the student adds under a ridge, and what noise does."""
    labels, cluster = folds.labels, folds.cluster[folds.window]
    without, _ = folds.decided(np.full_like(student, np.nan), ridge)
    both, weight = folds.decided(student, ridge)
    draws = auc_draws(labels, np.stack([without, both]), cluster, resamples=1000, seed=folds.space.config.seed)
    areas, interval = [auc(labels, said) for said in (without, both)], percentile_interval(draws[1] - draws[0], 0.95)
    assert areas[0] is not None
    assert areas[1] is not None
    assert interval is not None  # as in `measure`
    rng = np.random.default_rng(0)
    drawn = (folds.decided(sigmoid(rng.normal(size=labels.size)), ridge)[0] for _ in range(NOISES))
    noise = [(auc(labels, said) or 0.0) - areas[0] for said in drawn]
    return {
        "without": round(areas[0], 4),
        "with": round(areas[1], 4),
        "adds": [round(value, 4) for value in (areas[1] - areas[0], *interval)],
        "weight": round(weight, 3),
        "noise_adds": round(fmean(noise), 4),
        "noise_most": round(max(noise), 4),
    }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description="Measure what a student adds that is weighed on rows it has not learned from. Trains five students"
        " of each; needs the extra `student`, and REASONINGREC_DATA for all but demo."
    )
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=PAIRS, metavar="NAME:PROTOCOL",
                        help=f"some of {', '.join(PAIRS)}; without it, all")  # fmt: skip
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    asked = parser.parse_args()
    pairs = (pair.split(":") for pair in asked.only)
    for task in here([Task(dataset, protocol, 0) for dataset, protocol in pairs]):
        try:
            keep(RESULTS / "folds.jsonl", [measure(task.dataset, task.protocol, asked.runs)])
        except ReasoningRecError as error:
            sys.exit(f"{task.dataset}:{task.protocol}: {error}")


if __name__ == "__main__":
    main()
