"""DeLong's interval of an AUC, and of the difference of two on the same queries, without resampling.

E. DeLong, D. DeLong, Clarke-Pearson (Biometrics 44, 1988, pp. 837-845), by mid-ranks in O(n log n) (Sun and Xu, IEEE
Signal Processing Letters 21, 2014). It takes queries for independent, and so is given for the reading in which each
cluster of twins has one query; elsewhere the bootstrap over clusters stands alone.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from reasoningrec.evaluation.decisions import Bools, Floats, mid_ranks
from reasoningrec.evaluation.uncertainty import Interval

LEAST = 2
"""Likes, and dislikes, that a variance takes."""


def delong(labels: Bools, scores: Floats) -> tuple[Floats, Floats] | None:
    """AUCs and their covariance.

    Args:
        labels: labels_n.
        scores: scores_mn, one row per method, complete (no NaN).

    Returns:
        areas_m and covariance_mm; None with fewer than two likes or two dislikes.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < LEAST:
        return None
    ranks = np.array([mid_ranks(row) for row in scores])
    inside_likes = np.array([mid_ranks(row[labels]) for row in scores])
    inside_others = np.array([mid_ranks(row[~labels]) for row in scores])
    beaten_mp = (ranks[:, labels] - inside_likes) / negatives
    unbeaten_mq = 1 - (ranks[:, ~labels] - inside_others) / positives
    covariance = np.atleast_2d(np.cov(beaten_mp)) / positives + np.atleast_2d(np.cov(unbeaten_mq)) / negatives
    return beaten_mp.mean(axis=1), covariance


def area_interval(area: float, variance: float, level: float) -> Interval:
    """The normal interval of an AUC, held within [0, 1]."""
    low, high = difference_interval(area, variance, level)
    return max(low, 0.0), min(high, 1.0)


def difference_interval(difference: float, variance: float, level: float) -> Interval:
    """The normal interval of a difference."""
    reach = NormalDist().inv_cdf((1 + level) / 2) * max(variance, 0.0) ** 0.5
    return difference - reach, difference + reach


def variance_of_difference(covariance: Floats, one: int, other: int) -> float:
    """Variance of area `one` minus area `other`."""
    return float(covariance[one, one] + covariance[other, other] - 2 * covariance[one, other])
