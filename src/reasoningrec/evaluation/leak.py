"""How much the target's own text tells of the answer, and what each method gains where that text leaks.

The classifier sees the target's text and nothing of the user: TF-IDF of its words and a logistic regression, fitted on
other users' targets. Where the text is a title, what it learns is which kinds of items are liked. Where the text was
written from the very review whose rating is asked for, it learns to read the answer, and the difference is the leak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from reasoningrec.evaluation import decisions, uncertainty
from reasoningrec.evaluation.decisions import Bools, Floats
from reasoningrec.evaluation.uncertainty import Interval

FOLDS = 10
LEAST = 2
"""Documents that a word must stand in."""
STRENGTH = 1.0
"""C of scikit-learn: the inverse of the L2 penalty's weight, its default."""
SETTINGS = (
    f"TF-IDF of words and pairs of words (in {LEAST} texts or more, sublinear counts), logistic regression "
    f"(L2, C = {STRENGTH:g}, classes of equal weight), cross-fitted over {FOLDS} folds of clusters of twins"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """An AUC, or a difference of two, with its interval; None where undefined."""

    name: str
    n: int
    positives: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn: resamples of clusters, the level, the seed."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0


def text_scores(texts: Sequence[str], labels: Bools, cluster: NDArray[np.int64], seed: int) -> Floats:
    """P(like) of every target from its text alone, by a classifier that was fitted without its user or their twins.

    Args:
        texts: of N targets.
        labels: labels_n.
        cluster: cluster_n; a cluster is in one fold whole.
        seed: of the folds.

    Returns:
        scores_n; the share of likes of the other folds where those hold one class only, or no word twice.
    """
    names, cluster_n = np.unique(cluster, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(len(names)) % min(FOLDS, max(len(names), 1))
    fold_n = folds[cluster_n]
    scores = np.full(len(labels), labels.mean() if len(labels) else 0.5)
    for fold in range(int(folds.max(initial=0)) + 1):
        inside, outside = np.flatnonzero(fold_n == fold).tolist(), np.flatnonzero(fold_n != fold).tolist()
        scores[inside] = _fitted([texts[n] for n in outside], labels[outside])([texts[n] for n in inside])
    return scores


def _fitted(texts: Sequence[str], labels: Bools) -> Callable[[Sequence[str]], Floats]:
    share = float(labels.mean()) if len(labels) else 0.5
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=LEAST, sublinear_tf=True),
        LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000),
    )
    if labels.all() or not labels.any():
        return lambda asked: np.full(len(asked), share)
    try:
        model.fit(list(texts), labels)
    except ValueError as error:
        if "vocabulary" not in str(error) and "no terms remain" not in str(error):
            raise
        return lambda asked: np.full(len(asked), share)  # no word stands in two texts
    return lambda asked: np.asarray(model.predict_proba(list(asked))[:, 1], dtype=np.float64)


def figures(
    labels: Bools, scores: Mapping[str, Floats], cluster: NDArray[np.int64], sampling: Sampling
) -> tuple[Figure, ...]:
    """AUC of each score with its interval, then the paired differences of each later one to the first.

    All see the same resamples of clusters. Differences are named "B minus A".
    """
    names = list(scores)
    complete = np.array([decisions.filled(scores[name]) for name in names]).reshape(-1, len(labels))
    draws = uncertainty.auc_draws(labels, complete, cluster, resamples=sampling.resamples, seed=sampling.seed)
    areas = [decisions.auc(labels, row) for row in complete]
    n, positives = len(labels), int(labels.sum())

    def figure(name: str, value: float | None, drawn: Floats) -> Figure:
        low, high = _interval(drawn, sampling.level)
        return Figure(name, n, positives, value, low, high)

    found = [figure(name, area, row) for name, area, row in zip(names, areas, draws, strict=True)]
    for name, area, row in list(zip(names, areas, draws, strict=True))[1:]:
        gain = None if area is None or areas[0] is None else area - areas[0]
        found.append(figure(f"{name} minus {names[0]}", gain, row - draws[0]))
    return tuple(found)


def _interval(draws: Floats, level: float) -> tuple[float | None, float | None]:
    found: Interval | None = uncertainty.percentile_interval(draws, level)
    return found or (None, None)
