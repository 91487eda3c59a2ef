from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.config import TrainConfig
from reasoningrec.errors import RunError, StudentError
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import TokenRow
from reasoningrec.student.steps import losses, plan_epoch, schedule
from reasoningrec.student.train import LOG, SLACK, TrainingResult, TrainingRun, train

CHILD = """
import importlib.util, os, sys, threading
from pathlib import Path
spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
sys.modules["made"] = made
spec.loader.exec_module(made)
from reasoningrec.config import TrainConfig
from reasoningrec.student.train import TrainingRun, train
config = TrainConfig.model_validate_json(sys.argv[3])
after, delay = int(sys.argv[4]), float(sys.argv[5])
seen = []
def progress(step, total, figures):
    seen.append(step)
    if len(seen) == after:
        threading.Timer(delay, os.kill, (os.getpid(), 9)).start()
run = TrainingRun(Path(sys.argv[2]), 5, 1, progress)
train(made.Shop(1).rows(60), made.Shop(2).rows(20), config, run)
"""


class StopError(Exception):
    """Stands for the power going out."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def straight(shop: Any, tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("straight")
    train(shop(1).rows(60), shop(2).rows(20), tiny, TrainingRun(folder, 5, 1))
    return contents(folder)


@pytest.mark.parametrize("stops", [[1], [3, 4, 9], [8, 11]])
def test_a_stopped_training_ends_in_the_same_bytes(
    shop: Any, tiny: TrainConfig, tmp_path: Path, straight: dict[str, bytes], stops: list[int]
) -> None:
    config = tiny.model_copy(update={"checkpoint_seconds": 0.0})
    seen: list[int] = []
    for stop in [*stops, math.inf]:

        def progress(step: int, total: int, figures: Any, stop: float = stop) -> None:
            seen.append(step)
            if step == stop:
                raise StopError

        try:
            train(shop(1).rows(60), shop(2).rows(20), config, TrainingRun(tmp_path, 5, 1, progress))
        except StopError:
            continue
    steps = max(seen)
    assert steps > max(stops), "the last stop lies inside the training"
    assert len(seen) == steps + len(stops), "each stop costs the one step whose checkpoint was not yet written"
    found = contents(tmp_path)
    card = json.loads(found.pop("card.json"))
    assert found == {name: data for name, data in straight.items() if name != "card.json"}
    expected = json.loads(straight["card.json"])
    assert card | {"train": expected["train"]} == expected


def test_kill_9_at_any_time_ends_in_the_same_bytes(
    tiny: TrainConfig, tmp_path: Path, straight: dict[str, bytes]
) -> None:
    config = tiny.model_copy(update={"checkpoint_seconds": 0.0})
    made = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", CHILD, str(made), str(tmp_path), config.model_dump_json()]
    for after, delay in ((2, 0.003), (3, 0.012)):
        # into the writing of a checkpoint, or the next step
        ended = subprocess.run([*command, str(after), str(delay)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert not (tmp_path / "card.json").exists()
    assert subprocess.run([*command, "0", "0"], check=False).returncode == 0
    for name in ("model.safetensors", "tokenizer.json", LOG):
        assert (tmp_path / name).read_bytes() == straight[name], name
    assert not list(tmp_path.glob("checkpoint*"))


def test_a_checkpoint_of_other_rows_or_settings_is_not_gone_on_from(
    shop: Any, tiny: TrainConfig, tmp_path: Path, straight: dict[str, bytes]
) -> None:
    def stop(step: int, total: int, figures: Any) -> None:
        if step == 3:
            raise StopError

    config = tiny.model_copy(update={"checkpoint_seconds": 0.0, "learning_rate": 5e-4})
    with pytest.raises(StopError):
        train(shop(1).rows(60), shop(2).rows(20), config, TrainingRun(tmp_path, 5, 1, stop))
    assert list(tmp_path.glob("checkpoint-*"))
    train(shop(1).rows(60), shop(2).rows(20), tiny, TrainingRun(tmp_path, 5, 1))
    assert contents(tmp_path) == straight


def test_a_damaged_checkpoint_is_named(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    place = tmp_path / "checkpoint-000000003"
    place.mkdir()
    (place / "state.json").write_text("{")
    with pytest.raises(RunError, match="checkpoint-000000003"):
        train(shop(1).rows(9), (), tiny, TrainingRun(tmp_path, 5, 1))


def test_the_student_learns_and_a_late_good_epoch_is_kept(trained: TrainingResult) -> None:
    late = {
        entry["epoch"]: entry["valid_auc"]
        for entry in trained.log
        if (entry["epoch"] or 0) > trained.student.config.epochs // 2
    }
    best = max(auc for auc in late.values() if auc is not None)
    assert best >= 0.75
    metrics = trained.student.card.metrics
    assert metrics["epoch"] == max(epoch or 0 for epoch, auc in late.items() if (auc or 0) >= best - SLACK)
    assert metrics["valid_auc"] == late[metrics["epoch"]]
    assert (trained.log[-1]["text_loss"] or 9) < (trained.log[0]["text_loss"] or 0) / 2


def test_stored_and_returned_student_are_one(trained: TrainingResult, shop: Any, tmp_path: Path) -> None:
    bases.save(trained.student, tmp_path)
    back = Student.open(tmp_path)
    for name, weight in trained.student.model.named_parameters():
        assert torch.equal(dict(back.model.named_parameters())[name], weight), name


def test_patience_ends_a_training_that_does_not_get_better(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    # A rate of next to nothing: the ranking of valid never changes.
    config = tiny.model_copy(update={"epochs": 9, "patience": 2, "learning_rate": 1e-12})
    result = train(shop(1).rows(20, texts=False), shop(2).rows(20), config, TrainingRun(tmp_path / "decide", 5, 1))
    assert [entry["epoch"] for entry in result.log] == [1, 2, 3]
    assert result.student.card.metrics["epoch"] == 1
    result = train(shop(1).rows(20), shop(2).rows(20), config, TrainingRun(tmp_path / "write", 5, 1))
    assert [entry["epoch"] for entry in result.log] == [1, 2, 3, 4, 5, 6, 7]
    assert result.student.card.metrics["epoch"] == 7, "where texts are learned, the latest of equals"


def test_without_valid_rows_the_last_epoch_is_kept(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    result = train(shop(1).rows(20), (), tiny, TrainingRun(tmp_path, 5, 1))
    assert [entry["valid_auc"] for entry in result.log] == [None, None]
    assert result.student.card.metrics["epoch"] == 2


def test_with_one_label_in_valid_log_loss_chooses(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    valid = [row for row in shop(2).rows(30) if row.label]
    result = train(shop(1).rows(30, texts=False), valid, tiny, TrainingRun(tmp_path, 5, 1))
    found = [entry["valid_log_loss"] for entry in result.log]
    assert all(entry["valid_auc"] is None for entry in result.log)
    assert result.student.card.metrics["valid_log_loss"] == min(loss for loss in found if loss is not None)


def test_rows_without_reasons_train_the_decision(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    result = train(shop(1).rows(20, texts=False), (), tiny, TrainingRun(tmp_path, 5, 1))
    assert [entry["text_loss"] for entry in result.log] == [None, None]
    assert result.student.card.metrics["texts"] == 0


def test_nothing_to_train_on_is_refused(tiny: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="no rows"):
        train((), (), tiny, TrainingRun(tmp_path, 0))


def test_losses_are_those_of_each_row_alone(trained: TrainingResult) -> None:
    model = trained.student.model
    rows = [TokenRow((9, 8, 7), (5, 6, 4), True), TokenRow((3,) * 9, (4,), False), TokenRow((2, 1), (6, 6), True)]
    decision, text, texts = losses(model, rows)
    alone = [losses(model, [row]) for row in rows]
    assert texts == 3
    assert decision.item() == pytest.approx(sum(one[0].item() for one in alone) / 3, rel=1e-5)
    assert text.item() == pytest.approx((2 * alone[0][1].item() + alone[2][1].item()) / 3, rel=1e-5)
    logits = model(torch.tensor([[9, 8, 7, 5, 6]])).logits[0].log_softmax(-1)
    assert alone[0][0].item() == pytest.approx(-logits[2, 5].item(), rel=1e-4)
    assert alone[0][1].item() == pytest.approx(-(logits[3, 6] + logits[4, 4]).item() / 2, rel=1e-4)


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001
    assert schedule(0, 1, 0.0) == 1.0


@given(st.lists(st.integers(1, 80), min_size=1, max_size=80), st.integers(64, 400), st.integers(0, 3))
def test_an_epoch_holds_every_row_once_within_the_limit(lengths: list[int], most: int, epoch: int) -> None:
    plan = plan_epoch(lengths, most, 1, epoch)
    assert sorted(n for batch in plan for n in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= most for batch in plan)
    assert plan == plan_epoch(lengths, most, 1, epoch)


def test_epochs_and_seeds_have_their_own_order() -> None:
    plans = [plan_epoch(list(range(1, 90)), 200, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(plan) for plan in plans}) == 4
