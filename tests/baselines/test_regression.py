"""The two plain models: what is stored and applied equals what was fitted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from reasoningrec.baselines import regression
from reasoningrec.baselines.regression import INPUTS, Linear, Trees, inputs, matrix
from reasoningrec.data.timeline import Bools

NAMES = ("user", "item", "last", "gap")


def made(n: int = 300, seed: int = 0) -> tuple[pl.DataFrame, Bools]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 4))
    values[:, 2] = np.sign(values[:, 2]) / 2
    z = 1.5 * values[:, 0] - values[:, 1] + values[:, 2] * values[:, 0]
    return pl.DataFrame(values, schema=list(NAMES)), rng.random(n) < 1 / (1 + np.exp(-z))


def test_trees_are_sklearns() -> None:
    numbers, labels = made()
    known = GradientBoostingClassifier(
        n_estimators=regression.TREES, max_depth=regression.DEPTH, learning_rate=regression.RATE,
        subsample=regression.ROWS, min_samples_leaf=regression.LEAF, random_state=3,
    ).fit(matrix(numbers, NAMES), labels)  # fmt: skip
    unseen, _ = made(500, 1)
    ours = Trees.fit(numbers, labels, NAMES, 3)
    assert ours(unseen) == pytest.approx(known.decision_function(matrix(unseen, NAMES)), abs=1e-9)


def test_trees_decide_values_on_a_threshold_as_sklearn_does() -> None:
    numbers, labels = made()
    numbers = numbers.with_columns(pl.all().round(1))
    known = GradientBoostingClassifier(
        n_estimators=regression.TREES, max_depth=regression.DEPTH, learning_rate=regression.RATE,
        subsample=regression.ROWS, min_samples_leaf=regression.LEAF, random_state=0,
    ).fit(matrix(numbers, NAMES), labels)  # fmt: skip
    ours = Trees.fit(numbers, labels, NAMES, 0)
    on_thresholds = pl.DataFrame({name: np.linspace(-2, 2, 401) for name in NAMES})
    assert ours(on_thresholds) == pytest.approx(known.decision_function(matrix(on_thresholds, NAMES)), abs=1e-9)


def test_linear_is_sklearns_on_standardised_inputs() -> None:
    numbers, labels = made()
    values = matrix(numbers, NAMES)
    standard = (values - values.mean(0)) / values.std(0)
    known = LogisticRegression(C=regression.PENALTY, max_iter=5000, tol=1e-8).fit(standard, labels)
    assert Linear.fit(numbers, labels, NAMES)(numbers) == pytest.approx(known.decision_function(standard), abs=1e-6)


def test_signs_that_are_free_change_nothing() -> None:
    numbers, labels = made()
    free = Linear.fit(numbers, labels, NAMES, dict.fromkeys(NAMES, 0))
    assert free(numbers) == pytest.approx(Linear.fit(numbers, labels, NAMES)(numbers), abs=1e-4)


def test_a_weight_on_the_wrong_side_is_none_and_the_others_are_fitted_without_it() -> None:
    numbers, labels = made()  # `item` speaks against an item here
    signs = {"user": 1, "item": 1, "last": 0, "gap": 0}
    bound = Linear.fit(numbers, labels, NAMES, signs)
    others = [name for name in NAMES if name != "item"]
    assert bound.weights[NAMES.index("item")] == 0
    assert bound(numbers) == pytest.approx(Linear.fit(numbers, labels, others)(numbers), abs=1e-4)
    falling = Linear.fit(numbers, labels, NAMES, {**signs, "user": -1, "item": -1})
    assert falling.weights[NAMES.index("user")] == 0 > falling.weights[NAMES.index("item")]


def test_linear_does_not_care_for_units() -> None:
    numbers, labels = made()
    other = numbers.with_columns(pl.col("user") * 1000 - 7)
    assert Linear.fit(other, labels, NAMES)(other) == pytest.approx(
        Linear.fit(numbers, labels, NAMES)(numbers), abs=1e-6
    )


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_gives_its_prior(label: bool) -> None:
    numbers, _ = made(40)
    labels = np.full(40, label)
    for z in (Linear.fit(numbers, labels, NAMES)(numbers), Trees.fit(numbers, labels, NAMES, 0)(numbers)):
        assert z == pytest.approx((1 if label else -1) * np.log(41))


def test_constant_inputs_do_no_harm() -> None:
    numbers, labels = made()
    numbers = numbers.with_columns(last=pl.lit(0.5))
    assert np.isfinite(Linear.fit(numbers, labels, NAMES)(numbers)).all()
    assert np.isfinite(Trees.fit(numbers, labels, NAMES, 0)(numbers)).all()


def test_fitting_follows_the_seed_alone() -> None:
    numbers, labels = made()
    assert Trees.fit(numbers, labels, NAMES, 0) == Trees.fit(numbers, labels, NAMES, 0)
    assert Trees.fit(numbers, labels, NAMES, 0) != Trees.fit(numbers, labels, NAMES, 1)


def test_inputs_are_those_that_there_are_and_that_vary() -> None:
    numbers, _ = made()
    assert inputs(numbers) == [name for name in INPUTS if name in NAMES]
    assert "last" not in inputs(numbers.with_columns(last=pl.lit(0.5)))
    assert inputs(numbers.with_columns(unheard_of=pl.col("user"))) == inputs(numbers)
