"""Measure on valid what each other method could add to the decision of the evidence.

    python benchmarks/adding.py [--noise] RUN [RUN ...]

For runs whose stages predict and baselines are done. A logistic regression reads two log-odds, of the decision without
the student and of one other method, cross-fitted over ten folds of clusters of twins, five times; its AUC minus that of
a regression that reads the decision alone, cross-fitted alike, is what the method could add if its weight were well
chosen. Noise, drawn twenty times in place of a method, shows what nothing adds: the mean of the draws, and the highest;
--noise measures nothing else, so that a run without trained methods will do. Only valid is read. Figures replace those
of the same names in benchmarks/results/adding.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from reasoningrec.data.timeline import Bools, Floats, Ints
from reasoningrec.errors import ReasoningRecError
from reasoningrec.evaluation.decisions import auc
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT
from reasoningrec.evaluation.uncertainty import clusters
from reasoningrec.pipeline.line import check_made_from
from reasoningrec.pipeline.measure import sequences
from reasoningrec.pipeline.predictions import FILES, answers
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.ranking.fuse import log_odds
from reasoningrec.runs import Run

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from table import RESULTS

FOLDS, DRAWS, NOISES = 10, 5, 20


class Valid:
    """The decision's log-odds on valid, (V,), its labels and clusters of twins, parted into folds once for all."""

    def __init__(self, alone: Floats, labels: Bools, cluster: Ints) -> None:
        self.alone, self.labels = alone, labels
        parted = (StratifiedGroupKFold(FOLDS, shuffle=True, random_state=draw) for draw in range(DRAWS))
        self._folds = [list(folds.split(alone[:, None], labels, cluster)) for folds in parted]
        self._auc = self._fitted(alone[:, None])

    def adds(self, other: Floats) -> float:
        """AUC of both minus that of the decision, both cross-fitted; (V,) log-odds of the other."""
        return self._fitted(np.column_stack([self.alone, other])) - self._auc

    def _fitted(self, inputs: Floats) -> float:
        inputs = (inputs - inputs.mean(0)) / np.maximum(inputs.std(0), 1e-9)
        total = np.zeros(self.labels.size)
        for folds in self._folds:
            for known, held_out in folds:
                fitted = LogisticRegression().fit(inputs[known], self.labels[known])
                total[held_out] += fitted.decision_function(inputs[held_out])
        return auc(self.labels, total) or 0.0


def measure(folder: Path, noise_alone: bool) -> list[dict[str, object]]:
    """The rows of one run, one for each method, and one of noise."""
    run = Run.read(folder)
    for stage in FILES:
        run.require(stage)
        check_made_from(run, stage)
    for stage in ("data", "split", *FILES):
        run.check(stage)
    space = Workspace(folder, config_of(run))
    found, of_user = answers(space, "valid"), clusters(sequences(space))
    ids = list(found.labels)
    labels = np.array([found.labels[id] for id in ids])
    user_of = {row.query_id: row.user for row in found.predictions[NO_STUDENT]}
    cluster = np.array([of_user[user_of[id]] for id in ids])
    said = {
        method: log_odds(np.array([of[id] for id in ids], dtype=np.float64))
        for method, rows in found.predictions.items()
        for of in [{row.query_id: row.probability for row in rows}]
    }
    alone = said[NO_STUDENT]
    valid = Valid(alone, labels, cluster)
    name = f"{space.config.name}-{space.config.protocol}"
    shared = {"n": labels.size, "seed": space.config.seed, "decision": round(auc(labels, alone) or 0.0, 4)}
    rows: list[dict[str, object]] = []
    for method, answer in said.items():
        if method not in (FUSED, NO_STUDENT) and not noise_alone:
            other = np.nan_to_num(answer)
            row = {"name": f"{name}-{method}", **shared, "auc": round(auc(labels, other) or 0.0, 4)}
            rows.append(row | {"adds": round(valid.adds(other), 4)})
    rng = np.random.default_rng(0)
    noise = [valid.adds(rng.normal(size=labels.size)) for _ in range(NOISES)]
    row = {"name": f"{name}-noise", **shared, "adds": round(fmean(noise), 4), "most": round(max(noise), 4)}
    return [*rows, row | {"draws": NOISES}]


def main() -> None:
    """Measure the runs named."""
    parser = argparse.ArgumentParser(description="Measure on valid what other methods could add to the decision.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--noise", action="store_true", help="measure what noise adds, and nothing else")
    asked = parser.parse_args()
    for folder in asked.runs:
        try:
            rows = measure(folder, asked.noise)
        except ReasoningRecError as error:
            parser.error(str(error))
        except ValueError as error:  # of scikit-learn: every fold needs likes and dislikes
            parser.error(f"{folder}: its valid questions cannot be parted into {FOLDS} folds: {error}")
        keep(RESULTS / "adding.jsonl", rows)
        for row in rows:
            print(row, flush=True)


if __name__ == "__main__":
    main()
