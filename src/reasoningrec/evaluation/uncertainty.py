"""Intervals over clusters of twins: users with identical item sequences are one piece of news, not several.

Twins share their history and target, hence their evidence and mostly their label; an interval that resamples users
would take them for independent and come out too narrow (for the cluster bootstrap: Davison and Hinkley, 1997, 3.8;
Field and Welsh, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reasoningrec.evaluation.decisions import Bools, Floats

CHUNK = 128
"""Resamples held in memory at once: 128 x 6,000 rows are 6 MB of weights."""
Interval = tuple[float, float]


def clusters(sequences: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """A cluster number per user; users with the same items in the same order share one.

    Clusters are numbered from 0 in the order of their first user, users in sorted order, so that the numbers do not
    depend on the mapping's order.
    """
    seen: dict[tuple[str, ...], int] = {}
    return {user: seen.setdefault(tuple(sequences[user]), len(seen)) for user in sorted(sequences)}


def distinct(cluster_of: Mapping[str, int]) -> frozenset[str]:
    """One user per cluster, the first in sorted order: the users of the reading `distinct`."""
    first: dict[int, str] = {}
    for user in sorted(cluster_of):
        first.setdefault(cluster_of[user], user)
    return frozenset(first.values())


def auc_draws(labels: Bools, scores: Floats, cluster: NDArray[np.int64], *, resamples: int, seed: int) -> Floats:
    """AUC of every method in every bootstrap resample of the clusters.

    Args:
        labels: labels_n.
        scores: scores_mn, one row per method, complete (no NaN). All methods see the same resamples, so differences
            of rows are paired.
        cluster: cluster_n, any integers.
        resamples: R, how many times as many clusters as there are are drawn with replacement.
        seed: of the draws.

    Returns:
        draws_mr; NaN where a resample holds one class only, and everywhere with fewer than two clusters, which tell
        nothing of spread.
    """
    _, cluster_n = np.unique(cluster, return_inverse=True)
    if cluster_n.max(initial=0) < 1:
        return np.full((len(scores), resamples), np.nan)
    sorters = [_Sorter(labels, row) for row in scores]
    parts = [
        np.stack([sorter.weighted_auc(weights_rc[:, cluster_n[sorter.order]]) for sorter in sorters])
        for weights_rc in cluster_counts(int(cluster_n.max()) + 1, resamples, seed)
    ]
    return np.concatenate(parts, axis=1)


def cluster_counts(count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of `count` clusters is drawn, in chunks weights_rc of at most CHUNK resamples."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


class _Sorter:
    """One method's rows sorted by score once, for the AUC under many sets of row weights."""

    def __init__(self, labels: Bools, scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        self._likes = labels[self.order].astype(np.float64)
        self._starts = np.flatnonzero(np.diff(scores[self.order], prepend=-np.inf))

    def weighted_auc(self, weights_rn: Floats) -> Floats:
        """auc_r with each row counted `weight` times; over groups of equal score, ties half. NaN: one class only."""
        likes_rg = np.add.reduceat(weights_rn * self._likes, self._starts, axis=1)
        others_rg = np.add.reduceat(weights_rn, self._starts, axis=1) - likes_rg
        lower_rg = np.cumsum(others_rg, axis=1) - others_rg / 2
        pairs = likes_rg.sum(axis=1) * others_rg.sum(axis=1)
        won = (likes_rg * lower_rg).sum(axis=1)
        areas: Floats = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return areas


def percentile_interval(draws: Floats, level: float) -> Interval | None:
    """The middle `level` of draws_r (percentile bootstrap, Efron, 1979), undefined draws left out.

    None where fewer than half of the draws are defined.
    """
    defined = draws[~np.isnan(draws)]
    if not len(draws) or len(defined) * 2 < len(draws):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
