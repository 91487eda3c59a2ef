"""Measure what each kind of number brings to the decision of the evidence: it without them, minus it with all.

    python benchmarks/without.py [--only NAME:PROTOCOL ...]

Needs REASONINGREC_DATA for all but demo. The questions are those of `signs.py`: each user's last three targets before
test, each asked of models fitted on what lies before it; there is no student, and no test target is looked at. Figures
replace those of the same names in benchmarks/results/without.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from reasoningrec.baselines.regression import Linear, Trees, inputs
from reasoningrec.config import read
from reasoningrec.data.timeline import Bools
from reasoningrec.evaluation.decisions import auc
from reasoningrec.ranking.fuse import NUMBERS, SIGNS

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from learned import Rows
from signs import PAIRS, last_targets
from table import RESULTS, ROOT

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "nothing": (),
    "ratings beside likes": ("user_stars", "item_stars"),
    "how much the item is liked over what its raters give": ("item_surprise",),
    "how many know the item": ("item_log_n",),
    "the latest reactions apart": ("recent", "last"),
    "reactions of the same day": ("day",),
    "the time since the last": ("gap",),
    "earlier reactions to the same item": ("same",),
    "own reactions to its brand, category, price": ("own_brand", "own_category", "own_price"),
    "others' reactions to its brand, category, price": ("crowd_brand", "crowd_category", "crowd_price"),
    "others' reactions to words of its title": ("crowd_word",),
    "texts like it among the liked and the disliked": ("alike", "alike_liked", "alike_disliked"),
    "those who liked what the user liked": ("co_liked", "co_liked_max", "co_liked_min", "vote"),
    "the factorisation": ("latent",),
}
"""What is left out -> its numbers (`data.evidence`, `ranking.latent`); the shares of user and item always stay."""


def measure(dataset: str, protocol: str) -> dict[str, object]:
    """The row of one dataset and protocol: means of AUC over the three targets."""
    config = read(ROOT / "examples" / f"{dataset}.toml").model_copy(update={"protocol": protocol})
    rows = Rows.of(config)
    targets = list(last_targets(rows, protocol))
    aucs = {
        kind: float(np.mean([_auc(rows, left_out, *target) for target in targets])) for kind, left_out in KINDS.items()
    }
    whole = aucs.pop("nothing")
    lost = {kind: round(value - whole, 4) for kind, value in aucs.items()}
    row = {
        "name": f"{dataset}-{protocol}",
        "n": sum(int(asked.sum()) for _, asked in targets),
        "whole": round(whole, 4),
    }
    print({**row, "without": lost}, flush=True)
    return {**row, "without": lost}


def _auc(rows: Rows, left_out: tuple[str, ...], learned: Bools, asked: Bools) -> float:
    """Of the mean of the two models, without some numbers."""
    seen, new, labels = rows.numbers.filter(learned), rows.numbers.filter(asked), rows.labels[learned]
    names = [name for name in inputs(seen, NUMBERS) if name not in left_out]
    answer = Linear.fit(seen, labels, names, SIGNS)(new) + Trees.fit(seen, labels, names, 0)(new)
    return auc(rows.labels[asked], answer) or 0.0


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure what each kind of number brings to the decision.")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=PAIRS, metavar="NAME:PROTOCOL")
    for pair in parser.parse_args().only:
        keep(RESULTS / "without.jsonl", [measure(*pair.split(":"))])


if __name__ == "__main__":
    main()
