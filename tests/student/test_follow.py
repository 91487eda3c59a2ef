"""Trackers are told what the log says, once, by the first process; nothing that is stored depends on them."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import accelerate.tracking
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_ranks import train as run_in

from reasoningrec.config import TrainConfig
from reasoningrec.errors import ConfigError, MissingExtraError, RunError
from reasoningrec.rows import read_jsonl
from reasoningrec.student import follow
from reasoningrec.student.train import LOG, SHOWN, Report, TrainingRun, train
from running import SMALL, Cli


class StopError(Exception):
    """Stands for the power going out."""


Figures = dict[str, list[tuple[int, float]]]


def board(tracked: Path) -> Figures:
    """What TensorBoard shows of the one training it was told of: name -> (step, value)."""
    (folder,) = (place for place in (tracked / "tensorboard").iterdir() if place.is_dir())
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def in_log(folder: Path) -> Figures:
    """What the log says of the epochs, by the names that trackers have for it."""
    found: Figures = defaultdict(list)
    for entry in read_jsonl(folder / LOG):
        for name, shown in SHOWN.items():
            if entry[name] is not None:
                found[shown].append((entry["steps"], pytest.approx(entry[name], rel=1e-6)))
    return found


def with_trackers(tiny: TrainConfig, *names: str) -> TrainConfig:
    return tiny.model_copy(update={"trackers": names, "checkpoint_seconds": 0.0})


def grow(shop: Any, config: TrainConfig, folder: Path, progress: Report | None = None) -> None:
    train(shop(1).rows(60), shop(2).rows(20), config, TrainingRun(folder, 5, 1, progress))


def test_tensorboard_shows_steps_and_epochs(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    told: Figures = defaultdict(list)

    def progress(step: int, total: int, figures: Any) -> None:
        told["train/loss"].append((step, pytest.approx(figures["loss"], rel=1e-6)))
        told["train/rate"].append((step, pytest.approx(figures["rate"], rel=1e-6)))

    grow(shop, with_trackers(tiny, "tensorboard"), tmp_path / "a", progress)
    shown = board(tmp_path / "a-tracked")
    assert shown == told | in_log(tmp_path / "a")
    assert len(shown["train/loss"]) > len(shown["valid/auc"]) == 2


def test_a_student_is_the_same_bytes_whoever_follows_it(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    grow(shop, with_trackers(tiny), tmp_path / "a")
    grow(shop, with_trackers(tiny, "tensorboard"), tmp_path / "b")
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "ab")
    assert one == two
    assert not (tmp_path / "a-tracked").exists()


@pytest.mark.parametrize("stops", [[3], [2, 6]])
def test_a_stopped_training_is_one_curve(shop: Any, tiny: TrainConfig, tmp_path: Path, stops: list[int]) -> None:
    config = with_trackers(tiny, "tensorboard")
    for stop in [*stops, math.inf]:
        time.sleep(1.0)  # as between processes: TensorBoard orders files by the second, and within one as words

        def progress(step: int, total: int, figures: Any, stop: float = stop) -> None:
            if step == stop:
                raise StopError  # the trackers were told of this step, which has no checkpoint

        try:
            grow(shop, config, tmp_path / "a", progress)
        except StopError:
            continue
    steps = [step for step, _ in board(tmp_path / "a-tracked")["train/loss"]]
    assert steps == list(range(1, max(steps) + 1))
    assert max(steps) > max(stops)


def test_another_training_is_another_curve(shop: Any, tiny: TrainConfig, tmp_path: Path) -> None:
    for rate in (1e-3, 2e-3):
        changed = with_trackers(tiny, "tensorboard").model_copy(update={"learning_rate": rate})
        grow(shop, changed, tmp_path / "a")
    assert len(list((tmp_path / "a-tracked" / "tensorboard").iterdir())) == 2


class Fake(accelerate.tracking.GeneralTracker):
    """A service that keeps what it is told; where `fails` says so, it does not."""

    name, requires_logging_directory = "fake", False
    fails: ClassVar[str] = ""
    seen: ClassVar[list[Fake]] = []

    def __init__(self, project: str, /, **options: Any) -> None:
        super().__init__()
        self.project, self.options, self.info = project, options, self
        self.run_id = options.get("run_id") or f"run {len(self.seen)}"
        self.told: list[tuple[int | None, dict[str, Any]]] = []
        self.settings: dict[str, Any] = {}
        self.closed = False
        self.seen.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def _act(self, what: str) -> None:
        if self.fails == what:
            raise OSError("no route to host")

    def start(self) -> None:
        self._act("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self._act("log")
        self.told.append((step, values))

    def finish(self) -> None:
        self.closed = True
        self._act("finish")


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Fake]:
    """Stand-ins for MLflow and W&B, as far as accelerate knows them."""
    for name, kind in (("mlflow", "MLflowTracker"), ("wandb", "WandBTracker")):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").touch()
        monkeypatch.setattr(accelerate.tracking, kind, Fake)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(Fake, "seen", [])
    monkeypatch.delenv("WANDB_DIR", raising=False)
    return Fake.seen


def test_mlflow_and_wandb_are_told_the_same(
    shop: Any, tiny: TrainConfig, tmp_path: Path, services: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-of-forty-signs")
    grow(shop, with_trackers(tiny, "mlflow", "wandb"), tmp_path / "a")
    mlflow, wandb = services
    assert mlflow.told == wandb.told
    shown = {name for _, values in wandb.told for name in values}
    assert shown == {"train/loss", "train/rate", *SHOWN.values()}
    assert [step for step, values in wandb.told if "train/loss" in values] == sorted({step for step, _ in wandb.told})
    assert mlflow.settings == wandb.settings
    assert wandb.settings["learning_rate"] == tiny.learning_rate
    assert wandb.settings["seed"] == 5
    assert all(isinstance(value, str | int | float | bool) for value in wandb.settings.values())
    assert (mlflow.project, wandb.project, mlflow.closed, wandb.closed) == ("reasoningrec",) * 2 + (True,) * 2
    assert wandb.options["dir"] == str(tmp_path / "a-tracked")
    kept = "".join(file.read_text("utf-8", "replace") for file in tmp_path.rglob("*") if file.is_file())
    assert "a-secret" not in kept


def test_after_a_kill_the_same_runs_go_on(shop: Any, tiny: TrainConfig, tmp_path: Path, services: list[Fake]) -> None:
    def progress(step: int, total: int, figures: Any) -> None:
        if step == 3:
            raise StopError

    config = with_trackers(tiny, "mlflow", "wandb")
    with pytest.raises(StopError):
        grow(shop, config, tmp_path / "a", progress)
    grow(shop, config, tmp_path / "a")
    mlflow, wandb, mlflow_again, wandb_again = services
    assert (mlflow.closed, wandb.closed) == (True, True)
    assert (mlflow.options["run_id"], mlflow_again.options["run_id"]) == (None, mlflow.run_id)
    assert wandb.options["id"] == wandb_again.options["id"]
    assert wandb_again.told[0][0] == 3
    assert not wandb_again.settings, "they are there already"


@pytest.mark.parametrize("when", ["log", "finish"])
def test_a_tracker_that_fails_ends_no_training(
    shop: Any,
    tiny: TrainConfig,
    tmp_path: Path,
    services: list[Fake],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    monkeypatch.setattr(Fake, "fails", when)
    with caplog.at_level(logging.WARNING):
        grow(shop, with_trackers(tiny, "wandb"), tmp_path / "a")
    assert (tmp_path / "a" / "card.json").exists()
    assert caplog.messages == ["train.trackers: wandb failed and is told no more: no route to host"]


def test_a_tracker_that_does_not_start_is_told(
    shop: Any, tiny: TrainConfig, tmp_path: Path, services: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "fails", "start")
    with pytest.raises(ConfigError, match=r"train\.trackers: mlflow does not start: no route to host\n.*environment"):
        grow(shop, with_trackers(tiny, "tensorboard", "mlflow"), tmp_path / "a")
    assert len(services) == 1


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    (tmp_path / follow.NOTE).write_text("{", "utf-8")
    training = follow.Followed(tmp_path, "key", 3, {})
    with pytest.raises(RunError, match=follow.NOTE), follow.following(["tensorboard"], training):
        pass


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    if not follow.importlib.util.find_spec("wandb").origin:  # type: ignore[attr-defined, union-attr]
        with pytest.raises(MissingExtraError, match="wandb is not installed"):
            follow.check(["wandb"])


def test_a_missing_tracker_is_told_before_any_work(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    (tmp_path / "c.toml").write_text(SMALL.replace("[train]", '[train]\ntrackers = ["wandb"]'), "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "c.toml")
    assert answer.code == 2
    assert "train.trackers: wandb is not installed" in answer.err
    assert "pip install wandb" in answer.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(SMALL.replace("[train]", '[train]\ntrackers = ["neptune"]'), "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "c.toml")
    assert answer.code == 2
    assert "train.trackers" in answer.err


def test_of_two_processes_the_first_tells(tmp_path: Path) -> None:
    run_in(tmp_path / "a", SMALL.replace("[train]", '[train]\ntrackers = ["tensorboard"]'), 2)
    run = tmp_path / "a" / "run"
    shown = board(run / "train-tracked")
    steps = [step for step, _ in shown["train/loss"]]
    assert steps == list(range(1, len(steps) + 1))
    assert {name: shown[name] for name in in_log(run / "train")} == in_log(run / "train")


def test_trackers_are_in_no_fingerprint(cli: Cli, tmp_path: Path) -> None:
    for place, config in (("a", SMALL), ("b", SMALL.replace("[train]", '[train]\ntrackers = ["tensorboard"]'))):
        (tmp_path / f"{place}.toml").write_text(config, "utf-8")
        assert cli("train", "--run", tmp_path / place, tmp_path / f"{place}.toml").code == 0
    one, two = (json.loads((tmp_path / place / "manifest.json").read_text())["stages"] for place in "ab")
    assert one == two
