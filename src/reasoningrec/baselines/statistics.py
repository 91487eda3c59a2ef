"""Plain statistics as recommenders: what one line of counting, or a regression on such counts, achieves.

Each number becomes a probability by a one- or two-input logistic regression, which keeps its order (so its AUC is that
of the number itself), or turns it where fewer likes go with more of it, and makes log loss and calibration comparable.
What predicts valid is fitted on train; what predicts test on train and valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from reasoningrec.baselines.allowed import balanced, drawn_shift
from reasoningrec.baselines.regression import Linear, Trees, inputs
from reasoningrec.data.timeline import Bools, Floats

COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "user-share": ("history share",),
    "item-share": ("item_share",),
    "user-item-share": ("history share", "item_share"),
    "last": ("last",),
    "popularity": ("item_log_n",),
}
"""Method -> its inputs. The history share is that of likes among the reactions a prompt shows, the base rate where
there are none; the item share is that of likes among others, drawn towards the base rate."""


def predict(numbers: pl.DataFrame, labels: Bools, role: pl.Series, seed: int, shots: int = 0) -> dict[str, Floats]:
    """(N,) P(like) of every method; rows of role train are answered in-sample and not to be measured.

    Args:
        numbers: (N rows) of `data.evidence.numbers`.
        labels: (N,).
        role: (N,) train, valid or test.
        seed: of the boosting's row samples, and of the shots.
        shots: K train windows that all is fitted on, as many of each label; 0 = all, and valid too for test. Answers
            are those at the share of likes of all train windows.
    """
    share = pl.when(pl.col("window_n") > 0).then(pl.col("window_liked") / pl.col("window_n")).otherwise(pl.col("base"))
    numbers = numbers.with_columns(share.alias("history share"))
    names = inputs(numbers)
    test = role.to_numpy() == "test"
    found = {method: np.zeros(len(numbers)) for method in (*COUNTS, "logistic", "boosting")}
    for fitted, asked in ((role.to_numpy() == "train", ~test), (~test, test)):
        known, shift = fitted, 0.0
        if shots:
            train = role.to_numpy() == "train"
            known = _few(labels, train, shots, seed)
            shift = drawn_shift(labels[train], labels[known])
        seen, truth = numbers.filter(pl.Series(known)), labels[known]
        unseen = numbers.filter(pl.Series(asked))
        for method, columns in COUNTS.items():
            found[method][asked] = sigmoid(shift + Linear.fit(seen, truth, columns)(unseen))
        found["logistic"][asked] = sigmoid(shift + Linear.fit(seen, truth, names)(unseen))
        found["boosting"][asked] = sigmoid(shift + Trees.fit(seen, truth, names, seed)(unseen))
    return found


def _few(labels: Bools, train: Bools, shots: int, seed: int) -> Bools:
    """(N,) which rows are the shots."""
    places = np.flatnonzero(train)
    chosen = np.zeros_like(train)
    chosen[places[balanced(labels[places], shots, np.random.default_rng(seed))]] = True
    return chosen


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), stable for large |z|."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))
