"""Students of folds in benchmarks/folds.py: nothing reads its own answer, and what a student knows is found."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from making import demo_line
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.data.timeline import Bools, Floats
from scripts import load

LINE = demo_line(100)
LABELS, WINDOW = LINE.labels, (LINE.windows["role"] == "train").to_numpy()
FOLD = np.arange(LABELS.size) % 5


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return load("folds")


def folds(module: ModuleType, labels: Bools = LABELS) -> Any:
    deciding = (LINE.numbers, labels, LINE.windows["role"])
    space = SimpleNamespace(deciding=deciding, labels=labels, config=SimpleNamespace(seed=0))
    return module.Folds(space, WINDOW, FOLD, FOLD)


def student(knows: float) -> Floats:
    """(W,) answers whose log-odds are `knows` times the label's side, and noise."""
    z = knows * np.where(LABELS[WINDOW], 1.0, -1.0) + np.random.default_rng(0).normal(size=int(WINDOW.sum()))
    return np.asarray(1 / (1 + np.exp(-z)))


def test_no_answer_is_learned_from_by_what_is_asked_for_it(module: ModuleType) -> None:
    turned = np.where(WINDOW & (FOLD == 0), ~LABELS, LABELS)
    here, there = folds(module).learned, folds(module, turned).learned
    assert (here[0].evidence == there[0].evidence).all()
    assert all((one.evidence != other.evidence).any() for one, other in zip(here[1:], there[1:], strict=True))


def test_a_student_that_knows_adds_and_one_that_does_not_adds_nothing(module: ModuleType) -> None:
    for one, other in ((module.DECISION, module.WITHOUT), (module.WEAKLY, module.WEAKLY_WITHOUT)):
        gains = []
        for knows in (0.0, 1.5):
            said = folds(module).decided(student(knows))
            gains.append(roc_auc_score(LABELS[WINDOW], said[one]) - roc_auc_score(LABELS[WINDOW], said[other]))
        assert abs(gains[0]) < 0.01
        assert gains[1] > 0.03


def test_invalid_answers_count_as_the_mean_of_the_valid_ones(module: ModuleType) -> None:
    said = folds(module).decided(np.full(int(WINDOW.sum()), np.nan))
    assert (said[module.DECISION] == said[module.WITHOUT]).all()


def test_the_decision_is_that_of_the_package(module: ModuleType) -> None:
    learned = folds(module).learned[0]
    seen = replace(learned, valid=FOLD[WINDOW] == 0)
    answers = student(1.0)
    fused, on_fold = seen.with_student(answers)
    found = module.stacked(fused.stack, learned.evidence, answers[seen.valid])
    np.testing.assert_allclose(sigmoid(found), on_fold)
