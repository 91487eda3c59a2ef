"""Which of the answers tried is taken: sizes, rates and epochs are chosen on valid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from reasoningrec.baselines.allowed import Allowed
from reasoningrec.data.timeline import Bools, Floats


def auc(labels: Bools, scores: Floats) -> float:
    """Area under the ROC curve, ties as one half; 0.5 where there is one class only."""
    return float(roc_auc_score(labels, scores)) if labels.any() and not labels.all() else 0.5


def chosen(allowed: Allowed, tried: Sequence[Floats]) -> Floats:
    """(Q,) of the (Q,) answers tried, those of the highest AUC on valid; valid's own by halves (`by_halves`)."""
    labels = allowed.known_labels
    found = np.zeros(allowed.at.size)
    for known, asked in allowed.by_halves():
        found[asked] = max(tried, key=lambda answers: auc(labels[known], answers[known]))[asked]
    return found
