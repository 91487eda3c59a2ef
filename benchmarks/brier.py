"""Measure the squared error of the decision, beside that of plain regressions and of other ways to say how sure it is.

    python benchmarks/brier.py [--only NAME:PROTOCOL ...]

Needs REASONINGREC_DATA for all but demo. The questions are those of `signs.py`: each user's last three targets before
test, each asked of models fitted on what lies before it; there is no student, and no test target is looked at. Figures
are Brier scores, means over the three targets and by target, and replace those of the same names in
benchmarks/results/brier.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reasoningrec.baselines.regression import Linear, Trees, inputs
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools, Floats
from reasoningrec.ranking.fuse import NUMBERS, SIGNS

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from learned import Rows
from signs import PAIRS, last_targets
from table import RESULTS, ROOT


def measure(dataset: str, protocol: str) -> dict[str, object]:
    """The row of one dataset and protocol."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    rows = Rows.of(config)
    found: dict[str, list[float]] = {}
    n = 0
    for learned, asked in last_targets(rows, protocol):
        n += int(asked.sum())
        for name, said in answered(rows, learned, asked).items():
            found.setdefault(name, []).append(float(((said - rows.labels[asked]) ** 2).mean()))
    row = {
        "name": f"{dataset}-{protocol}",
        "n": n,
        "brier": {name: round(float(np.mean(values)), 4) for name, values in found.items()},
        "by_target": {name: [round(value, 4) for value in values] for name, values in found.items()},
    }
    print(row, flush=True)
    return row


def answered(rows: Rows, learned: Bools, asked: Bools) -> Mapping[str, Floats]:
    """What -> P(like) of the rows asked."""
    seen, new, labels = rows.numbers.filter(learned), rows.numbers.filter(asked), rows.labels[learned]
    plain, names = inputs(seen), inputs(seen, NUMBERS)
    linear, trees = Linear.fit(seen, labels, names, SIGNS)(new), Trees.fit(seen, labels, names, 0)(new)
    decided = (linear + trees) / 2
    return {
        "logistic": sigmoid(Linear.fit(seen, labels, plain)(new)),
        "boosting": sigmoid(Trees.fit(seen, labels, plain, 0)(new)),
        "decision": sigmoid(decided),
        "mean of probabilities": (sigmoid(linear) + sigmoid(trees)) / 2,
        "log-odds by 0.9": sigmoid(0.9 * decided),
        "log-odds by 1.1": sigmoid(1.1 * decided),
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
