"""Two plain models of the evidence's numbers, kept as readable JSON: a logistic regression and boosted trees.

scikit-learn fits them, or scipy where weights are bound; what is stored and applied is our own few numbers, so that no
pickle is ever written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from reasoningrec.data.timeline import Bools, Floats
from reasoningrec.rows import Json

INPUTS: Final = (
    "user", "window", "recent", "last", "user_stars", "item", "item_surprise", "item_stars", "item_log_n", "same",
    "own_brand", "own_category", "own_price", "crowd_brand", "crowd_category", "crowd_price", "crowd_word", "day",
    "gap", "alike", "alike_liked", "alike_disliked", "co_liked", "co_liked_max", "co_liked_min", "vote",
)  # fmt: skip
"""The numbers (see `data.evidence`) that models read; those that a dataset lacks are left out."""
PENALTY: Final = 0.03
"""C of the logistic regression (inverse L2 strength) on standardised inputs."""
TREES, DEPTH, RATE, ROWS, LEAF = 150, 2, 0.05, 0.7, 50
"""Boosting: trees, their depth, learning rate, share of rows for each, least rows in a leaf (Friedman, 2002)."""


def settings() -> dict[str, Json]:
    """All that the two models depend on beside the numbers."""
    return {"inputs": list(INPUTS), "penalty": PENALTY, "trees": [TREES, DEPTH, RATE, ROWS, LEAF]}


def inputs(numbers: pl.DataFrame, names: Sequence[str] = INPUTS) -> list[str]:
    """Those of `names` that the dataset has and that vary."""
    return [name for name in names if name in numbers.columns and numbers[name].n_unique() > 1]


def matrix(numbers: pl.DataFrame, names: Sequence[str]) -> Floats:
    """(N, D) the named columns."""
    return np.asarray(numbers.select(names).to_numpy(), dtype=np.float64)


@dataclass(frozen=True)
class Linear:
    """intercept + sum_d weights[d] (x[d] - mean[d]) / scale[d], in log-odds."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(
        cls, numbers: pl.DataFrame, labels: Bools, names: Sequence[str], signs: Mapping[str, int] | None = None
    ) -> Self:
        """L2-penalised logistic regression on standardised inputs.

        `signs`: by name, 1 for a weight that may not be below zero, -1 for one that may not be above it; 0, and no
        `signs`, for any weight.
        """
        if labels.all() or not labels.any():
            zeros, ones = (0.0,) * len(names), (1.0,) * len(names)
            return cls(tuple(names), zeros, ones, zeros, prior(labels))
        values = matrix(numbers, names)
        mean, scale = values.mean(0), np.maximum(values.std(0), 1e-9)
        values = (values - mean) / scale
        if signs is None:
            model = LogisticRegression(C=PENALTY, max_iter=5000, tol=1e-8).fit(values, labels)
            weights, intercept = model.coef_[0], model.intercept_[0]
        else:
            intercept, *weights = _signed(values, labels, [signs[name] for name in names])
        return cls(tuple(names), tuple(mean), tuple(scale), tuple(map(float, weights)), float(intercept))

    def __call__(self, numbers: pl.DataFrame) -> Floats:
        """(N,) log-odds."""
        values = (matrix(numbers, self.names) - np.array(self.mean)) / np.array(self.scale)
        return np.asarray(self.intercept + values @ np.array(self.weights))


@dataclass(frozen=True)
class Trees:
    """prior + rate x the sum of the trees' leaves, in log-odds.

    A tree is (feature, threshold, left, right, value), each a list over its nodes, node 0 the root; a leaf has feature
    -1. A row goes left where x[feature] <= threshold (in single precision).
    """

    names: tuple[str, ...]
    prior: float
    rate: float
    trees: tuple[tuple[list[Any], ...], ...]

    @classmethod
    def fit(cls, numbers: pl.DataFrame, labels: Bools, names: Sequence[str], seed: int) -> Self:
        """Stochastic gradient boosting of shallow trees under log loss."""
        if labels.all() or not labels.any():
            return cls(tuple(names), prior(labels), RATE, ())
        model = GradientBoostingClassifier(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=ROWS, min_samples_leaf=LEAF,
            random_state=seed,
        ).fit(matrix(numbers, names), labels)  # fmt: skip
        return cls(tuple(names), prior(labels), RATE, tuple(_nodes(tree.tree_) for tree in model.estimators_[:, 0]))

    def __call__(self, numbers: pl.DataFrame) -> Floats:
        """(N,) log-odds."""
        values = matrix(numbers, self.names).astype(np.float32)
        rows = np.arange(values.shape[0])
        total = np.full(values.shape[0], self.prior)
        for feature, threshold, left, right, value in (map(np.asarray, tree) for tree in self.trees):
            node = np.zeros(values.shape[0], dtype=np.int64)
            while (inner := feature[node] >= 0).any():
                goes_left = values[rows, np.maximum(feature[node], 0)] <= threshold[node]
                node = np.where(inner, np.where(goes_left, left[node], right[node]), node)
            total += self.rate * value[node]
        return total


def _signed(values: Floats, labels: Bools, signs: Sequence[int]) -> Floats:
    """(1 + D,) intercept and weights of the same regression, each weight on its side of zero."""
    side = np.where(labels, 1.0, -1.0)

    def loss(c: Floats) -> tuple[float, Floats]:
        z = side * (c[0] + values @ c[1:])
        slope = -side * expit(-z)
        ridge = c[1:] / PENALTY
        return float(np.logaddexp(0.0, -z).sum() + ridge @ c[1:] / 2), np.append(slope.sum(), values.T @ slope + ridge)

    bounds = [(None, None), *((0 if sign > 0 else None, 0 if sign < 0 else None) for sign in signs)]
    start = np.zeros(1 + len(signs))
    close = {"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-6}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=close).x)


def _nodes(tree: Any) -> tuple[list[Any], ...]:
    leaf = tree.children_left < 0
    feature = np.where(leaf, -1, tree.feature)
    parts = (feature, np.where(leaf, 0.0, tree.threshold), tree.children_left, tree.children_right, tree.value[:, 0, 0])
    return tuple(part.tolist() for part in parts)


def prior(labels: Bools) -> float:
    """Log-odds of the share of likes; of one label alone by Laplace's rule of succession, (s + 1) / (n + 2)."""
    likes, others = int(labels.sum()), int((~labels).sum())
    plain = likes and others
    return float(np.log(likes / others if plain else (likes + 1) / (others + 1)))
