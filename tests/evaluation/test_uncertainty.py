from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.evaluation import decisions, uncertainty


def test_twins_share_a_cluster_whatever_the_order_of_the_mapping() -> None:
    sequences = {"c": ["x", "y"], "a": ["x", "y"], "b": ["y", "x"], "d": ["x"], "e": ["y", "x"]}
    found = uncertainty.clusters(sequences)
    assert found == {"a": 0, "b": 1, "c": 0, "d": 2, "e": 1}
    assert uncertainty.clusters(dict(reversed(sequences.items()))) == found
    assert uncertainty.distinct(found) == {"a", "b", "d"}


@given(st.dictionaries(st.text(max_size=3), st.lists(st.sampled_from("xy"), max_size=3), max_size=20))
def test_distinct_holds_each_sequence_once(sequences: dict[str, list[str]]) -> None:
    kept = uncertainty.distinct(uncertainty.clusters(sequences))
    assert sorted(tuple(sequences[user]) for user in kept) == sorted({tuple(row) for row in sequences.values()})


def _data(n: int, seed: int, signal: float = 1.0) -> tuple[decisions.Bools, decisions.Floats]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.6
    return labels, labels * signal + rng.normal(size=n)


def test_draws_equal_the_auc_of_rows_repeated_as_often_as_drawn() -> None:
    labels, scores = _data(40, 1)
    scores = scores.round(0)  # many ties
    cluster = np.arange(40) // 3
    draws = uncertainty.auc_draws(labels, scores[None], cluster, resamples=150, seed=9)
    counts = np.concatenate(list(uncertainty.cluster_counts(14, 150, 9))).astype(int)
    assert (counts.sum(axis=1) == 14).all()
    for row, draw in zip(counts, draws[0], strict=True):
        weight = row[cluster]
        assert draw == pytest.approx(decisions.auc(np.repeat(labels, weight), np.repeat(scores, weight)))


def test_draws_are_seeded_and_shared_by_all_methods() -> None:
    labels, scores = _data(200, 2)
    cluster = np.arange(200)
    twice = uncertainty.auc_draws(labels, np.stack([scores, scores * 3 + 1]), cluster, resamples=50, seed=4)
    assert (twice[0] == twice[1]).all()
    assert (uncertainty.auc_draws(labels, scores[None], cluster, resamples=50, seed=4)[0] == twice[0]).all()
    assert (uncertainty.auc_draws(labels, scores[None], cluster, resamples=50, seed=5)[0] != twice[0]).any()


def test_interval_has_about_the_width_theory_gives() -> None:
    labels, scores = _data(2000, 3)
    area = decisions.auc(labels, scores)
    draws = uncertainty.auc_draws(labels, scores[None], np.arange(2000), resamples=500, seed=0)[0]
    low, high = uncertainty.percentile_interval(draws, 0.95) or (0, 0)
    assert low < (area or 0) < high
    # Hanley and McNeil (1982), equations 1 and 2.
    positives = int(labels.sum())
    a = area or 0
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (positives - 1) * (q1 - a * a) + (1999 - positives) * (q2 - a * a)) / (
        positives * (2000 - positives)
    )
    assert (high - low) == pytest.approx(2 * 1.96 * variance**0.5, rel=0.2)


def test_twins_widen_the_interval_as_if_they_were_one() -> None:
    labels, scores = _data(300, 4)

    def width(labels: decisions.Bools, scores: decisions.Floats, cluster: np.ndarray) -> float:
        draws = uncertainty.auc_draws(labels, scores[None], cluster, resamples=400, seed=0)[0]
        low, high = uncertainty.percentile_interval(draws, 0.95) or (0, 0)
        return high - low

    single = width(labels, scores, np.arange(300))
    copied = width(np.tile(labels, 4), np.tile(scores, 4), np.tile(np.arange(300), 4))
    naive = width(np.tile(labels, 4), np.tile(scores, 4), np.arange(1200))
    assert copied == pytest.approx(single)
    assert naive < 0.7 * single


def test_paired_differences_are_narrower_than_unpaired() -> None:
    labels, scores = _data(500, 5)
    other = scores + np.random.default_rng(6).normal(scale=0.1, size=500)
    draws = uncertainty.auc_draws(labels, np.stack([scores, other]), np.arange(500), resamples=300, seed=0)
    low, high = uncertainty.percentile_interval(draws[0] - draws[1], 0.95) or (0, 0)
    assert high - low < 0.3 * np.ptp(draws[0])
    assert uncertainty.percentile_interval(draws[0] - draws[0], 0.95) == (0, 0)


def test_intervals_that_say_nothing_are_none() -> None:
    labels = np.array([True, False, True])
    scores = np.array([[0.9, 0.1, 0.5]])
    one_cluster = uncertainty.auc_draws(labels, scores, np.zeros(3, dtype=np.int64), resamples=100, seed=0)
    assert uncertainty.percentile_interval(one_cluster[0], 0.95) is None
    one_class = uncertainty.auc_draws(labels | True, scores, np.arange(3), resamples=100, seed=0)
    assert uncertainty.percentile_interval(one_class[0], 0.95) is None
    none = uncertainty.auc_draws(labels[:0], scores[:, :0], np.zeros(0, dtype=np.int64), resamples=100, seed=0)
    assert none.shape == (1, 100)
    assert uncertainty.percentile_interval(none[0], 0.95) is None


def test_a_thousand_resamples_of_six_thousand_rows_are_quick() -> None:
    labels, scores = _data(6000, 7)
    start = time.process_time()
    uncertainty.auc_draws(labels, scores[None], np.arange(6000) // 2, resamples=1000, seed=0)
    assert time.process_time() - start < 5
