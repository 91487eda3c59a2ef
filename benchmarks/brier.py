"""Measure the squared error of the decision, beside that of plain regressions and of other ways to say how sure it is.

    python benchmarks/brier.py [--only NAME:PROTOCOL ...]

Needs REASONINGREC_DATA for all but demo. The questions are those of `signs.py`: each user's last three targets before
test, each asked of models fitted on what lies before it; the row before is the decision's valid. There is no student,
and no test target is looked at. Figures are Brier scores, means over the three targets and by target, and replace those
of the same names in benchmarks/results/brier.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from reasoningrec.baselines.regression import Linear, Trees, inputs
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools, Floats
from reasoningrec.ranking.fuse import learn

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from learned import PLACES, Rows
from signs import PAIRS, before, last_targets
from table import RESULTS, ROOT


def measure(dataset: str, protocol: str) -> dict[str, object]:
    """The row of one dataset and protocol."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    rows = Rows.of(config)
    found: dict[str, list[float]] = {}
    n = 0
    for place, (learned, asked) in zip(PLACES, last_targets(rows, protocol), strict=True):
        n += int(asked.sum())
        valid = before(rows, place, protocol) & (rows.after == place + 1)
        for name, said in answered(rows, learned, valid, asked).items():
            found.setdefault(name, []).append(float(((said - rows.labels[asked]) ** 2).mean()))
    row = {
        "name": f"{dataset}-{protocol}",
        "n": n,
        "brier": {name: round(float(np.mean(values)), 4) for name, values in found.items()},
        "by_target": {name: [round(value, 4) for value in values] for name, values in found.items()},
    }
    print(row, flush=True)
    return row


def answered(rows: Rows, learned: Bools, valid: Bools, asked: Bools) -> Mapping[str, Floats]:
    """What -> P(like) of the rows asked."""
    seen, new, labels = rows.numbers.filter(learned), rows.numbers.filter(asked), rows.labels[learned]
    plain, known = inputs(seen), valid | learned
    role = pl.Series(np.where(valid, "valid", "train")).filter(known)
    deciding = learn(rows.numbers.filter(known), rows.labels[known], role, 0)
    decision, _ = deciding.with_student(np.full(len(role), np.nan))
    linear, trees = deciding.linear(new), deciding.trees(new)
    mean = (linear + trees) / 2
    return {
        "logistic": sigmoid(Linear.fit(seen, labels, plain)(new)),
        "boosting": sigmoid(Trees.fit(seen, labels, plain, 0)(new)),
        "decision": decision(new, np.full(new.height, np.nan)),
        "mean of log-odds, taken as it is": sigmoid(mean),
        "mean of log-odds, by 0.9": sigmoid(0.9 * mean),
        "mean of log-odds, by 1.1": sigmoid(1.1 * mean),
        "mean of probabilities": (sigmoid(linear) + sigmoid(trees)) / 2,
    }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure the squared error of the decision and of plain regressions.")
    known = [*PAIRS, "amazon-fashion-5core:honest"]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME:PROTOCOL")
    for pair in parser.parse_args().only:
        keep(RESULTS / "brier.jsonl", [measure(*pair.split(":"))])


if __name__ == "__main__":
    main()
