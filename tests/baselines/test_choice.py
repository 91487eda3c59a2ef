"""What is chosen on valid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from planted import allowed_of, rows
from reasoningrec.baselines.choice import auc, chosen

ALLOWED = allowed_of(rows(users=200))


def test_the_best_on_valid_answers_test() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=ALLOWED.at.size)
    good[ALLOWED.valid] += 3 * ALLOWED.valid_labels
    bad = rng.normal(size=ALLOWED.at.size)
    found = chosen(ALLOWED, [bad, good, -good])
    assert (found == good).all()


def test_luck_on_valid_is_not_answered_to_valid() -> None:
    """Of 200 draws of noise, the best on valid looks good there; chosen by halves, valid's answers are noise still."""
    rng = np.random.default_rng(0)
    lucky, halved = [], []
    for _ in range(20):
        tried = list(rng.normal(size=(200, ALLOWED.at.size)))
        lucky.append(max(auc(ALLOWED.valid_labels, one[ALLOWED.valid]) for one in tried))
        halved.append(roc_auc_score(ALLOWED.valid_labels, chosen(ALLOWED, tried)[ALLOWED.valid]))
    assert np.mean(lucky) > 0.6
    assert abs(np.mean(halved) - 0.5) < 0.03


def test_each_query_is_decided_for_once_and_not_by_itself() -> None:
    pairs = ALLOWED.by_halves()
    assert (sum(asked.astype(int) for _, asked in pairs) == 1).all()
    assert not any((known & asked).any() for known, asked in pairs)
    assert not any((known & ~ALLOWED.valid).any() for known, _ in pairs)


def test_twins_are_on_one_side() -> None:
    one = rows(users=40)
    others = [replace(row, row=row.row + len(one), user=f"v{row.user[1:]}") for row in one]  # the same items, in order
    allowed = allowed_of([*one, *others, *rows(users=41, seed=1)[-12:]])  # an odd one moves every code's parity
    twin = allowed.timeline.first_twin()
    assert (np.unique(twin, return_counts=True)[1] >= 2).sum() == 40
    for known, asked in allowed.by_halves()[1:]:
        sides = [set(twin[allowed.timeline.user[allowed.at[side]]].tolist()) for side in (known, asked)]
        assert sides[0]
        assert not sides[0] & sides[1]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_that_of_sklearn(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([label for label, _ in pairs]), np.array([float(score) for _, score in pairs])
    known = roc_auc_score(labels, scores) if labels.any() and not labels.all() else 0.5
    assert auc(labels, scores) == pytest.approx(known)
