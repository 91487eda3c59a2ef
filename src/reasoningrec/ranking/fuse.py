"""The decision: the student's log-odds and what is counted and fitted beside it, in one small calibrated model.

    z = intercept + evidence x (linear + trees) / 2 + student x logit P(Yes)

`linear` and `trees` (see `baselines.regression`) read the numbers of the evidence and `latent`; weights of `linear`
point the way a number is meant. Both are fitted on train; the three coefficients then on valid, where student and
evidence are equally new, by penalised maximum likelihood with neither coefficient below zero. For test, `linear` and
`trees` are fitted once more on train and valid together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import polars as pl
from scipy.optimize import minimize

from reasoningrec.baselines import regression
from reasoningrec.baselines.regression import INPUTS, Linear, Trees, inputs
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.data.timeline import Bools, Floats, Timeline
from reasoningrec.ranking import latent
from reasoningrec.rows import Json

LATENT: Final = "latent"
"""What `ranking.latent` expects, in a column beside the numbers of the evidence."""
NUMBERS: Final = (*INPUTS, LATENT)
SIGNS: Final = {**dict.fromkeys(NUMBERS, 1), "alike_disliked": -1, "item_log_n": 0, "gap": 0}
"""Which way a number may move the linear model: what was liked speaks for an item, what was disliked against it, and
two say neither. Numbers that are much alike otherwise take weights of both signs, which few rows cannot tell from none
(Slawski and Hein, Electronic Journal of Statistics 7, 2013; see docs/experiments.md)."""
STACK_PENALTY: Final = 100.0
"""Ridge, in nats, that draws the coefficients towards (evidence 1, student 0). It is strong because valid has chosen
the student's epoch already, and so flatters it: the student has to earn its weight on many rows (see
docs/experiments.md)."""

INTERCEPT_PENALTY: Final = 1.0
"""Ridge, in nats, on the intercept, so that a few rows of valid of one label do not make the decision sure of all."""
LEAST_SCALE: Final = 0.1
"""Log-odds. A student that says nearly the same of everyone on valid is not taken to say more by as much as it varies
less there."""


@dataclass(frozen=True)
class Stack:
    """How evidence and student are weighed."""

    intercept: float
    evidence: float
    student: float
    student_mean: float
    """Log-odds that stand in for an invalid answer of the student: the mean on valid."""
    trees_scale: float
    """Standard deviation of the trees' log-odds on valid."""
    student_scale: float
    """Standard deviation of the student's log-odds on valid, to state its weight in the units of the others."""

    @classmethod
    def fit(cls, evidence: Floats, student: Floats, labels: Bools, ridge: float = STACK_PENALTY) -> Self:
        """Fit the coefficients; those of (V,) P(Yes) that are nan everywhere are those of no student.

        Args:
            evidence: (V,) log-odds.
            student: (V,) P(Yes), nan = invalid.
            labels: (V,)
            ridge: in nats, see `STACK_PENALTY`.
        """
        known = log_odds(student)
        mean = float(np.nanmean(known)) if not np.isnan(known).all() else 0.0
        known = np.where(np.isnan(known), mean, known)
        scale = float(known.std())
        unit = max(scale, LEAST_SCALE)
        centred = (known - mean) / unit
        sign = np.where(labels, 1.0, -1.0)

        def loss(c: Floats) -> float:
            z = c[0] + c[1] * evidence + c[2] * centred
            drawn = ridge * ((c[1] - 1.0) ** 2 + c[2] ** 2) + INTERCEPT_PENALTY * c[0] ** 2
            return float(np.logaddexp(0.0, -sign * z).sum() + drawn / 2)

        free = None if scale > 1e-9 else 0.0
        best = minimize(loss, np.array([0.0, 1.0, 0.0]), method="L-BFGS-B", bounds=[(None, None), (0, None), (0, free)])
        intercept, on_evidence, on_student = (float(value) for value in best.x)
        on_student /= unit
        return cls(intercept - on_student * mean, on_evidence, on_student, mean, 0.0, scale)

    @classmethod
    def alone(cls, student: Floats) -> Self:
        """The student's P(Yes) as they are; (V,) those on valid tell what stands in for an invalid one."""
        known = log_odds(student[~np.isnan(student)])
        mean, scale = (float(known.mean()), float(known.std())) if known.size else (0.0, 0.0)
        return cls(0.0, 0.0, 1.0, mean, 0.0, scale)

    def __call__(self, evidence: Floats, student: Floats) -> Floats:
        """(N,) P(like) of (N,) log-odds of the evidence and (N,) P(Yes), nan = invalid."""
        known = log_odds(student)
        known = np.where(np.isnan(known), self.student_mean, known)
        return sigmoid(self.intercept + self.evidence * evidence + self.student * known)


@dataclass(frozen=True)
class Fused:
    """The fitted model, whole; `to_json` and `of_json` keep it readable."""

    linear: Linear
    trees: Trees
    stack: Stack
    threshold: float = 0.5
    """P(like) from which the decision is Yes; chosen on valid."""

    def __call__(self, numbers: pl.DataFrame, student: Floats) -> Floats:
        """(N,) P(like) of N queries. `student`: (N,) P(Yes), nan = invalid."""
        return self.stack(self.evidence(numbers), student)

    def evidence(self, numbers: pl.DataFrame) -> Floats:
        """(N,) log-odds by the two models of the numbers."""
        return (self.linear(numbers) + self.trees(numbers)) / 2

    def weights(self) -> dict[str, float]:
        """Weight of each input, in log-odds for one standard deviation of it; the trees count as one input."""
        half, student = self.stack.evidence / 2, {"student": self.stack.student * self.stack.student_scale}
        if not half:
            return student
        linear = {name: half * weight for name, weight in zip(self.linear.names, self.linear.weights, strict=True)}
        return linear | {"boosted trees (all inputs)": half * self.stack.trees_scale} | student

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self) | {"weights": self.weights()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        linear, trees = value["linear"], value["trees"]
        if unknown := {*linear["names"], *trees["names"]} - {*NUMBERS}:
            raise ValueError(f"it reads {', '.join(sorted(unknown))}")
        listed = {name: tuple(linear[name]) for name in ("names", "mean", "scale", "weights")}
        return cls(
            Linear(**listed, intercept=linear["intercept"]),
            Trees(tuple(trees["names"]), trees["prior"], trees["rate"], tuple(tuple(tree) for tree in trees["trees"])),
            Stack(**value["stack"]),
            value["threshold"],
        )


def with_latent(counted: pl.DataFrame, timeline: Timeline, windows: pl.DataFrame) -> pl.DataFrame:
    """All that the decision reads of these windows: the numbers of the evidence, and `LATENT`."""
    return counted.with_columns(pl.Series(LATENT, latent.of_windows(timeline, windows)))


def fit(numbers: pl.DataFrame, labels: Bools, role: pl.Series, student: Floats, seed: int) -> tuple[Fused, Floats]:
    """Fit on train and valid.

    Args:
        numbers: (N rows) of every role.
        labels: (N,); those of test are not read.
        role: (N,) train, valid or test.
        student: (N,) P(Yes), nan = invalid; those of train are not read.
        seed: of the boosting's row samples.

    Returns:
        The model for new queries, and the (V,) probabilities of valid's rows under the model fitted on train alone.
    """
    return learn(numbers, labels, role, seed).with_student(student)


@dataclass(frozen=True)
class Learned:
    """The two models of the numbers, before a student is added."""

    linear: Linear
    trees: Trees
    valid: Bools
    """(N,) the V rows that the coefficients are fitted on."""
    labels: Bools
    """(V,) of those rows."""
    evidence: Floats
    """(V,) their log-odds, by models fitted on train alone, or on valid too where train has one label only."""
    trees_scale: float

    def with_student(self, student: Floats) -> tuple[Fused, Floats]:
        """As `fit`. A `student` (N,) that is nan everywhere gives the decision without one."""
        return self._stacked(Stack.fit(self.evidence, student[self.valid], self.labels), student)

    def student_alone(self, student: Floats) -> tuple[Fused, Floats]:
        """As `with_student`, but the (N,) answers of the student stand as they are, and the evidence is not weighed."""
        return self._stacked(Stack.alone(student[self.valid]), student)

    def _stacked(self, stack: Stack, student: Floats) -> tuple[Fused, Floats]:
        stack = replace(stack, trees_scale=self.trees_scale)
        return Fused(self.linear, self.trees, stack), stack(self.evidence, student[self.valid])


def learn(numbers: pl.DataFrame, labels: Bools, role: pl.Series, seed: int) -> Learned:
    """Fit the models of the numbers; arguments as those of `fit`."""
    names = inputs(numbers, NUMBERS)
    train, valid = (role == "train").to_numpy(), (role == "valid").to_numpy()
    both = train | valid
    if np.unique(labels[train]).size < 2:  # of one label alone nothing but a prior could be learned, and no good one
        train = both
    if not valid.any():
        valid = both
    seen = numbers.filter(pl.Series(train))
    linear, trees = Linear.fit(seen, labels[train], names, SIGNS), Trees.fit(seen, labels[train], names, seed)
    held = numbers.filter(pl.Series(valid))
    by_trees = trees(held)
    evidence = (linear(held) + by_trees) / 2
    known = numbers.filter(pl.Series(both))
    linear, trees = Linear.fit(known, labels[both], names, SIGNS), Trees.fit(known, labels[both], names, seed)
    return Learned(linear, trees, valid, labels[valid], evidence, float(by_trees.std()))


def settings() -> dict[str, Json]:
    """All that a fitted decision depends on beside the data, so that a run knows when it is out of date."""
    stack: list[Json] = [STACK_PENALTY, INTERCEPT_PENALTY, LEAST_SCALE]
    own: dict[str, Json] = {"inputs": list(NUMBERS), "signs": list(SIGNS.values()), "stack": stack}
    return {**regression.settings(), **own, "latent": latent.settings()}


def log_odds(p: Floats) -> Floats:
    """ln(p / (1 - p)), p kept 1e-6 away from 0 and 1; nan stays nan."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))
