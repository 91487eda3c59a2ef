"""The decision: what it learns from, what it never reads, and that it is kept whole as JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from making import demo_line
from reasoningrec.baselines.regression import Linear
from reasoningrec.data.timeline import Floats
from reasoningrec.ranking.fuse import SIGNS, Fused, Stack, fit, learn, log_odds

LINE = demo_line(100)
NUMBERS, LABELS, ROLE = LINE.numbers, LINE.labels, LINE.windows["role"]
TRAIN, VALID, TEST = ((role == ROLE).to_numpy() for role in ("train", "valid", "test"))
NOBODY = np.full(LABELS.size, np.nan)


def student(knows: float, seed: int = 0) -> Floats:
    """(N,) answers of a student whose log-odds are `knows` times the label's side, and noise."""
    z = knows * np.where(LABELS, 1.0, -1.0) + np.random.default_rng(seed).normal(size=LABELS.size)
    return np.asarray(1 / (1 + np.exp(-z)))


def fused(answers: Floats) -> Fused:
    return fit(NUMBERS, LABELS, ROLE, answers, 0)[0]


def test_a_student_that_knows_more_weighs_more() -> None:
    weights = [fused(student(knows)).weights()["student"] for knows in (0.0, 0.5, 1.0, 2.0)]
    assert weights == sorted(weights)
    assert weights[0] < 0.2 * weights[3]
    assert fused(student(-2.0)).stack.student == 0  # a student that is wrong on purpose is not listened to


def test_a_good_student_makes_the_decision_better() -> None:
    both = (student(0.0), student(1.5))
    auc = [roc_auc_score(LABELS[TEST], fused(answers)(NUMBERS, answers)[TEST]) for answers in both]
    assert auc[1] > auc[0] + 0.01


def test_a_student_earns_its_weight_on_many_rows() -> None:
    """The prior is trust in the evidence; with many rows a student that knows far more outweighs it."""
    times = np.concatenate([np.arange(LABELS.size), *[np.flatnonzero(VALID)] * 19])
    answers = student(1.5)
    model = fit(NUMBERS[times], LABELS[times], ROLE[times], answers[times], 0)[0]
    assert model.weights()["student"] > 2 * fused(answers).weights()["student"]
    auc = [roc_auc_score(LABELS[TEST], one(NUMBERS, answers)[TEST]) for one in (fused(answers), model)]
    assert auc[1] > auc[0]


def test_few_train_rows_of_one_label_leave_the_decision_near_the_share_of_likes() -> None:
    kept = VALID | TEST
    kept[np.flatnonzero(TRAIN & LABELS)[:2]] = True
    rows = np.flatnonzero(kept)
    model = fit(NUMBERS[rows], LABELS[rows], ROLE[rows], np.full(rows.size, np.nan), 0)[0]
    p = model(NUMBERS, NOBODY)[TEST]
    assert p.mean() == pytest.approx(LABELS[VALID].mean(), abs=0.15)


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_a_few_rows_of_valid_of_one_label_do_not_make_it_sure(label: bool, count: int) -> None:
    kept = TRAIN | TEST
    kept[np.flatnonzero(VALID & (label == LABELS))[:count]] = True
    rows = np.flatnonzero(kept)
    model, on_valid = fit(NUMBERS[rows], LABELS[rows], ROLE[rows], np.full(rows.size, np.nan), 0)
    assert on_valid.size == count
    p = model(NUMBERS, NOBODY)[TEST]
    assert 0.2 < p.mean() < 0.8
    assert log_loss(LABELS[TEST], p) < 0.75


def test_a_decision_of_numbers_that_are_no_more_is_refused() -> None:
    kept = fused(NOBODY).to_json()
    kept["trees"]["names"] = ["trend", *kept["trees"]["names"][1:]]
    with pytest.raises(ValueError, match="trend"):
        Fused.of_json(kept)


def test_a_student_that_hardly_varies_on_valid_says_little_where_it_does() -> None:
    answers = student(2.0)
    flat = np.where(VALID, 1 / (1 + np.exp(-1e-3 * log_odds(answers))), answers)
    model = fused(flat)
    assert np.abs(log_odds(model(NUMBERS, flat)) - log_odds(model(NUMBERS, NOBODY)))[TEST].max() < 0.5


def test_invalid_answers_stand_at_the_mean() -> None:
    answers = student(1.0)
    model = fused(answers)
    holes = answers.copy()
    holes[::3] = np.nan
    mean = answers.copy()
    mean[::3] = 1 / (1 + np.exp(-model.stack.student_mean))
    assert model(NUMBERS, holes) == pytest.approx(model(NUMBERS, mean))
    assert np.isfinite(fused(holes)(NUMBERS, holes)).all()


def test_a_student_without_a_valid_answer_or_with_one_answer_has_no_weight() -> None:
    for answers in (NOBODY, np.full(LABELS.size, 0.7)):
        model = fused(answers)
        assert model.stack.student == 0
        assert np.isfinite(model(NUMBERS, answers)).all()
        assert roc_auc_score(LABELS[TEST], model(NUMBERS, answers)[TEST]) > 0.6


def test_a_student_that_is_sure_of_train_and_knows_nothing_else_changes_little() -> None:
    """What it says of the rows it learned from is not read: memory is no evidence."""
    knows_nothing = student(0.0)
    memory = np.where(TRAIN, np.where(LABELS, 0.999, 0.001), knows_nothing)
    assert fused(memory) == fused(knows_nothing)
    alone, with_it = fused(NOBODY)(NUMBERS, NOBODY), fused(memory)(NUMBERS, memory)
    auc = [roc_auc_score(LABELS[TEST], p[TEST]) for p in (alone, with_it)]
    assert auc[1] > auc[0] - 0.02


def test_the_decision_without_the_student_shares_the_models_of_the_evidence() -> None:
    answers = student(1.0)
    learned = learn(NUMBERS, LABELS, ROLE, 0)
    (whole, on_valid), (alone, _) = learned.with_student(answers), learned.with_student(NOBODY)
    again, again_valid = fit(NUMBERS, LABELS, ROLE, answers, 0)
    assert whole == again
    assert (on_valid == again_valid).all()
    assert (alone.linear, alone.trees) == (whole.linear, whole.trees)
    assert alone.stack.student == 0
    assert whole.stack.student > 0


def test_further_train_rows_are_learned_from_and_never_answered() -> None:
    more = demo_line(100, train_windows=3)
    extra = np.flatnonzero((more.windows["role"] == "train").to_numpy() & ~more.windows["main"].to_numpy())
    numbers = pl.concat([NUMBERS, more.numbers[extra]])
    labels, role = np.concatenate([LABELS, more.labels[extra]]), pl.concat([ROLE, more.windows["role"][extra]])
    model, on_valid = fit(numbers, labels, role, np.full(labels.size, np.nan), 0)
    assert on_valid.size == VALID.sum()
    assert model.linear != fused(NOBODY).linear


def test_sure_answers_stay_finite() -> None:
    answers = np.where(LABELS, 1.0, 0.0)
    p = fused(answers)(NUMBERS, answers)
    assert np.isfinite(p).all()
    assert ((p > 0) & (p < 1)).all()


def test_no_label_or_answer_of_test_is_read() -> None:
    answers = student(1.0)
    plain, on_valid = fit(NUMBERS, LABELS, ROLE, answers, 0)
    changed = np.where(TEST, 1 - answers, answers)
    other, other_valid = fit(NUMBERS, LABELS ^ TEST, ROLE, changed, 0)
    assert plain == other
    assert (on_valid == other_valid).all()


def test_no_number_of_test_is_read_beyond_which_inputs_vary() -> None:
    numbers = NUMBERS.with_columns(pl.when(pl.Series(TEST)).then(pl.col("user") + 3).otherwise("user").alias("user"))
    assert fit(numbers, LABELS, ROLE, NOBODY, 0)[0] == fused(NOBODY)


def test_valid_is_answered_by_a_model_that_has_not_seen_it() -> None:
    """Probabilities of valid come from linear and trees of train; only the three stacking numbers know its labels."""
    _, on_valid = fit(NUMBERS, LABELS, ROLE, NOBODY, 0)
    in_sample = fused(NOBODY)(NUMBERS, NOBODY)[VALID]
    assert on_valid.shape == (VALID.sum(),)
    assert log_loss(LABELS[VALID], in_sample) < log_loss(LABELS[VALID], on_valid)


def test_the_model_is_calibrated_on_valid() -> None:
    _, on_valid = fit(NUMBERS, LABELS, ROLE, student(1.0), 0)
    assert on_valid.mean() == pytest.approx(LABELS[VALID].mean(), abs=0.02)


def test_json_keeps_the_whole_model() -> None:
    answers = student(1.0)
    model = dataclasses.replace(fused(answers), threshold=0.4)
    again = Fused.of_json(json.loads(json.dumps(model.to_json())))
    assert (again(NUMBERS, answers) == model(NUMBERS, answers)).all()
    assert again == model


def test_the_weights_name_every_input() -> None:
    model = fused(student(1.0))
    weights = model.weights()
    assert set(weights) == {*model.linear.names, "boosted trees (all inputs)", "student"}
    assert model.to_json()["weights"] == weights
    assert weights["student"] > 0


def test_a_weight_is_what_one_standard_deviation_moves() -> None:
    model = fused(student(1.0))
    name = model.linear.names[0]
    scale = model.linear.scale[0]
    moved = NUMBERS.with_columns(pl.col(name) + scale)
    difference = model.linear(moved) - model.linear(NUMBERS)
    assert difference * model.stack.evidence / 2 == pytest.approx(np.full(LABELS.size, model.weights()[name]))


def test_no_weight_of_the_linear_model_points_against_what_its_number_means() -> None:
    """Plainly fitted, some do: the numbers of the evidence are much alike."""
    model = fused(NOBODY).linear
    plain = Linear.fit(NUMBERS.filter(pl.Series(TRAIN)), LABELS[TRAIN], model.names)
    against = [[SIGNS[name] * weight < 0 for name, weight in zip(one.names, one.weights, strict=True)]
               for one in (plain, model)]  # fmt: skip
    assert sum(against[0]) > 0 == sum(against[1])
    assert sum(weight != 0 for weight in model.weights) > len(model.weights) / 3


@pytest.mark.parametrize("kept", ["train", "valid"])
def test_one_role_alone_can_be_fitted(kept: str) -> None:
    some = np.flatnonzero((kept == ROLE).to_numpy())
    model, on_valid = fit(NUMBERS[some], LABELS[some], ROLE[some], NOBODY[some], 0)
    assert np.isfinite(model(NUMBERS, NOBODY)).all()
    assert on_valid.size == (0 if kept == "test" else some.size) or kept == "train"


def test_one_class_alone() -> None:
    model, _ = fit(NUMBERS, np.ones(LABELS.size, dtype=np.bool_), ROLE, student(0.0), 0)
    assert (model(NUMBERS, NOBODY) > 0.9).all()


def test_the_formula() -> None:
    model = fused(student(1.0))
    stack = Stack(0.3, 0.8, 0.5, 0.1, 1.0, 1.0)
    p = dataclasses.replace(model, stack=stack)(NUMBERS, np.full(LABELS.size, 0.6))
    z = 0.3 + 0.8 * (model.linear(NUMBERS) + model.trees(NUMBERS)) / 2 + 0.5 * np.log(0.6 / 0.4)
    assert p == pytest.approx(1 / (1 + np.exp(-z)))


def test_log_odds() -> None:
    found = log_odds(np.array([0.5, 0.0, 1.0, np.nan]))
    assert found[0] == 0
    assert found[1] == pytest.approx(-found[2])
    assert np.isfinite(found[:3]).all()
    assert np.isnan(found[3])
