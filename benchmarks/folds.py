"""Measure what a student adds that has not learned from the rows it is weighed on: students of folds, one stack.

    python benchmarks/folds.py [--only NAME:PROTOCOL ...] [--runs FOLDER]

Needs the extra `student`, and REASONINGREC_DATA for all but demo. The train windows of a run are parted into five folds
by clusters of twins. Each fold is asked of a student, and of models of the evidence, that learned from the other four
(the student's epoch is chosen on valid, as ever), and is weighed by the coefficients that suit the other four best:
under the decision's own ridge, and under a weak one. AUC over all train windows, with paired intervals that resample
clusters; no test target is looked at. Figures replace those of the same names in benchmarks/results/folds.jsonl.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reasoningrec.cli.progress import Screen
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools, Floats, Ints
from reasoningrec.evaluation.decisions import auc, filled
from reasoningrec.evaluation.uncertainty import auc_draws, clusters, percentile_interval
from reasoningrec.pipeline.learn import training_rows
from reasoningrec.pipeline.line import run_line
from reasoningrec.pipeline.measure import sequences
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.ranking.fuse import Learned, Stack, learn, log_odds
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.score import score as ask
from reasoningrec.student.score import use_threads
from reasoningrec.student.train import TrainingRun, train

sys.path.insert(0, str(Path(__file__).parent))
from decisions import Task, folder, here
from keeping import keep
from table import RESULTS, ROOT

PAIRS = ("demo:honest", "beauty:strict", "beauty:honest", "fashion:strict", "fashion:honest", "ml-100k:strict")
FOLDS = 5
WEAK = 1.0
"""Ridge, in nats, of the second fit: nothing has flattered a student of a fold."""
DECISION, WITHOUT = "decision", "without student"
WEAKLY, WEAKLY_WITHOUT = "weak ridge", "weak ridge, without student"


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

    @cached_property
    def learned(self) -> list[Learned]:
        """By fold, the models of the evidence that learned from the others, and their answers to its train windows."""
        numbers, labels, role = self.space.deciding
        train = (role == "train").to_numpy()
        found = []
        for fold in range(FOLDS):
            asked = self.window & (self.fold == fold)
            known = asked | train & (self.fold != fold)
            part = pl.Series(np.where(asked, "valid", "train")[known])
            found.append(learn(numbers.filter(pl.Series(known)), labels[known], part, self.space.config.seed))
        return found

    def student(self, rooms: Path) -> Floats:
        """(W,) P(Yes), each by a student that learned from the other folds."""
        space, config = self.space, self.space.config
        use_threads(config.threads)
        rows = {row.case.query.id: row for row in training_rows(space)}
        fold = dict(zip(self.ids, self.fold[self.window].tolist(), strict=True))
        valid = [TrainingRow(case, space.label_of[case.query.id]) for case in space.cases(space.ids("valid"))]
        said: dict[str, float] = {}
        for number in range(FOLDS):
            known = [row for id, row in rows.items() if fold[id] != number]
            asked = [row for id, row in rows.items() if fold[id] == number]
            taught = train(known, valid, config.train, TrainingRun(rooms / str(number), config.seed, config.threads))
            answers = ask(taught.student, [row.case for row in asked], config.predict.batch_tokens)
            for row, p in zip(asked, answers, strict=True):
                said[row.case.query.id] = math.nan if p is None else p
            print(f"student {number + 1} of {FOLDS}: {len(known)} rows, {taught.student.card.metrics}", flush=True)
        return np.array([said[id] for id in self.ids])

    def decided(self, student: Floats) -> dict[str, Floats]:
        """What -> (W,) log-odds, each by coefficients that suit the other folds; `student` is (W,) P(Yes)."""
        fold, labels = self.fold[self.window], self.labels
        evidence = np.zeros(fold.size)
        for number, learned in enumerate(self.learned):
            evidence[fold == number] = learned.evidence
        nobody = np.full_like(student, np.nan)
        found = {name: np.zeros(fold.size) for name in (DECISION, WITHOUT, WEAKLY, WEAKLY_WITHOUT)}
        for number, learned in enumerate(self.learned):
            seen, asked = fold != number, fold == number
            held = replace(learned, valid=seen, labels=labels[seen], evidence=evidence[seen])
            for name, said in ((DECISION, student), (WITHOUT, nobody)):
                found[name][asked] = stacked(held.with_student(said)[0].stack, evidence[asked], said[asked])
            for name, columns in ((WEAKLY, (evidence, log_odds(filled(student)))), (WEAKLY_WITHOUT, (evidence,))):
                read = np.column_stack(columns)
                model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / WEAK)).fit(read[seen], labels[seen])
                found[name][asked] = model.decision_function(read[asked])
        return found

    @property
    def labels(self) -> Bools:
        """(W,) of the train windows."""
        return self.space.labels[self.window[: self.space.labels.size]]

    @property
    def ids(self) -> list[str]:
        """(W,) of the train windows."""
        return self.space.windows.filter(role="train")["id"].to_list()


def stacked(stack: Stack, evidence: Floats, student: Floats) -> Floats:
    """Log-odds of the decision."""
    known = np.nan_to_num(log_odds(student), nan=stack.student_mean)
    return stack.intercept + stack.evidence * evidence + stack.student * known


def measure(dataset: str, protocol: str, runs: Path) -> dict[str, object]:
    """The row of one dataset and protocol; `adds` has value, low and high."""
    task = Task(dataset, protocol, 0)
    config = read(task.example).model_copy(update={"protocol": protocol})
    run = runs / f"{dataset}-{protocol}-folds"
    with Screen() as screen:
        run_line(run, config, screen, "verify")
    folds = Folds.of(Workspace(run, config))
    student = folds.student(run / "folds")
    said = {"student": log_odds(filled(student)), **folds.decided(student)}
    answers, labels = np.stack([*said.values()]), folds.labels
    areas = {name: auc(labels, these) for name, these in said.items()}
    draws = auc_draws(labels, answers, folds.cluster[folds.window], resamples=1000, seed=config.seed)
    by_name = dict(zip(said, draws, strict=True))
    adds = {}
    for one, other in ((DECISION, WITHOUT), (WEAKLY, WEAKLY_WITHOUT)):
        interval = percentile_interval(by_name[one] - by_name[other], 0.95)
        gap = ((areas[one] or 0.0) - (areas[other] or 0.0), *(interval or ()))
        adds[one] = [round(value, 4) for value in gap]
    row: dict[str, object] = {
        "name": f"{dataset}-{protocol}", "n": int(labels.size), "positives": int(labels.sum()),
        "auc": {name: round(area or 0.0, 4) for name, area in areas.items()}, "adds": adds,
    }  # fmt: skip
    print(row, flush=True)
    return row


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure what a student adds that is weighed on rows new to it.")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=PAIRS, metavar="NAME:PROTOCOL")
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    asked = parser.parse_args()
    for pair in asked.only:
        dataset, protocol = pair.split(":")
        here([Task(dataset, protocol, 0)])
        keep(RESULTS / "folds.jsonl", [measure(dataset, protocol, asked.runs)])


if __name__ == "__main__":
    main()
