"""Students of folds in benchmarks/folds.py: no fold teaches what answers it, and what a student knows is found."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from making import demo_line
from reasoningrec.data.timeline import Bools, Floats
from scripts import load

LINE = demo_line(100)
LABELS, WINDOW = LINE.labels, (LINE.windows["role"] == "train").to_numpy()
IDS = LINE.windows.filter(role="train")["id"].to_list()
FOLD = np.arange(LABELS.size) % 5
CONFIG = SimpleNamespace(seed=0, threads=1, train=None, predict=SimpleNamespace(batch_tokens=1))


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


def test_no_fold_teaches_the_models_of_the_evidence_that_answer_it(module: ModuleType) -> None:
    turned = np.where(WINDOW & (FOLD == 0), ~LABELS, LABELS)
    changed = folds(module).evidence != folds(module, turned).evidence
    assert not changed[FOLD[WINDOW] == 0].any()
    assert all(changed[FOLD[WINDOW] == fold].any() for fold in range(1, 5))


def test_no_fold_chooses_the_coefficients_that_weigh_it(module: ModuleType) -> None:
    here, there = folds(module), folds(module, np.where(WINDOW & (FOLD == 0), ~LABELS, LABELS))
    vars(there)["evidence"] = here.evidence
    for ridge in module.RIDGES.values():
        changed = here.decided(student(1.0), ridge)[0] != there.decided(student(1.0), ridge)[0]
        assert not changed[FOLD[WINDOW] == 0].any()
        assert changed[FOLD[WINDOW] != 0].all()


def test_a_student_that_knows_adds_and_one_that_does_not_adds_nothing(module: ModuleType) -> None:
    for ridge in module.RIDGES.values():
        areas, weights = [], []
        for answers in (np.full(int(WINDOW.sum()), np.nan), student(0.0), student(1.5)):
            said, weight = folds(module).decided(answers, ridge)
            areas.append(roc_auc_score(LABELS[WINDOW], said))
            weights.append(weight)
        assert abs(areas[1] - areas[0]) < 0.01
        assert areas[2] > areas[0] + 0.03
        assert weights[0] == 0
        assert weights[2] > 4 * weights[1]


def test_students_that_have_answered_are_not_trained_again(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, taught = folds(module), []
    rows = [SimpleNamespace(case=SimpleNamespace(query=SimpleNamespace(id=id))) for id in IDS]
    vars(here.space).update(windows=LINE.windows, config=CONFIG, ids=lambda role: [], cases=lambda ids: [])

    def train(known: list[Any], valid: list[Any], config: Any, run: Any) -> Any:
        taught.append(run.folder.name)
        if len(taught) == 3:
            raise KeyboardInterrupt
        return SimpleNamespace(student={row.case.query.id for row in known})

    def score(student: set[str], asked: list[Any], tokens: int) -> list[float | None]:
        assert not student & {case.query.id for case in asked}
        return [None if case.query.id == IDS[0] else IDS.index(case.query.id) / len(IDS) for case in asked]

    monkeypatch.setattr(module, "training_rows", lambda space: rows)
    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "score", score)
    with pytest.raises(KeyboardInterrupt):
        here.student(tmp_path)
    said = here.student(tmp_path)
    assert taught == ["0", "1", "2", "2", "3", "4"]
    assert np.isnan(said[0])
    np.testing.assert_allclose(said[1:], np.arange(1, len(IDS)) / len(IDS))


def test_a_run_that_cannot_be_used_is_told_without_a_traceback(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "runs" / "demo-honest-folds"
    room.mkdir(parents=True)
    (room / "letters.txt").write_text("not a run's", "utf-8")
    monkeypatch.setattr(sys, "argv", ["folds", "--only", "demo:honest", "--runs", str(room.parent)])
    with pytest.raises(SystemExit, match=r"demo:honest: .*demo-honest-folds"):
        module.main()
