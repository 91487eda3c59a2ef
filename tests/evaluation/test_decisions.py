from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from reasoningrec.errors import RunError
from reasoningrec.evaluation import decisions
from reasoningrec.records import Prediction

# Probabilities of few values, so that ties are common.
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60)
BOTH = ROWS.filter(lambda rows: len({label for label, _ in rows}) == 2)


def arrays(rows: list[tuple[bool, int]]) -> tuple[decisions.Bools, decisions.Floats]:
    labels, eighths = zip(*rows, strict=True)
    return np.array(labels, dtype=np.bool_), np.array(eighths) / 8


def predict(query: str, probability: float | None) -> Prediction:
    return Prediction(query, "u", "i", "m", probability)


@given(BOTH)
def test_auc_equals_sklearn(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    assert decisions.auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))


@given(BOTH)
def test_auc_depends_on_order_only_and_turns_with_it(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    area = decisions.auc(labels, scores)
    assert decisions.auc(labels, np.exp(scores)) == pytest.approx(area)
    assert decisions.auc(labels, -scores) == pytest.approx(1 - area)  # type: ignore[operator]


@given(BOTH, st.sampled_from([0.3, 0.5, 0.875]))
def test_hard_measures_equal_sklearn(rows: list[tuple[bool, int]], threshold: float) -> None:
    labels, probabilities = arrays(rows)
    found = decisions.measure(labels, probabilities, threshold=threshold, bins=10, seed=0)
    said = probabilities >= threshold
    recalls = [metrics.recall_score(labels, said, pos_label=side, zero_division=0) for side in (True, False)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.f1 == pytest.approx(metrics.f1_score(labels, said))
    assert found.brier == pytest.approx(metrics.brier_score_loss(labels, probabilities))
    clipped = np.clip(probabilities, decisions.CLIP, 1 - decisions.CLIP)
    assert found.log_loss == pytest.approx(metrics.log_loss(labels, clipped))


def test_undefined_measures_are_none_not_a_crash() -> None:
    likes, p = np.array([True, True]), np.array([0.4, 0.6])
    found = decisions.measure(likes, p, threshold=0.5, bins=10, seed=0)
    assert (found.auc, found.balanced_accuracy) == (None, None)
    assert found.f1 is not None
    assert decisions.f1(~likes, ~likes) is None
    assert decisions.roc(likes, p) == ()
    empty = decisions.measure(likes[:0], p[:0], threshold=0.5, bins=10, seed=0)
    assert (empty.n, empty.auc, empty.f1, empty.log_loss, empty.brier, empty.ece, empty.ece_floor) == (0, *[None] * 6)


def test_invalid_answers_are_wrong_in_hard_measures_whatever_the_label() -> None:
    labels = np.array([True, True, False, False])
    right = np.array([0.9, 0.9, 0.1, 0.1])
    for place in range(4):
        p = right.copy()
        p[place] = np.nan
        found = decisions.measure(labels, p, threshold=0.5, bins=2, seed=0)
        assert found.invalid == 1
        assert found.n == 4
        assert found.balanced_accuracy == 0.75


def test_invalid_answers_have_the_mean_probability_in_soft_measures() -> None:
    assert decisions.filled(np.array([0.2, np.nan, 0.6])).tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert decisions.filled(np.array([np.nan, np.nan])).tolist() == [0.5, 0.5]
    all_invalid = decisions.measure(np.array([True, False]), np.full(2, np.nan), threshold=0.5, bins=2, seed=0)
    assert (all_invalid.auc, all_invalid.balanced_accuracy, all_invalid.f1) == (0.5, 0.0, 0.0)


def test_certain_errors_cost_a_bounded_log_loss() -> None:
    assert decisions.log_loss(np.array([True]), np.array([0.0])) == pytest.approx(-math.log(decisions.CLIP))


def test_align_keeps_order_and_marks_invalid_and_missing_answers() -> None:
    row = decisions.align([predict("b", 0.25), predict("a", None)], ["a", "b", "c"])
    assert np.isnan(row).tolist() == [True, False, True]
    assert row[1] == 0.25


@pytest.mark.parametrize("bad", [[predict("a", 0.1), predict("a", 0.1)], [predict("a", 1.5)], [predict("a", -0.1)]])
def test_align_refuses_what_cannot_be(bad: list[Prediction]) -> None:
    with pytest.raises(RunError, match="query"):
        decisions.align(bad, ["a"])


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.2, 0.8, 0.9])
    labels = np.array([False, True, True, True])
    # Bins {0.1, 0.2} and {0.8, 0.9}: |0.5 - 0.15| / 2 + |1 - 0.85| / 2.
    assert decisions.calibration_error(labels, p, 2) == pytest.approx(0.25)
    assert [bin_.n for bin_ in decisions.reliability(labels, p, 2)] == [2, 2]


@given(ROWS, st.integers(2, 12))
def test_equal_probabilities_share_a_bin_and_order_does_not_matter(rows: list[tuple[bool, int]], bins: int) -> None:
    labels, p = arrays(rows)
    shuffled = np.random.default_rng(0).permutation(len(p))
    error = decisions.calibration_error(labels, p, bins)
    assert decisions.calibration_error(labels[shuffled], p[shuffled], bins) == pytest.approx(error)
    found = decisions.reliability(labels, p, bins)
    assert sum(bin_.n for bin_ in found) == len(p)
    assert len(found) <= bins
    assert error == pytest.approx(sum(bin_.n * abs(bin_.share - bin_.predicted) for bin_ in found) / len(p))


def test_bins_have_equal_mass_without_ties() -> None:
    p = np.random.default_rng(1).random(1000)
    assert {bin_.n for bin_ in decisions.reliability(p > 0.5, p, 10)} == {100}


def test_a_constant_at_the_base_rate_has_no_calibration_error() -> None:
    labels = np.arange(1000) % 4 == 0
    assert decisions.calibration_error(labels, np.full(1000, 0.25)) == pytest.approx(0)


def test_noise_floor_is_what_calibrated_models_get() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(500)
    seen = [decisions.calibration_error(rng.random(500) < p, p) for _ in range(200)]
    floor = decisions.calibration_floor(p, 10, seed=5)
    assert floor == pytest.approx(np.mean(seen), rel=0.1)  # type: ignore[arg-type]
    assert floor == decisions.calibration_floor(p, 10, seed=5)
    assert floor < decisions.calibration_error(rng.random(500) < p**3, p)  # type: ignore[operator]
    assert decisions.calibration_floor(np.tile(p, 16), 10, seed=5) == pytest.approx(floor / 4, rel=0.15)  # type: ignore[operator]


@given(BOTH)
def test_roc_rises_and_holds_the_auc(rows: list[tuple[bool, int]]) -> None:
    labels, scores = arrays(rows)
    x, y = np.array(decisions.roc(labels, scores)).T
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(decisions.auc(labels, scores))


@given(BOTH)
def test_chosen_threshold_is_the_best_and_nearest_to_a_half(rows: list[tuple[bool, int]]) -> None:
    labels, p = arrays(rows)

    def score(threshold: float) -> float:
        found = decisions.balanced_accuracy(labels, p >= threshold)
        assert found is not None
        return found

    chosen = decisions.choose_threshold(labels, p)
    best = max(score(t) for t in np.arange(17) / 16)
    assert score(chosen) >= best - 1e-12
    if score(0.5) >= best - 1e-12:
        assert chosen == 0.5


def test_of_equal_thresholds_the_one_nearest_a_half_is_chosen() -> None:
    labels = np.array([False, True, False, True, False, True])
    p = np.array([0.1, 0.3, 0.6, 0.65, 0.8, 0.9])  # 0.2, 0.625 and 0.85 are equally good
    assert decisions.choose_threshold(labels, p) == pytest.approx(0.625)


def test_threshold_without_news_is_a_half() -> None:
    assert decisions.choose_threshold(np.array([True, True]), np.array([0.8, 0.9])) == 0.5
    assert decisions.choose_threshold(np.array([True, False]), np.full(2, np.nan)) == 0.5
    assert decisions.choose_threshold(np.zeros(0, dtype=np.bool_), np.zeros(0)) == 0.5


def test_threshold_leaves_invalid_answers_out() -> None:
    labels = np.array([True, False, True, False, False])
    p = np.array([0.9, 0.8, np.nan, np.nan, np.nan])
    assert decisions.choose_threshold(labels, p) == pytest.approx(0.85)
