"""How long a run's student takes to answer, in each mode that it can answer in. Measured on demand, for the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from reasoningrec.config import MODES, Config
from reasoningrec.evaluation.learning import Latency
from reasoningrec.pipeline.curve import drawn
from reasoningrec.pipeline.explain import answer, explain
from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.stage import Tell
from reasoningrec.pipeline.studies import LATENCY, of_latency
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.records import Case
from reasoningrec.rows import write_records
from reasoningrec.runs import Run
from reasoningrec.student.bases import Student
from reasoningrec.student.local import Local
from reasoningrec.student.score import place_of, use_threads

WARM: Final = 2
"""Queries asked before the clock starts."""


def latency(run: Run, queries: int, tell: Tell) -> list[Latency]:
    """Seconds of each mode for each query; kept in the run.

    Queries are of test, drawn by the run's seed. Each is asked alone, as a page would, and then all at once. What is
    timed is the student's part: P(Yes) and, where the mode writes, a text that has passed the gates.

    Args:
        run: opened for writing.
        queries: how many.
        tell: told (queries done, in all).

    Raises:
        NotInRunError: the run has no trained student of its present configuration.
        RunError: it is damaged.
    """
    config = config_of(run)
    space = Workspace(run.folder, config)
    check_finished(run, space, "train")
    student = Student.open(run.folder / "train", config.train.base)
    use_threads(config.threads)
    cases = [row.case for row in drawn(space, "test", queries + WARM)]
    modes = MODES[config.train.order]
    found = []
    for place, mode in enumerate(modes):
        tell(place * len(cases), len(modes) * len(cases))
        asked = config.model_copy(update={"predict": config.predict.model_copy(update={"mode": mode})})
        found.append(_timed(student, cases, asked, of_latency(run, space)))
    tell(len(modes) * len(cases), len(modes) * len(cases))
    write_records(run.folder / LATENCY, found)
    return found


def _timed(student: Student, cases: Sequence[Case], config: Config, of: str) -> Latency:
    asked = Local(student, config.predict.batch_tokens)
    alone = [_seconds(asked, [case], config)[0] for case in cases]
    rest = cases[WARM:] or cases
    together, by_student = _seconds(asked, rest, config)
    times = alone[WARM:] or alone
    return Latency(
        mode=config.predict.mode,
        n=len(times),
        median=round(float(np.median(times)), 4),
        most=round(float(np.quantile(times, 0.95)), 4),
        together=round(together / len(rest), 4),
        by_student=by_student,
        where=place_of(student),
        of=of,
    )


def _seconds(student: Local, cases: Sequence[Case], config: Config) -> tuple[float, int]:
    """(seconds until all are answered, texts that the student wrote)."""
    begun = time.perf_counter()
    said = answer(student, cases, config)
    if config.predict.mode == "predict-only":
        return time.perf_counter() - begun, 0
    texts = explain(student, cases, [(one.p or 0.0) >= 0.5 for one in said], config, said)
    return time.perf_counter() - begun, sum(text.origin == "student" for text in texts)
