"""AUC within users: a worked example, and that who is generous does not count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from reasoningrec.evaluation import decisions
from reasoningrec.evaluation.evaluate import LEGACY, Answers, EvaluateInputs, evaluate
from reasoningrec.evaluation.report import render_html, render_markdown, who_is_compared
from reasoningrec.evaluation.within import users_with_both, within_users

HOW = {"level": 0.9, "draws": (200, 0)}


def test_a_worked_example() -> None:
    """User 0: like 0.9 over 0.1 and 0.9 (1 + 1/2 of 2). User 1: like 0.2 under 0.3 (0 of 1). User 2 has likes alone."""
    labels = np.array([True, False, False, True, False, True, True])
    scores = np.array([0.9, 0.1, 0.9, 0.2, 0.3, 0.5, 0.6])
    user = np.array([0, 0, 0, 1, 1, 2, 2])
    found = within_users(labels, scores, (user, user), **HOW)
    assert found is not None
    assert found.auc == pytest.approx(1.5 / 3)
    assert users_with_both(labels, user) == 2


def test_no_user_with_both_has_none() -> None:
    labels, user = np.array([True, False]), np.array([0, 1])
    assert within_users(labels, np.array([0.9, 0.1]), (user, user), **HOW) is None
    assert users_with_both(labels, user) == 0


def test_one_cluster_has_no_interval() -> None:
    labels, user = np.array([True, False]), np.array([0, 0])
    found = within_users(labels, np.array([0.9, 0.1]), (user, user), **HOW)
    assert found is not None
    assert (found.auc, found.low, found.high) == (1.0, None, None)


@given(st.integers(0, 1000))
def test_what_is_added_to_all_of_a_users_scores_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 6, 40)
    labels, scores = rng.random(40) < 0.5, rng.integers(0, 5, 40) / 4
    generous = rng.integers(-9, 9, 6)[user]
    groups = (user, user // 2)
    assert within_users(labels, scores, groups, **HOW) == within_users(labels, scores + generous, groups, **HOW)


def test_a_difference_is_that_of_the_two_and_paired() -> None:
    """Two methods that err on the same users: each is uncertain, their difference less so."""
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(60), 6)
    labels, hard = rng.random(360) < 0.5, rng.random(60)[user] < 0.5
    one = np.where(hard, rng.random(360), labels + 0.1 * rng.random(360))
    two = one + 0.4 * rng.random(360)
    first, second = (within_users(labels, scores, (user, user), **HOW) for scores in (one, two))
    gap = within_users(labels, one, (user, user), **HOW, minus=two)
    assert first is not None
    assert second is not None
    assert gap is not None
    assert gap.auc == pytest.approx(first.auc - second.auc)
    assert gap.low < gap.auc < gap.high
    assert gap.high - gap.low < first.high - first.low
    none = within_users(labels, one, (user, user), **HOW, minus=one)
    assert (none.auc, none.low, none.high) == (0, 0, 0)


def test_generosity_alone_has_a_high_auc_and_tells_no_items_apart() -> None:
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(200), 4)
    share = rng.beta(0.5, 0.5, 200)[user]
    labels = rng.random(800) < share
    between = decisions.auc(labels, share)
    inside = within_users(labels, share, (user, user), **HOW)
    assert between is not None
    assert between > 0.85
    assert inside is not None
    assert inside.auc == 0.5


def test_the_legacy_figure_is_scikit_learns_auc_of_hard_answers(inputs: EvaluateInputs) -> None:
    reading = evaluate(inputs).reading("all")
    ids, labels = decisions.by_query(inputs.test.labels)
    for result in reading.methods:
        row = decisions.align(inputs.test.predictions[result.method], ids)
        if not np.isnan(row).any():
            assert result.more.legacy == pytest.approx(roc_auc_score(labels, row >= LEGACY))


def test_delong_is_given_where_each_cluster_has_one_query(inputs: EvaluateInputs) -> None:
    found = evaluate(inputs)
    for result in found.reading("distinct").methods:
        views = result.more
        assert views.delong_low is not None
        assert views.delong_low == pytest.approx(result.auc_low, abs=0.02)
        assert (views.diff_delong_low is None) == (result.versus is None)
    assert all(result.more.delong_low is None for result in found.reading("all").methods)


def test_several_targets_of_a_user_are_read_within_it(inputs: EvaluateInputs) -> None:
    """The made run with its queries given to a third of the users."""

    def fewer(answers: Answers) -> Answers:
        rows = {
            name: [dataclasses.replace(row, user=f"u{int(row.query_id[-3:]) // 3:03d}") for row in found]
            for name, found in answers.predictions.items()
        }
        return dataclasses.replace(answers, predictions=rows)

    found = evaluate(dataclasses.replace(inputs, test=fewer(inputs.test), valid=fewer(inputs.valid)))
    reading = found.reading("all")
    assert reading.users == 100
    assert reading.within_users > 20
    fused = reading.methods[0].more
    assert fused.within_low is not None
    assert fused.within_auc is not None
    assert fused.within_high is not None
    assert fused.within_low < fused.within_auc < fused.within_high
    assert "3.0 test targets" in who_is_compared(reading)
    versus = next(result.more for result in reading.methods if result.method == reading.methods[0].versus)
    assert fused.within_diff == pytest.approx(fused.within_auc - versus.within_auc)
    assert versus.within_diff is None
    for text in (render_html(found, ()), render_markdown(found, ())):
        assert "difference within users" in text
        assert "AUC, DeLong" not in text  # several questions of a user are not independent


def test_views_that_no_method_has_are_not_in_the_table(inputs: EvaluateInputs) -> None:
    """One target per user: nothing within users, and by formula only where no cluster has twins."""
    found = evaluate(inputs)
    for text in (render_html(found, ()), render_markdown(found, ())):
        assert "difference within users" not in text
        assert text.count("AUC, DeLong") == 1  # of the two readings, `distinct`


def test_the_report_says_what_auc_measures_here(inputs: EvaluateInputs) -> None:
    found = evaluate(inputs)
    for text in (render_html(found, ()), render_markdown(found, ())):
        assert "it mostly measures who is generous" in text
        assert "balanced accuracy at 0.5, not an AUC" in text
