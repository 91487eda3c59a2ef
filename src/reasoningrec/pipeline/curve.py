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
from reasoningrec.pipeline.learn import training_rows
from reasoningrec.pipeline.line import check_before
from reasoningrec.pipeline.looks import note
from reasoningrec.pipeline.stage import Tell
from reasoningrec.pipeline.studies import CURVE, LEAST_SEEN, VALID, kept, of_students
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.records import Role
from reasoningrec.rows import write_records
from reasoningrec.runs import Run
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import TrainingRow, row_text
from reasoningrec.student.score import score, use_threads
from reasoningrec.student.train import TrainingRun, train

UNTRAINED: Final = "untrained"
ALL: Final = "all"


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

    What is there already, of the same settings and data, is not trained again, and stays beside what is asked for now;
    what is of other settings goes. The untrained student of each seed is measured, too. Batches, rates and order of
    what is learned are the run's; epochs are its own, or as many as let a student see `LEAST_SEEN` rows, none ends
    early, and the best on valid is taken.

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
    shots = dict.fromkeys((UNTRAINED, *map(lab.counted, asked.shots)))
    wanted = [(count, config.seed + n) for n in range(asked.seeds) for count in shots]
    for done, (count, seed) in enumerate(wanted):
        tell(done, len(wanted))
        lab.cell(count, seed)
    tell(len(wanted), len(wanted))
    lab.close()
    return [cell for cell in lab.cells if (cell.shots, cell.seed) in wanted and lab.alike(cell)]


class _Lab:
    """The rows of a run, and the students that were measured on them."""

    def __init__(self, run: Run, space: Workspace, asked: Asked) -> None:
        config = space.config
        self._path, self._rooms = run.folder / CURVE, run.folder / "curve"
        self._order = "decision-only" if asked.decisions_only else config.train.order
        self._config, self._asked, self._space = config, asked, space
        self._rows = training_rows(space)
        self._valid = drawn(space, "valid", VALID)
        self._test = drawn(space, "test", asked.queries)
        self._of = of_students(run, space)
        self.cells = [cell for cell in kept(Cell, self._path) if cell.of == self._of]
        use_threads(config.threads)

    def counted(self, shots: str) -> str:
        """`shots`, or "all" where there are no more rows than that."""
        return ALL if shots != ALL and int(shots) >= len(self._rows) else shots

    def alike(self, cell: Cell) -> bool:
        """Whether a student learned and is measured as is asked for now."""
        return (cell.order, cell.queries) == (self._order, self._asked.queries)

    def cell(self, shots: str, seed: int) -> None:
        """Train and measure one, unless it is there."""
        if any((cell.shots, cell.seed) == (shots, seed) and self.alike(cell) for cell in self.cells):
            return
        begun, room = time.monotonic(), self._rooms / f"{shots}-{seed}"
        student = self._untrained(seed) if shots == UNTRAINED else self._trained(shots, seed, room)
        p = np.array([math.nan if value is None else value for value in self._score(student, self._test)])
        labels, complete = np.array([row.label for row in self._test]), filled(p)
        note(self._space, "curve", {row.case.query.id: row.label for row in self._test}, 1)
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
                queries=self._asked.queries,
                of=self._of,
            )
        )
        write_records(self._path, self.cells)
        shutil.rmtree(room, ignore_errors=True)

    def close(self) -> None:
        """Keep what there is, and clear what students were trained in."""
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
