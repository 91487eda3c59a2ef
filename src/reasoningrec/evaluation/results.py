"""The rows a run adds to `benchmarks/results/`: measured figures that a program can read, with their provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reasoningrec.evaluation.evaluate import FUSED, STUDENT, Evaluation, MethodResult, Reading
from reasoningrec.rows import to_row

Row: TypeAlias = dict[str, str | int | float | None]
DIGITS = 6
"""Figures are rounded to this many digits after the point: far below any interval, and short to read."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where and when the figures were measured."""

    commit: str
    date: str
    """ISO date."""
    machine: str
    """In words: processor and cores."""


def decision_rows(evaluation: Evaluation, provenance: Provenance, shots: int | None = None) -> list[Row]:
    """Rows of `decisions.jsonl`: one per reading and method, headline reading first, methods in table order.

    `shots` is the number of training examples of the student; it stands in the rows of the methods that hold the
    student, and is null in the others and where it is not known.
    """
    return [
        {
            "dataset": evaluation.dataset,
            "protocol": evaluation.protocol,
            "method": result.method,
            "shots": shots if result.method in (FUSED, STUDENT) else None,
            "seed": evaluation.seed,
            **_figures(reading, result),
            "time": evaluation.time,
            "versus": result.versus,
            "diff": _rounded(result.diff),
            "diff_low": _rounded(result.diff_low),
            "diff_high": _rounded(result.diff_high),
            **_provenance(provenance),
        }
        for reading in evaluation.readings
        for result in reading.methods
    ]


def explanation_rows(evaluation: Evaluation, provenance: Provenance, method: str = FUSED) -> list[Row]:
    """Rows of `explanations.jsonl`: one per measure of the explanations, which explain the decisions of `method`."""
    return [
        {
            "dataset": evaluation.dataset,
            "protocol": evaluation.protocol,
            "method": method,
            "measure": check.measure,
            "value": _rounded(check.value),
            "n": check.n,
            "seed": evaluation.seed,
            **_provenance(provenance),
        }
        for check in evaluation.checks
    ]


def _figures(reading: Reading, result: MethodResult) -> Row:
    measures = result.measures
    return {
        "n": measures.n,
        "positives": measures.positives,
        "auc": _rounded(measures.auc),
        "auc_low": _rounded(result.auc_low),
        "auc_high": _rounded(result.auc_high),
        "valid_auc": _rounded(result.valid_auc),
        "threshold": _rounded(result.threshold),
        "balanced_accuracy": _rounded(measures.balanced_accuracy),
        "f1": _rounded(measures.f1),
        "log_loss": _rounded(measures.log_loss),
        "brier": _rounded(measures.brier),
        "ece": _rounded(measures.ece),
        "ece_floor": _rounded(measures.ece_floor),
        "invalid": measures.invalid,
        "subset": reading.subset,
        **{name: _rounded(value) for name, value in to_row(result.more).items()},
    }


def _provenance(provenance: Provenance) -> Row:
    return {"commit": provenance.commit, "date": provenance.date, "machine": provenance.machine}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
