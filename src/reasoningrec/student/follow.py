"""Trackers that follow a training beside its own log: TensorBoard, MLflow and W&B, by accelerate's classes for them.

Where they send or keep what they are told, and with which key, they take from their own environment variables. Our
files are in a folder beside the student's, since a student's own files are the same whoever followed it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reasoningrec.errors import ConfigError, MissingExtraError
from reasoningrec.rows import read_json, write_json

FIELD: Final = "train.trackers"
PROJECT: Final = "reasoningrec"
"""What MLflow calls the experiment, and W&B the project."""
NOTE: Final = "tracked.json"


@dataclass(frozen=True, slots=True)
class Followed:
    """The training that is followed.

    Attributes:
        folder: of the trackers' files and of what is noted to go on with the same runs.
        key: of the rows and settings; another key begins a new run.
        step: steps done before, after a kill; 0 begins a new run.
        settings: to be shown beside the figures.
    """

    folder: Path
    key: str
    step: int
    settings: Mapping[str, Any]


@dataclass
class Trackers:
    """Those that are open, by name. One that fails later on is left out, for no training should end of that."""

    opened: dict[str, Any] = field(default_factory=dict)

    def tell(self, step: int, figures: Mapping[str, float | int | None]) -> None:
        """Pass on the figures as they are after `step`; None is left out."""
        known = {name: value for name, value in figures.items() if value is not None}
        for name in list(self.opened):
            with self._letting_go(name):
                self.opened[name].log(known, step=step)

    def close(self) -> None:
        """Let each write what it still holds."""
        for name in list(self.opened):
            with self._letting_go(name):
                self.opened.pop(name).finish()

    @contextlib.contextmanager
    def _letting_go(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - other people's code, and their networks
            self.opened.pop(name, None)
            logging.getLogger(__name__).warning("%s: %s failed and is told no more: %s", FIELD, name, error)


def check(names: Sequence[str]) -> None:
    """Raises MissingExtraError where a tracker is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a mere folder, such as W&B leaves where it ran, is no package
            raise MissingExtraError(
                f"{FIELD}: {name} is not installed", hint=f"`pip install {name}`, or leave it out of {FIELD}."
            )


@contextlib.contextmanager
def following(names: Sequence[str], training: Followed) -> Iterator[Trackers]:
    """Trackers told of a training while it lasts, closed however it ends.

    Args:
        names: "tensorboard", "mlflow", "wandb"; these are their packages' names, too.
        training: what is followed. After a kill its runs are gone on with.

    Raises:
        MissingExtraError: one is not installed.
        ConfigError: one does not start.
        RunError: the note of earlier runs is damaged.
    """
    check(names)
    trackers = Trackers()
    try:
        if names:
            _open(names, training, trackers)
        yield trackers
    finally:
        trackers.close()


def _open(names: Sequence[str], training: Followed, trackers: Trackers) -> None:
    from accelerate.state import PartialState

    PartialState()  # accelerate's trackers ask it who they are
    ids = _known(training)
    new = {"key": training.key, "id": ids.get("id") or secrets.token_hex(4)}
    for name in dict.fromkeys(names):
        again = name in ids.get("names", ())
        try:
            tracker = _made(name, training, {**ids, **new}, again=again)
            tracker.start()
            trackers.opened[name] = tracker
            if not again:
                tracker.store_init_configuration(dict(_plain(training.settings)))
        except Exception as error:
            raise ConfigError(
                f"{FIELD}: {name} does not start: {error}",
                hint=f"Set it up by its environment variables, or leave it out of {FIELD}."
                + (f" To begin a new run of it, delete {training.folder / NOTE}." if again else ""),
            ) from error
    mlflow = trackers.opened.get("mlflow")
    write_json(
        training.folder / NOTE,
        {**new, "names": list(trackers.opened), "mlflow": mlflow.tracker.info.run_id if mlflow else ""},
    )


def _known(training: Followed) -> dict[str, Any]:
    """What was noted when this very training began; nothing where it begins now."""
    training.folder.mkdir(parents=True, exist_ok=True)
    path = training.folder / NOTE
    found: dict[str, Any] = read_json(path) if training.step and path.exists() else {}
    return found if found.get("key") == training.key else {}


def _made(name: str, training: Followed, ids: Mapping[str, Any], *, again: bool) -> Any:
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

    folder = training.folder
    shown = f"{folder.resolve().parent.name}-{ids['id']}"
    if name == "tensorboard":
        # Steps that a killed process had told of and that are taken again are not shown twice.
        purge = training.step + 1 if again else None
        return TensorBoardTracker(ids["id"], folder / name, purge_step=purge)
    if name == "mlflow":
        return MLflowTracker(PROJECT, run_id=ids["mlflow"] if again else None, run_name=shown)
    place = None if "WANDB_DIR" in os.environ else str(folder)
    # Without the terminal's output: the progress bar would fill it.
    options = {"console": "off"}
    return WandBTracker(PROJECT, id=ids["id"], name=shown, dir=place, resume="allow", settings=options)


def _plain(settings: Mapping[str, Any]) -> Iterator[tuple[str, str | float | bool]]:
    """Settings as every tracker takes them."""
    for name, value in settings.items():
        yield name, value if isinstance(value, bool | int | float | str) else " ".join(map(str, value))
