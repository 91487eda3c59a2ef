"""AUC within users: of one user's targets, is the liked one scored above the one that was not?

With one target per user, AUC compares one user's target with another's, and so mostly measures who is generous. Within
a user, generosity cancels out; it takes users with a like and a dislike among their targets (`split.tests_per_user`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasoningrec.evaluation import decisions
from reasoningrec.evaluation.decisions import Bools, Floats
from reasoningrec.evaluation.uncertainty import Interval, cluster_counts, percentile_interval


@dataclass(frozen=True, slots=True)
class Within:
    """AUC over pairs of one user's like and dislike, each pair counted once (known elsewhere as GAUC, weighted by
    pairs; ties count half), or the difference of two of them."""

    auc: float
    low: float | None
    high: float | None


def users_with_both(labels: Bools, user: NDArray[np.int64]) -> int:
    """How many users have a like and a dislike among their targets."""
    return len(np.intersect1d(user[labels], user[~labels]))


def within_users(
    labels: Bools,
    scores: Floats,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    level: float,
    draws: tuple[int, int],
    minus: Floats | None = None,
) -> Within | None:
    """The AUC within users with an interval over clusters.

    Args:
        labels: labels_n.
        scores: scores_n, complete.
        groups: user_n and cluster_n; a user is in one cluster whole.
        level: of the interval.
        draws: resamples and their seed.
        minus: scores_n of another method, whose AUC is taken off; the interval is that of the paired difference.

    Returns:
        None where no user has a like and a dislike.
    """
    user, cluster = groups
    _, cluster_n = np.unique(cluster, return_inverse=True)
    won, pairs = _won(labels, scores, user, cluster_n)
    if minus is not None:
        won -= _won(labels, minus, user, cluster_n)[0]
    if not pairs.sum():
        return None
    interval = _interval(won, pairs, level, draws)
    return Within(float(won.sum() / pairs.sum()), *(interval or (None, None)))


def _won(labels: Bools, scores: Floats, user: NDArray[np.int64], cluster_n: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Of each cluster, the pairs of one user's like and dislike in which the like is scored higher, and all."""
    won, pairs = np.zeros((2, cluster_n.max(initial=0) + 1))
    for rows in np.split(order := np.argsort(user, kind="stable"), np.flatnonzero(np.diff(user[order])) + 1):
        area = decisions.auc(labels[rows], scores[rows])
        if area is not None:
            likes = int(labels[rows].sum())
            count = likes * (len(rows) - likes)
            won[cluster_n[rows[0]]] += area * count
            pairs[cluster_n[rows[0]]] += count
    return won, pairs


def _interval(won: Floats, pairs: Floats, level: float, draws: tuple[int, int]) -> Interval | None:
    if len(won) < 2:
        return None
    both = np.stack([won, pairs], axis=1)
    won_r, pairs_r = np.concatenate([weights @ both for weights in cluster_counts(len(won), *draws)]).T
    areas = np.divide(won_r, pairs_r, out=np.full(len(pairs_r), np.nan), where=pairs_r > 0)
    return percentile_interval(areas, level)
