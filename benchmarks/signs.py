"""Measure what it does to a decision that weights of its linear model have to point the way a number is meant.

    python benchmarks/signs.py [--only NAME:PROTOCOL ...]

Needs REASONINGREC_DATA for all but demo. As in `learned.py` each user's last three targets before test are asked about,
each by models fitted on what lies before it, under `strict` without the user's own rows of the target's time; there is
no student, and no test target is looked at. AUC of the linear model without signs and with them, and of either's mean
with the trees, by target; `weights_against` is how many weights point the other way without, at most over the targets.
Figures replace those of the same names in benchmarks/results/signs.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reasoningrec.baselines.regression import Linear, Trees, inputs
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools
from reasoningrec.evaluation.decisions import auc
from reasoningrec.ranking.fuse import NUMBERS, SIGNS

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from learned import PLACES, Rows
from table import RESULTS, ROOT

PAIRS = ("fashion:strict", "beauty:strict", "fashion:honest", "beauty:honest", "ml-100k:strict", "ml-100k:honest",
         "demo:honest")  # fmt: skip
MOST = 30_000
"""Rows that are learned from at most, as in a run (`evidence.past_rows`)."""


def measure(dataset: str, protocol: str) -> dict[str, object]:
    """The row of one dataset and protocol."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    rows = Rows.of(config)
    found, n, wrong = [], 0, 0
    for learned, asked in last_targets(rows, protocol):
        aucs, against = _figures(rows, learned, asked)
        found.append(aucs)
        n, wrong = n + int(asked.sum()), max(wrong, against)
    row: dict[str, object] = {"name": f"{dataset}-{protocol}", "n": n, "weights_against": wrong}
    for name, values in zip(("plain", "signed", "plain_and_trees", "signed_and_trees"), zip(*found, strict=True),
                            strict=True):  # fmt: skip
        row |= {name: round(float(np.mean(values)), 4), f"{name}_by_target": [round(value, 4) for value in values]}
    print(row, flush=True)
    return row


def last_targets(rows: Rows, protocol: str) -> Iterator[tuple[Bools, Bools]]:
    """Rows to learn from and rows to ask about, for each of the last three targets before test."""
    rng = np.random.default_rng(0)
    for place in PLACES:
        learned = before(rows, place, protocol)
        kept = np.zeros_like(learned)
        kept[rng.permutation(np.flatnonzero(learned))[:MOST]] = True
        yield kept, (rows.after == place) & rows.counted


def before(rows: Rows, place: int, protocol: str) -> Bools:
    """Rows before each user's target at `place` of `PLACES`, under `strict` without those of its time."""
    earlier = rows.after > place
    if protocol == "strict":
        moment = rows.user * (int(rows.clock.max()) + 1) + rows.clock
        earlier &= ~np.isin(moment, moment[rows.after == place])
    return earlier


def _figures(rows: Rows, learned: Bools, asked: Bools) -> tuple[list[float], int]:
    """AUC without signs and with them, alone and with the trees; and how many weights point the other way without."""
    seen, new, labels = rows.numbers.filter(learned), rows.numbers.filter(asked), rows.labels[learned]
    names = inputs(seen, NUMBERS)
    plain, signed = Linear.fit(seen, labels, names), Linear.fit(seen, labels, names, SIGNS)
    trees = Trees.fit(seen, labels, names, 0)(new)
    answers = (plain(new), signed(new), plain(new) + trees, signed(new) + trees)
    against = sum(SIGNS[name] * weight < 0 for name, weight in zip(names, plain.weights, strict=True))
    return [auc(rows.labels[asked], answer) or 0.0 for answer in answers], against


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure what signs of the linear model's weights do to a decision.")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=PAIRS, metavar="NAME:PROTOCOL")
    for pair in parser.parse_args().only:
        dataset, protocol = pair.split(":")
        keep(RESULTS / "signs.jsonl", [measure(dataset, protocol)])


if __name__ == "__main__":
    main()
