"""DeLong against its definition written out, pair by pair; and the coverage of both kinds of interval on made data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reasoningrec.evaluation import decisions, delong, uncertainty


def slow(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The structural components of DeLong et al. (1988), equations 3 to 5, with every pair written out."""
    likes, others = scores[:, labels], scores[:, ~labels]
    m, n = likes.shape[1], others.shape[1]
    won = np.zeros((len(scores), m, n))
    for r in range(len(scores)):
        for i in range(m):
            for j in range(n):
                won[r, i, j] = 1.0 if likes[r, i] > others[r, j] else 0.5 if likes[r, i] == others[r, j] else 0.0
    areas = won.mean(axis=(1, 2))
    v10, v01 = won.mean(axis=2), won.mean(axis=1)
    s10, s01 = (np.zeros((len(scores), len(scores))) for _ in range(2))
    for r in range(len(scores)):
        for s in range(len(scores)):
            s10[r, s] = ((v10[r] - areas[r]) * (v10[s] - areas[s])).sum() / (m - 1)
            s01[r, s] = ((v01[r] - areas[r]) * (v01[s] - areas[s])).sum() / (n - 1)
    return areas, s10 / m + s01 / n


labels_and_scores = st.integers(4, 14).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.bool_, n), hnp.arrays(np.float64, (3, n), elements=st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9]))
    )
)


@given(labels_and_scores)
def test_it_is_the_definition_ties_included(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = drawn
    found = delong.delong(labels, scores)
    if min(labels.sum(), (~labels).sum()) < 2:
        assert found is None
        return
    assert found is not None
    areas, covariance = slow(labels, scores)
    assert found[0] == pytest.approx(areas)
    assert found[1] == pytest.approx(covariance)
    assert found[0] == pytest.approx([decisions.auc(labels, row) for row in scores])


def test_a_worked_example() -> None:
    """Likes score 3, 2; dislikes 1, 2: won 1, 1, 1, 1/2. V10 = (1, 3/4), V01 = (1, 3/4): 1/32 / 2 + 1/32 / 2."""
    labels = np.array([True, True, False, False])
    found = delong.delong(labels, np.array([[3.0, 2.0, 1.0, 2.0]]))
    assert found is not None
    areas, covariance = found
    assert areas.tolist() == [0.875]
    assert covariance[0, 0] == pytest.approx(1 / 32)


def test_intervals_of_areas_stay_within_bounds() -> None:
    assert delong.area_interval(0.99, 0.01, 0.95) == (pytest.approx(0.794, abs=1e-3), 1.0)
    low, high = delong.difference_interval(0.0, 0.01, 0.95)
    assert (low, high) == (pytest.approx(-0.196, abs=1e-3), pytest.approx(0.196, abs=1e-3))


def made(rng: np.random.Generator, clusters: int, twins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters of twins that share label and scores; the two methods' true AUCs are Phi(1 / sqrt 2) and Phi(0.5)."""
    labels = rng.random(clusters) < 0.5
    noise = rng.normal(size=(2, clusters))
    scores = labels * np.array([[1.0], [0.5 * 2**0.5]]) + noise
    return np.repeat(labels, twins), np.repeat(scores, twins, axis=1), np.repeat(np.arange(clusters), twins)


TRUE = (0.7602, 0.6915)


def test_the_cluster_bootstrap_covers_where_users_taken_one_by_one_do_not() -> None:
    """Of 120 made data sets with twins in fours, how many intervals of 90 % hold the true difference."""
    rng = np.random.default_rng(5)
    held = {"clusters": 0, "users": 0}
    for trial in range(120):
        labels, scores, cluster = made(rng, 80, 4)
        for name, groups in (("clusters", cluster), ("users", np.arange(len(labels)))):
            draws = uncertainty.auc_draws(labels, scores, groups, resamples=200, seed=trial)
            interval = uncertainty.percentile_interval(draws[0] - draws[1], 0.9)
            assert interval is not None
            held[name] += interval[0] <= TRUE[0] - TRUE[1] <= interval[1]
    assert 98 <= held["clusters"] <= 118  # 108 expected, 3.3 standard deviations either way
    assert held["users"] < 90


def test_delong_covers_on_independent_users() -> None:
    rng = np.random.default_rng(6)
    held = held_difference = 0
    for _ in range(300):
        labels, scores, _ = made(rng, 120, 1)
        found = delong.delong(labels, scores)
        assert found is not None
        areas, covariance = found
        low, high = delong.area_interval(areas[0], covariance[0, 0], 0.9)
        held += low <= TRUE[0] <= high
        variance = delong.variance_of_difference(covariance, 0, 1)
        low, high = delong.difference_interval(areas[0] - areas[1], variance, 0.9)
        held_difference += low <= TRUE[0] - TRUE[1] <= high
    assert 252 <= held <= 288  # 270 expected, 3.5 standard deviations either way
    assert 252 <= held_difference <= 288
