"""The learning curve of a run's student: how well it decides by the number of rows it learns from, over several seeds.

It is no stage: nothing but the report reads it, and it is made on demand.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from reasoningrec.config import TrainConfig
from reasoningrec.errors import InputError
from reasoningrec.evaluation.decisions import auc, filled, log_loss
from reasoningrec.evaluation.learning import Cell
from reasoningrec.pipeline.learn import train_fields, training_rows
from reasoningrec.pipeline.line import check_before
from reasoningrec.pipeline.stage import Tell
from reasoningrec.pipeline.studies import CURVE
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.records import Role
from reasoningrec.rows import Json, read_records, write_records
from reasoningrec.runs import Run, fingerprint
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import TrainingRow, row_text
from reasoningrec.student.score import score, use_threads
from reasoningrec.student.train import TrainingRun, train

UNTRAINED: Final = "untrained"
ALL: Final = "all"
LEAST_SEEN: Final = 1000
"""Rows a student of the curve sees at least, each as often as need be: a few shots in two epochs teach nothing."""
VALID: Final = 200
"""Valid queries, drawn, that choose a student's epoch; all would take longer than learning from a few rows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a learning curve is asked for.

    Attributes:
        shots: counts of rows, and "all".
        seeds: how many; the run's own and those that follow it.
        queries: test queries to measure on, drawn; 0 = all.
        decisions_only: whether texts are left out of what is learned.
    """

    shots: tuple[str, ...]
    seeds: int
    queries: int = 0
    decisions_only: bool = False


def curve(run: Run, asked: Asked, tell: Tell) -> list[Cell]:
    """Train and measure a student for every number of shots and seed, and keep each in the run as it comes.

    What is there already, of the same settings and data, is not trained again. The untrained student of each seed is
    measured, too. Batches, rates and order of what is learned are the run's; epochs are its own, or as many as let a
    student see `LEAST_SEEN` rows, none ends early, and the best on valid is taken.

    Args:
        run: opened for writing.
        asked: the students.
        tell: told (students done, in all).

    Raises:
        NotInRunError: the run has not got as far as `verify`.
        InputError: its student is to reason first, which would have to be written for every query.
        StudentError: as `train`.
    """
    config = config_of(run)
    space = Workspace(run.folder, config)
    check_before(run, space, "train")
    if config.train.order == "reason-first" and not asked.decisions_only:
        raise InputError(
            "the student of this run reasons first: to measure it is to write for every query",
            hint="Name --decisions-only.",
        )
    lab = _Lab(run, space, asked)
    wanted = [(shots, config.seed + n) for n in range(asked.seeds) for shots in (UNTRAINED, *asked.shots)]
    for done, (shots, seed) in enumerate(wanted):
        tell(done, len(wanted))
        lab.cell(shots, seed)
    tell(len(wanted), len(wanted))
    lab.keep_only({lab.key(*one) for one in wanted})
    return lab.cells


class _Lab:
    """The rows of a run, and the students that were measured on them."""

    def __init__(self, run: Run, space: Workspace, asked: Asked) -> None:
        config = space.config
        self._path, self._rooms = run.folder / CURVE, run.folder / "curve"
        self._order = "decision-only" if asked.decisions_only else config.train.order
        self._config, self._asked, self._run, self._space = config, asked, run, space
        self._rows = training_rows(space)
        self._valid = drawn(space, "valid", VALID)
        self._test = drawn(space, "test", asked.queries)
        self.cells = read_records(Cell, self._path) if self._path.exists() else []
        use_threads(config.threads)

    def key(self, shots: str, seed: int) -> str:
        """Of a student and what it is measured on."""
        fields = {**train_fields(self._space), "stage verify": self._run.stages["verify"].outcome}
        more: dict[str, Json] = {"shots": shots, "seed": seed, "order": self._order, "queries": self._asked.queries}
        return fingerprint({**fields, **more, "least": LEAST_SEEN, "valid": VALID})

    def cell(self, shots: str, seed: int) -> None:
        """Train and measure one, unless it is there."""
        key = self.key(shots, seed)
        if any(cell.key == key for cell in self.cells):
            return
        begun, room = time.monotonic(), self._rooms / f"{shots}-{seed}"
        student = self._untrained(seed) if shots == UNTRAINED else self._trained(shots, seed, room)
        p = np.array([math.nan if value is None else value for value in self._score(student, self._test)])
        labels, complete = np.array([row.label for row in self._test]), filled(p)
        self.cells.append(
            Cell(
                shots=shots,
                seed=seed,
                order=self._order,
                rows=int(student.card.metrics.get("rows") or 0),
                epochs=int(student.card.metrics.get("epochs") or 0),
                n=len(p),
                invalid=int(np.isnan(p).sum()),
                auc=auc(labels, complete),
                log_loss=log_loss(labels, complete),
                valid_auc=student.card.metrics.get("valid_auc"),
                seconds=round(time.monotonic() - begun, 2),
                key=key,
            )
        )
        write_records(self._path, self.cells)
        shutil.rmtree(room, ignore_errors=True)

    def keep_only(self, keys: set[str]) -> None:
        """Drop the students of other settings."""
        self.cells = [cell for cell in self.cells if cell.key in keys]
        write_records(self._path, self.cells)
        shutil.rmtree(self._rooms, ignore_errors=True)

    def _score(self, student: Student, rows: Sequence[TrainingRow]) -> list[float | None]:
        return score(student, [row.case for row in rows], self._config.predict.batch_tokens)

    def _settings(self, shots: str) -> TrainConfig:
        count = 0 if shots in (ALL, UNTRAINED) else int(shots)
        rows = min(count or len(self._rows), len(self._rows))
        epochs = max(self._config.train.epochs, math.ceil(LEAST_SEEN / rows))
        return self._config.train.model_copy(
            update={"shots": count, "order": self._order, "epochs": epochs, "patience": 0, "trackers": ()}
        )

    def _trained(self, shots: str, seed: int, room: Path) -> Student:
        run = TrainingRun(room, seed, self._config.threads)
        return train(self._rows, self._valid, self._settings(shots), run).student

    def _untrained(self, seed: int) -> Student:
        config = self._settings(UNTRAINED)
        model, tokenizer = bases.build(config, [row_text(row) for row in self._rows], seed)
        return Student(model.eval(), tokenizer, config, bases.card_of(tokenizer, config, "", {}, bases.Base.of(config)))


def drawn(space: Workspace, role: Role, count: int) -> list[TrainingRow]:
    """Queries of a role with their labels, all or so many drawn by the run's seed."""
    ids = space.ids(role)
    if count and count < len(ids):
        ids = random.Random(f"{role} {space.config.seed}").sample(ids, count)  # noqa: S311 - drawing rows, not secrets
    return [TrainingRow(case, space.label_of[case.query.id]) for case in space.cases(ids)]
