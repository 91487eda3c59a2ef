"""Everything measured on one run, as one value that is stored in `evaluate.json` and read by the report.

What is chosen is chosen on valid: each method's decision threshold (highest balanced accuracy) and, per reading, the
plain baseline that the others are compared with (highest AUC among the reading's users).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reasoningrec.config import EvaluateConfig, Protocol
from reasoningrec.errors import RunError
from reasoningrec.evaluation import decisions, delong, uncertainty, within
from reasoningrec.evaluation.decisions import Bin, Bools, Floats, Measures
from reasoningrec.evaluation.explanations import (
    Check,
    TrueReasons,
    check_explanations,
    count_frames,
    true_reason_hits,
)
from reasoningrec.evaluation.teacher import TeacherAccount
from reasoningrec.records import Evidence, Explanation, Prediction

FUSED = "reasoningrec"
STUDENT = "student"
ORDER = (
    FUSED, STUDENT, "no-student", "user-share", "item-share", "user-item-share", "last", "popularity", "logistic",
    "boosting", "als", "mf", "sasrec", "caser", "gru4rec", "din", "zero-shot", "zero-shot-description",
    "zero-shot-profile", "zero-shot-both",
)  # fmt: skip
"""Order of the methods in tables; others follow by name."""
ABLATION = "no-"
"""A method whose name starts so is ours with a part taken out: compared with the whole, and no plain baseline."""
NO_STUDENT = "no-student"
"""The fused decision of all but the student."""

LEGACY = 0.5
"""From which probability on the paper's hard answer is Yes: the likelier of the two words."""

Subset = Literal["all", "distinct"]
Time = Literal["known", "unknown"]
Kind = Literal["fused", "student", "ablation", "baseline"]


@dataclass(frozen=True)
class Answers:
    """Labels of one role's queries and every method's predictions on them."""

    labels: Mapping[str, bool]
    """By query id: the queries that count. A method without a prediction for one of them answers it invalidly."""
    predictions: Mapping[str, Sequence[Prediction]]
    """By method. Predictions for other queries are an error."""


@dataclass(frozen=True)
class EvaluateInputs:
    """All that `evaluate` needs."""

    dataset: str
    protocol: Protocol
    like_rule: str
    """In words: "rating > 3"."""
    time: Time
    test: Answers
    valid: Answers
    sequences: Mapping[str, Sequence[str]]
    """Items of each user in order; users with the same sequence are twins."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By method: decision thresholds that were already chosen on valid; the other methods' are chosen here."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each input of the fused model, in log-odds for one standard deviation."""
    explanations: Sequence[Explanation] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """By query id, at least of the explained queries."""
    names: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By query id: titles and brands that sentence frames leave out."""
    truth: Mapping[str, TrueReasons] = field(default_factory=dict)
    """By query id: known reasons of liked items (demo only)."""
    teacher: TeacherAccount = field(default_factory=TeacherAccount)
    notes: tuple[str, ...] = ()
    settings: EvaluateConfig = field(default_factory=EvaluateConfig)
    seed: int = 0


@dataclass(frozen=True)
class Views:
    """Other ways to look at a method's decisions; None where undefined."""

    delong_low: float | None = None
    """DeLong's interval of the AUC; only where each cluster of twins has one query."""
    delong_high: float | None = None
    diff_delong_low: float | None = None
    """The same of the difference to `versus`."""
    diff_delong_high: float | None = None
    within_auc: float | None = None
    """AUC over pairs of one user's like and dislike."""
    within_low: float | None = None
    within_high: float | None = None
    within_diff: float | None = None
    """The same minus that of `versus`, paired."""
    within_diff_low: float | None = None
    within_diff_high: float | None = None
    legacy: float | None = None
    """What the paper's code prints as AUC: that of the hard answers, yes from 0.5 on. It is the balanced accuracy."""


@dataclass(frozen=True)
class MethodResult:
    """One method in one reading. Differences are this method's AUC minus that of `versus`, paired."""

    method: str
    kind: Kind
    threshold: float
    measures: Measures
    auc_low: float | None
    auc_high: float | None
    valid_auc: float | None
    versus: str | None = None
    """The baseline chosen on valid, and the fused decision for an ablation; None for that baseline itself, or where
    there is none."""
    diff: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    more: Views = field(default_factory=Views)


@dataclass(frozen=True)
class Reading:
    """One way to read the test users."""

    subset: Subset
    users: int
    clusters: int
    n: int
    positives: int
    baseline: str | None
    """The plain baseline of the highest valid AUC."""
    methods: tuple[MethodResult, ...]
    within_users: int = 0
    """Users with a like and a dislike among their test targets."""


@dataclass(frozen=True)
class Curve:
    """What the pictures show of one method, in the headline reading."""

    method: str
    roc: tuple[tuple[float, float], ...]
    """(false positive rate, true positive rate)."""
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Evaluation:
    """The content of `evaluate.json`."""

    dataset: str
    protocol: Protocol
    like_rule: str
    time: Time
    seed: int
    level: float
    resamples: int
    bins: int
    headline: Subset
    """`distinct` under the protocol `strict`, else `all`."""
    readings: tuple[Reading, ...]
    """The headline first."""
    curves: tuple[Curve, ...]
    weights: Mapping[str, float]
    """In no order: `largest_first` gives them one."""
    checks: tuple[Check, ...]
    top_frame: str
    """The most frequent sentence frame of the explanations."""
    notes: tuple[str, ...]
    teacher: TeacherAccount = field(default_factory=TeacherAccount)

    @property
    def largest_first(self) -> list[tuple[str, float]]:
        """The weights by magnitude, then by name; a file of JSON keeps them in the order of their names."""
        return sorted(self.weights.items(), key=lambda pair: (-abs(pair[1]), pair[0]))

    def reading(self, subset: Subset) -> Reading:
        """The reading of that name."""
        return next(reading for reading in self.readings if reading.subset == subset)


@dataclass(frozen=True)
class _Side:
    """One role's answers as arrays, rows in order of query id."""

    users: list[str]
    labels: Bools
    probabilities: dict[str, Floats]
    cluster: NDArray[np.int64]

    def only(self, users: Collection[str]) -> _Side:
        keep = np.array([user in users for user in self.users], dtype=np.bool_)
        return _Side(
            [user for user in self.users if user in users],
            self.labels[keep],
            {method: row[keep] for method, row in self.probabilities.items()},
            self.cluster[keep],
        )


def headline_of(protocol: Protocol) -> Subset:
    """The reading that a protocol's figures are read in first."""
    return readings_of(protocol)[0]


def readings_of(protocol: Protocol) -> tuple[Subset, Subset]:
    """Both readings, the headline first."""
    return ("distinct", "all") if protocol == "strict" else ("all", "distinct")


def evaluate(inputs: EvaluateInputs) -> Evaluation:
    """Measure a run.

    Raises:
        RunError: no test labels, a prediction for an unlabelled query, two for one query, or a user without sequence.
    """
    cluster_of = uncertainty.clusters(inputs.sequences)
    test = _side(inputs.test, cluster_of)
    valid = _side(inputs.valid, cluster_of)
    if not len(test.labels):
        raise RunError(f"{inputs.dataset}: no test query to evaluate")
    # One user per cluster among those asked about: the cluster's first user overall may have no test query.
    chosen = uncertainty.distinct({user: cluster_of[user] for user in test.users})
    sides = {"all": (test, valid), "distinct": (test.only(chosen), valid.only(chosen))}
    subsets = readings_of(inputs.protocol)
    return Evaluation(
        dataset=inputs.dataset,
        protocol=inputs.protocol,
        like_rule=inputs.like_rule,
        time=inputs.time,
        seed=inputs.seed,
        level=inputs.settings.level,
        resamples=inputs.settings.resamples,
        bins=inputs.settings.bins,
        headline=subsets[0],
        readings=tuple(
            _reading(subset, *sides[subset], _thresholds(test, valid, inputs), inputs) for subset in subsets
        ),
        curves=_curves(sides[subsets[0]][0], inputs.settings.bins),
        weights=inputs.weights,
        checks=_checks(inputs),
        top_frame=count_frames(inputs.explanations, inputs.names).top,
        notes=inputs.notes,
        teacher=inputs.teacher,
    )


def _side(answers: Answers, cluster_of: Mapping[str, int]) -> _Side:
    ids, labels = decisions.by_query(answers.labels)
    user_of: dict[str, str] = {}
    for method, predictions in answers.predictions.items():
        for prediction in predictions:
            if prediction.query_id not in answers.labels:
                raise RunError(f"{method}: a prediction for query {prediction.query_id}, which has no label")
            user_of[prediction.query_id] = prediction.user
    try:
        users = [user_of[query_id] for query_id in ids]
        cluster = np.array([cluster_of[user] for user in users], dtype=np.int64)
    except KeyError as error:
        raise RunError(f"query without any prediction, or user without a sequence of items: {error}") from None
    probabilities = {
        method: decisions.align(answers.predictions[method], ids) for method in _ordered(answers.predictions)
    }
    return _Side(users, labels, probabilities, cluster)


def _ordered(methods: Collection[str]) -> list[str]:
    return sorted(methods, key=lambda method: (ORDER.index(method) if method in ORDER else len(ORDER), method))


def _kind(method: str) -> Kind:
    if method == FUSED:
        return "fused"
    if method == STUDENT:
        return "student"
    return "ablation" if method.startswith(ABLATION) else "baseline"


def _thresholds(test: _Side, valid: _Side, inputs: EvaluateInputs) -> dict[str, float]:
    chosen = {method: decisions.choose_threshold(valid.labels, row) for method, row in valid.probabilities.items()}
    return {method: inputs.thresholds.get(method, chosen.get(method, 0.5)) for method in test.probabilities}


def _reading(
    subset: Subset, test: _Side, valid: _Side, thresholds: Mapping[str, float], inputs: EvaluateInputs
) -> Reading:
    valid_auc = {
        method: decisions.auc(valid.labels, decisions.filled(row)) for method, row in valid.probabilities.items()
    }
    baseline = _best_baseline(valid_auc, test.probabilities)
    draws = _draws(test, inputs)
    results = []
    for method, row in test.probabilities.items():
        measures = decisions.measure(
            test.labels, row, threshold=thresholds[method], bins=inputs.settings.bins, seed=inputs.seed
        )
        low, high = uncertainty.percentile_interval(draws[method], inputs.settings.level) or (None, None)
        results.append(
            MethodResult(
                method=method,
                kind=_kind(method),
                threshold=thresholds[method],
                measures=measures,
                auc_low=low,
                auc_high=high,
                valid_auc=valid_auc.get(method),
            )
        )
    return Reading(
        subset=subset,
        users=len(set(test.users)),
        clusters=len(np.unique(test.cluster)),
        n=len(test.labels),
        positives=int(test.labels.sum()),
        baseline=baseline,
        methods=_with_views(
            [
                _against(result, _other(result, baseline, results), results, draws, inputs.settings.level)
                for result in results
            ],
            test,
            inputs,
        ),
        within_users=within.users_with_both(test.labels, _codes(test.users)),
    )


def _codes(users: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.array(users, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _with_views(results: Sequence[MethodResult], test: _Side, inputs: EvaluateInputs) -> tuple[MethodResult, ...]:
    """The results with the figures of `Views`."""
    level, draws = inputs.settings.level, (inputs.settings.resamples, inputs.seed)
    complete = {method: decisions.filled(row) for method, row in test.probabilities.items()}
    independent = len(np.unique(test.cluster)) == len(test.labels)
    found = delong.delong(test.labels, np.array(list(complete.values()))) if independent and complete else None
    place = {method: n for n, method in enumerate(complete)}
    users = _codes(test.users)
    inside = partial(within.within_users, test.labels, groups=(users, test.cluster), level=level, draws=draws)
    shown = []
    for result in results:
        row = complete[result.method]
        said_yes = np.where(np.isnan(test.probabilities[result.method]), ~test.labels, row >= LEGACY)
        views = Views(legacy=decisions.balanced_accuracy(test.labels, said_yes))
        if own := inside(row):
            views = replace(views, within_auc=own.auc, within_low=own.low, within_high=own.high)
        if result.versus and (gap := inside(row, minus=complete[result.versus])):
            views = replace(views, within_diff=gap.auc, within_diff_low=gap.low, within_diff_high=gap.high)
        if found:
            views = _by_delong(views, result, found, place, level)
        shown.append(replace(result, more=views))
    return tuple(shown)


def _by_delong(
    views: Views, result: MethodResult, found: tuple[Floats, Floats], place: Mapping[str, int], level: float
) -> Views:
    areas, covariance = found
    own = place[result.method]
    low, high = delong.area_interval(float(areas[own]), float(covariance[own, own]), level)
    views = replace(views, delong_low=low, delong_high=high)
    if result.versus is None:
        return views
    other = place[result.versus]
    variance = delong.variance_of_difference(covariance, own, other)
    low, high = delong.difference_interval(float(areas[own] - areas[other]), variance, level)
    return replace(views, diff_delong_low=low, diff_delong_high=high)


def _best_baseline(valid_auc: Mapping[str, float | None], tested: Collection[str]) -> str | None:
    """The baseline of the highest valid AUC, of those that were also tested; the first in table order among equals."""
    found = {
        method: value
        for method, value in valid_auc.items()
        if value is not None and method in tested and _kind(method) == "baseline"
    }
    return max(found, key=lambda method: found[method]) if found else None


def _draws(test: _Side, inputs: EvaluateInputs) -> dict[str, Floats]:
    scores = np.array([decisions.filled(row) for row in test.probabilities.values()]).reshape(-1, len(test.labels))
    draws = uncertainty.auc_draws(
        test.labels, scores, test.cluster, resamples=inputs.settings.resamples, seed=inputs.seed
    )
    return dict(zip(test.probabilities, draws, strict=True))


def _other(result: MethodResult, baseline: str | None, results: Sequence[MethodResult]) -> str | None:
    """What `result` is compared with: an ablation with the whole, where that was tested, others with the baseline."""
    whole = result.kind == "ablation" and any(other.method == FUSED for other in results)
    return FUSED if whole else baseline


def _against(
    result: MethodResult,
    baseline: str | None,
    results: Sequence[MethodResult],
    draws: Mapping[str, Floats],
    level: float,
) -> MethodResult:
    """`result` with its paired difference to `baseline`, another method, unless it is that one."""
    if baseline is None or baseline == result.method:
        return result
    other = next(other.measures.auc for other in results if other.method == baseline)
    own = result.measures.auc
    low, high = uncertainty.percentile_interval(draws[result.method] - draws[baseline], level) or (None, None)
    return replace(
        result,
        versus=baseline,
        diff=None if own is None or other is None else own - other,
        diff_low=low,
        diff_high=high,
    )


def _curves(test: _Side, bins: int) -> tuple[Curve, ...]:
    complete = {method: decisions.filled(row) for method, row in test.probabilities.items()}
    return tuple(
        Curve(method, decisions.roc(test.labels, row), decisions.reliability(test.labels, row, bins))
        for method, row in complete.items()
    )


def _checks(inputs: EvaluateInputs) -> tuple[Check, ...]:
    if not inputs.explanations:
        return ()
    found = check_explanations(inputs.explanations, inputs.evidence, inputs.names)
    return (*found, *true_reason_hits(inputs.explanations, inputs.truth)) if inputs.truth else found
