"""Measures of yes/no decisions with probabilities: labels_n (bool) beside probabilities_n (float, NaN = invalid).

**Invalid answers** (`Prediction.probability is None`, or no prediction at all for a labelled query) are counted, shown
and never dropped, and never read as "No": in the measures of hard decisions (balanced accuracy, F1) an invalid answer
is *wrong* whatever the label; in the measures of probabilities (AUC, log loss, Brier, calibration) it is given the
mean probability of the method's valid answers, the answer that tells nothing (0.5 where no answer is valid).

A measure that is undefined, such as AUC where only one class occurs, is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasoningrec.errors import RunError
from reasoningrec.records import Prediction

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

CLIP = 1e-6
"""Log loss: probabilities are held this far from 0 and 1, so one certain error costs at most 13.8 nats."""
FLOOR_DRAWS = 200
"""Simulated label sets behind the noise floor of the calibration error."""


@dataclass(frozen=True, slots=True)
class Measures:
    """All measures of one method on one set of queries; None where undefined. `log_loss` is in nats."""

    n: int
    positives: int
    invalid: int
    auc: float | None
    balanced_accuracy: float | None
    f1: float | None
    log_loss: float | None
    brier: float | None
    ece: float | None
    ece_floor: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability picture: `n` answers of mean probability `predicted`, of which `share` were likes."""

    n: int
    predicted: float
    share: float


def align(predictions: Iterable[Prediction], query_ids: Iterable[str]) -> Floats:
    """Probabilities of `predictions` in the order of `query_ids`; NaN where the answer is invalid or missing.

    Raises:
        RunError: two predictions for one query, or a probability outside [0, 1].
    """
    by_id: dict[str, float] = {}
    for prediction in predictions:
        if prediction.query_id in by_id:
            raise RunError(f"{prediction.method}: two predictions for query {prediction.query_id}")
        probability = np.nan if prediction.probability is None else prediction.probability
        if probability < 0 or probability > 1:
            raise RunError(f"{prediction.method}: query {prediction.query_id}: probability {probability} not in [0, 1]")
        by_id[prediction.query_id] = probability
    return np.array([by_id.get(query_id, np.nan) for query_id in query_ids], dtype=np.float64)


def filled(probabilities: Floats) -> Floats:
    """`probabilities` with the mean of the valid ones in place of the invalid (0.5 where none is valid)."""
    invalid = np.isnan(probabilities)
    if not invalid.any():
        return probabilities
    return np.where(invalid, 0.5 if invalid.all() else probabilities[~invalid].mean(), probabilities)


def measure(labels: Bools, probabilities: Floats, *, threshold: float, bins: int, seed: int) -> Measures:
    """Every measure of this module at once; `threshold` is used by the hard measures, `seed` by the noise floor."""
    invalid = np.isnan(probabilities)
    complete = filled(probabilities)
    said_yes = np.where(invalid, ~labels, complete >= threshold)
    return Measures(
        n=len(labels),
        positives=int(labels.sum()),
        invalid=int(invalid.sum()),
        auc=auc(labels, complete),
        balanced_accuracy=balanced_accuracy(labels, said_yes),
        f1=f1(labels, said_yes),
        log_loss=log_loss(labels, complete),
        brier=brier(labels, complete),
        ece=calibration_error(labels, complete, bins),
        ece_floor=calibration_floor(complete, bins, seed),
    )


def auc(labels: Bools, scores: Floats) -> float | None:
    """Area under the ROC curve: P(score of a like > score of a dislike) + P(equal) / 2.

    The Mann-Whitney U statistic divided by positives x negatives (Hanley and McNeil, 1982), from mid-ranks, so that
    ties count half. None where a class is missing.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return None
    u = float(mid_ranks(scores)[labels].sum()) - positives * (positives - 1) / 2
    return u / (positives * negatives)


def mid_ranks(scores: Floats) -> Floats:
    """Rank of each score from 0 upwards, equal scores sharing the mean of their ranks."""
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts + 1) / 2)[group]
    return ranks


def balanced_accuracy(labels: Bools, said_yes: Bools) -> float | None:
    """Mean of the share of likes called likes and of dislikes called dislikes (Brodersen et al., 2010); 0.5 is chance.

    None where a class is missing.
    """
    if labels.all() or not labels.any():
        return None
    return float((said_yes[labels].mean() + (~said_yes)[~labels].mean()) / 2)


def f1(labels: Bools, said_yes: Bools) -> float | None:
    """F1 of the likes: 2 TP / (2 TP + FP + FN) (van Rijsbergen, 1979). None where nothing is, or is called, a like."""
    hits = int((labels & said_yes).sum())
    total = int(labels.sum()) + int(said_yes.sum())
    return 2 * hits / total if total else None


def log_loss(labels: Bools, probabilities: Floats) -> float | None:
    """Mean of -ln P(what happened), in nats (Good, 1952), probabilities held `CLIP` from 0 and 1. None for no rows."""
    if not len(labels):
        return None
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    return float(-np.log(np.where(labels, clipped, 1 - clipped)).mean())


def brier(labels: Bools, probabilities: Floats) -> float | None:
    """Mean squared difference of probability and outcome (Brier, 1950): 0 is perfect, 0.25 is always saying 0.5.

    None for no rows.
    """
    return float(((probabilities - labels) ** 2).mean()) if len(labels) else None


def calibration_error(labels: Bools, probabilities: Floats, bins: int = 10) -> float | None:
    """Expected calibration error over bins of equal mass: sum over bins of n_b / n x |share of likes - mean p|.

    Naeini et al. (2015), with the adaptive bins of Nguyen and O'Connor (2015). It is biased upwards in small samples:
    read it beside `calibration_floor`. None for no rows.
    """
    if not len(labels):
        return None
    gaps = np.bincount(_bin_of(probabilities, bins), weights=labels - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def calibration_floor(probabilities: Floats, bins: int, seed: int) -> float | None:
    """The calibration error that a perfectly calibrated model with these very probabilities gets from chance alone.

    Mean of `calibration_error` over `FLOOR_DRAWS` seeded sets of labels, each drawn like ~ Bernoulli(p) (the
    consistency resampling of Bröcker and Smith, 2007). None for no rows.
    """
    n = len(probabilities)
    if not n:
        return None
    order = np.argsort(_bin_of(probabilities, bins), kind="stable")
    starts = np.flatnonzero(np.diff(_bin_of(probabilities, bins)[order], prepend=-1))
    ordered = probabilities[order]
    rng = np.random.default_rng(seed)
    errors = [
        np.abs(np.add.reduceat((rng.random(n) < ordered) - ordered, starts)).sum() / n for _ in range(FLOOR_DRAWS)
    ]
    return float(np.mean(errors))


def reliability(labels: Bools, probabilities: Floats, bins: int = 10) -> tuple[Bin, ...]:
    """The non-empty bins behind `calibration_error`, in order of probability."""
    of = _bin_of(probabilities, bins)
    return tuple(
        Bin(int((of == b).sum()), float(probabilities[of == b].mean()), float(labels[of == b].mean()))
        for b in np.unique(of)
    )


def _bin_of(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each answer, by mid-rank: equal mass as far as ties allow, and equal probabilities share a bin."""
    return (((mid_ranks(probabilities) + 0.5) * bins) // max(len(probabilities), 1)).astype(np.int64)


def roc(labels: Bools, scores: Floats, points: int = 200) -> tuple[tuple[float, float], ...]:
    """Corners of the ROC curve as (false positive rate, true positive rate), from (0, 0) to (1, 1).

    Thinned to about `points` corners at even steps. Empty where a class is missing.
    """
    if labels.all() or not labels.any():
        return ()
    values, group = np.unique(-scores, return_inverse=True)
    likes = np.cumsum(np.bincount(group, weights=labels, minlength=len(values)))
    others = np.cumsum(np.bincount(group, weights=~labels, minlength=len(values)))
    keep = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
    return ((0.0, 0.0), *zip((others[keep] / others[-1]).tolist(), (likes[keep] / likes[-1]).tolist(), strict=True))


def choose_threshold(labels: Bools, probabilities: Floats) -> float:
    """The threshold t, yes where p >= t, of the highest balanced accuracy; for use on valid, never on test.

    Between two neighbouring probabilities every t decides alike: 0.5 stands for its gap, the midpoint for any other;
    the lowest probability stands for saying yes to all, which is best where likes score lower than dislikes. Of equally
    good thresholds the one nearest 0.5 is taken (then the lower). Invalid answers are left out, since no threshold
    changes them. 0.5 where a class is missing.
    """
    valid = ~np.isnan(probabilities)
    labels, probabilities = labels[valid], probabilities[valid]
    if not len(labels) or labels.all() or not labels.any():
        return 0.5
    values, group = np.unique(probabilities, return_inverse=True)
    middles = (values[1:] + values[:-1]) / 2
    candidates = np.unique(np.concatenate([values[:1], middles, [0.5]]))
    below = np.searchsorted(values, candidates)
    likes = np.concatenate([[0], np.cumsum(np.bincount(group, weights=labels))])
    others = np.concatenate([[0], np.cumsum(np.bincount(group, weights=~labels))])
    score = (1 - likes[below] / likes[-1] + others[below] / others[-1]) / 2
    best = candidates[score >= score.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def by_query(labels: Mapping[str, bool]) -> tuple[list[str], Bools]:
    """Query ids in sorted order and their labels_n."""
    ids = sorted(labels)
    return ids, np.array([labels[query_id] for query_id in ids], dtype=np.bool_)
