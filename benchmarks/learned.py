"""Measure what a decision takes from having learned from rows that its question may not know.

    python benchmarks/learned.py [--only NAME:PROTOCOL ...]

Needs REASONINGREC_DATA. Each user's last three targets before test are asked about, each by models fitted on what lies
before it in its user's order; no test target is looked at. Besides the baselines `logistic` and `boosting`, extremely
randomised trees (Geurts, 2006) with leaves of five rows are fitted, which remember most of what they saw. Figures are
means of AUC over the three targets, and replace those of the same names in benchmarks/results/learned.jsonl.

all             rows of anybody
other-times     without the user's own rows of the target's time, which `strict` does not show
as-many         as many rows as that, drawn from all
earlier         seven blocks of questions, each answered by what is strictly earlier than all of it; AUC within blocks
earlier-as-many as many rows as that, drawn from other-times under `strict`, else from all; the same blocks
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import ExtraTreesClassifier

from reasoningrec.baselines.regression import Linear, Trees, inputs, matrix
from reasoningrec.config import Config, read
from reasoningrec.data import evidence
from reasoningrec.data.attributes import Attributes
from reasoningrec.data.load import load
from reasoningrec.data.split import past_rows
from reasoningrec.data.timeline import Bools, Floats, Ints, Timeline
from reasoningrec.evaluation.decisions import auc
from reasoningrec.evaluation.uncertainty import clusters, distinct
from reasoningrec.ranking.fuse import with_latent

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from table import RESULTS, ROOT

PAIRS = (("fashion", "strict"), ("beauty", "strict"), ("fashion", "honest"), ("beauty", "honest"))
PLACES = (1, 2, 3)
"""Targets before test, from the last on."""
BLOCKS = 7
FIRST = 0.3
"""Share of the questions, the oldest, that stand before the first block."""


@dataclass(frozen=True)
class Rows:
    """Every row that has one before it, as a question, and how many of its user's rows come after it."""

    numbers: pl.DataFrame
    labels: Bools
    user: Ints
    clock: Ints
    after: Ints
    counted: Bools
    """Whether its user counts in the reading."""

    @classmethod
    def of(cls, config: Config) -> Rows:
        """Of a dataset, under the configuration's protocol."""
        corpus = load(config.data, config.name)
        line = Timeline.of(corpus)
        at = np.flatnonzero(line.position >= 1)
        asked = pl.DataFrame({"role": ["train"] * at.size, "at": at, "past": past_rows(line, at, config.protocol)})
        known = evidence.numbers(line, Attributes.of(corpus.items), asked, config.evidence, config.split.history)
        numbers = with_latent(known, line, asked)
        items = {
            user: [line.items[i] for i in line.item[a:b]]
            for user, a, b in zip(line.users, line.start, line.start[1:], strict=False)
        }
        chosen = distinct(clusters(items)) if config.protocol == "strict" else set(line.users)
        counted = np.array([user in chosen for user in line.users])
        after = line.length[line.user] - 1 - line.position
        return cls(numbers, line.liked[at], line.user[at], line.clock[at], after[at], counted[line.user[at]])

    def figures(self, learned: Bools, asked: Bools) -> Floats | None:
        """AUC on the rows asked of linear, trees, their mean, and extremely randomised trees; None: one label only."""
        seen, new, labels = self.numbers.filter(learned), self.numbers.filter(asked), self.labels[learned]
        truth, names = self.labels[asked], inputs(seen)
        linear, trees = Linear.fit(seen, labels, names)(new), Trees.fit(seen, labels, names, 0)(new)
        if labels.all() or not labels.any() or truth.all() or not truth.any():
            return None
        forest = ExtraTreesClassifier(500, min_samples_leaf=5, max_features=0.4, random_state=0)
        remembered = forest.fit(matrix(seen, names), labels).predict_proba(matrix(new, names))[:, 1]
        found = [auc(truth, answer) for answer in (linear, trees, (linear + trees) / 2, remembered)]
        return np.array(found, dtype=np.float64)


def compared(rows: Rows, strict: bool) -> Iterator[tuple[str, int, int, Floats]]:
    """(What is learned from, rows learned from, rows asked about, figures), for every target and block."""
    rng = np.random.default_rng(0)
    moment = rows.user * (int(rows.clock.max()) + 1) + rows.clock

    def drawn(pool: Bools, size: int) -> Bools:
        found = np.zeros_like(pool)
        found[rng.choice(np.flatnonzero(pool), size, replace=False)] = True
        return found

    for place in PLACES:
        every, target = rows.after > place, rows.after == place
        other = every & ~np.isin(moment, moment[target])
        asked = target & rows.counted
        plain = {"all": every, "other-times": other, "as-many": drawn(every, int(other.sum()))}
        for name, learned in plain.items():
            if (found := rows.figures(learned, asked)) is not None:
                yield name, int(learned.sum()), int(asked.sum()), found
        pool = other if strict else every
        cuts = np.quantile(rows.clock[asked], np.linspace(FIRST, 1, BLOCKS + 1))
        for first, last in zip(cuts[:-1], [*cuts[1:-1], np.inf], strict=True):
            block = asked & (rows.clock >= first) & (rows.clock < last)
            past = pool & (rows.clock < first)
            for name, learned in (("earlier", past), ("earlier-as-many", drawn(pool, int(past.sum())))):
                if (found := rows.figures(learned, block)) is not None:
                    yield name, int(learned.sum()), int(block.sum()), found


def measure(dataset: str, protocol: str) -> list[dict[str, object]]:
    """The rows of one dataset and protocol."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    found: dict[str, list[tuple[int, int, Floats]]] = {}
    for name, learned, asked, figures in compared(Rows.of(config), protocol == "strict"):
        found.setdefault(name, []).append((learned, asked, figures))
    kept = []
    for name, parts in found.items():
        weight = np.array([asked for _, asked, _ in parts], dtype=np.float64)
        linear, trees, mean, remembered = np.average([figures for _, _, figures in parts], axis=0, weights=weight)
        row: dict[str, object] = {"name": f"{dataset}-{protocol}-{name}", "n": int(weight.sum())}
        row["rows"] = round(float(np.average([learned for learned, _, _ in parts], weights=weight)))
        aucs = {"linear": linear, "trees": trees, "mean": mean, "extra_trees": remembered}
        kept.append(row | {name: round(float(value), 4) for name, value in aucs.items()})
        print(kept[-1], flush=True)
    return kept


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure what a decision takes from rows its question may not know.")
    known = [":".join(pair) for pair in PAIRS]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME:PROTOCOL")
    asked = parser.parse_args()
    for pair in PAIRS:
        if ":".join(pair) in asked.only:
            keep(RESULTS / "learned.jsonl", measure(*pair))


if __name__ == "__main__":
    main()
