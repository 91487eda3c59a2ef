"""Runs side by side: seeds pooled, differences paired, and what does not fit together refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from reasoningrec.errors import RunError
from reasoningrec.evaluation import decisions
from reasoningrec.evaluation.compare import Comparison, Entrant, Line, compare
from reasoningrec.evaluation.compare_page import render_html, render_markdown
from reasoningrec.evaluation.evaluate import EvaluateInputs, evaluate

USERS = 300


def entrant(inputs: EvaluateInputs, run: str, *, seed: int = 0, noise: float = 0.0, variant: str = "v") -> Entrant:
    """The made run of `conftest` under a name, its student blurred by `noise`."""
    found = dataclasses.replace(evaluate(inputs), seed=seed)
    ids, labels = decisions.by_query(inputs.test.labels)
    by_id = {row.query_id: row for row in inputs.test.predictions["last"]}
    sequences = inputs.sequences
    names = {tuple(row): n for n, row in enumerate(sequences.values())}
    answers = {method: decisions.align(rows, ids) for method, rows in inputs.test.predictions.items()}
    rng = np.random.default_rng(seed)
    answers["student"] = np.clip(answers["student"] + noise * rng.normal(size=len(ids)), 0, 1)
    return Entrant(
        run=run,
        variant=variant,
        evaluation=found,
        ids=tuple(ids),
        asked=tuple((by_id[id].user, by_id[id].item) for id in ids),
        labels=labels,
        cluster=np.array([names[tuple(sequences[by_id[id].user])] for id in ids]),
        answers=answers,
    )


def put(*runs: Entrant) -> Comparison:
    return compare(runs, resamples=200, level=0.95)


def line(found: Comparison, system: str, method: str, subset: str = "distinct") -> Line:
    return next(x for x in found.lines if (x.system, x.method, x.subset) == (system, method, subset))


def test_one_run_has_the_figures_of_its_own_evaluation(inputs: EvaluateInputs) -> None:
    run = entrant(inputs, "one", seed=inputs.seed)
    found = compare([run], resamples=200, level=0.95, seed=inputs.seed)
    for reading in run.evaluation.readings:
        for result in reading.methods:
            shown = line(found, "one", result.method, reading.subset)
            assert shown.auc == pytest.approx(result.measures.auc)
            assert (shown.low, shown.high) == pytest.approx((result.auc_low, result.auc_high))
            assert shown.invalid == pytest.approx(result.measures.invalid / reading.n)
            if result.diff is not None:
                shown_diff = (shown.to_baseline.value, shown.to_baseline.low, shown.to_baseline.high)
                assert shown_diff == pytest.approx((result.diff, result.diff_low, result.diff_high))


def test_seeds_are_one_system_with_mean_and_spread(inputs: EvaluateInputs) -> None:
    runs = [entrant(inputs, f"s{seed}", seed=seed, noise=0.3) for seed in range(3)]
    found = put(*runs)
    assert found.systems == ("s0 (+2 seeds)",)
    shown = line(found, "s0 (+2 seeds)", "student", "all")
    areas = [decisions.auc(run.labels, decisions.filled(run.answers["student"])) for run in runs]
    assert shown.seeds == 3
    assert shown.auc == pytest.approx(np.mean(areas))
    assert shown.spread == pytest.approx(np.std(areas, ddof=1))
    assert line(found, "s0 (+2 seeds)", "last", "all").spread == 0
    assert any("seed 2 in s2" in note for note in found.notes)


def test_the_baseline_of_seeds_is_chosen_by_their_mean_on_valid(inputs: EvaluateInputs) -> None:
    runs = [entrant(inputs, f"s{seed}", seed=seed) for seed in range(2)]
    chosen = []
    for best in ((0.9, 0.6), (0.1, 0.6)):  # of the first seed, of both
        given = [with_valid(run, {"last": value}) for run, value in zip(runs, best, strict=True)]
        lines = [line(put(*order), f"{order[0].run} (+1 seeds)", "last") for order in (given, given[::-1])]
        chosen.append([one.to_baseline.reason == "is the baseline" for one in lines])
    assert chosen == [[True, True], [False, False]]


def with_valid(run: Entrant, valid: dict[str, float]) -> Entrant:
    """The run, as if its baselines had those AUCs on valid, and 0.5 where none is said."""
    readings = []
    for reading in run.evaluation.readings:
        given = [dataclasses.replace(one, valid_auc=valid.get(one.method, 0.5)) for one in reading.methods]
        readings.append(dataclasses.replace(reading, methods=tuple(given)))
    return dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, readings=tuple(readings)))


def test_differences_to_the_first_run_are_paired(inputs: EvaluateInputs) -> None:
    better, worse = entrant(inputs, "a", variant="a"), entrant(inputs, "b", variant="b", noise=0.6)
    found = put(better, worse)
    assert line(found, "a", "student").to_first.reason == "is the first"
    gap = line(found, "b", "student").to_first
    shown = [line(found, run, "student").auc for run in "ab"]
    assert None not in shown
    assert gap.value == pytest.approx(shown[1] - shown[0])
    assert gap.high is not None
    assert gap.high < 0
    same = line(found, "b", "logistic").to_first
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_other_questions_are_no_pair(inputs: EvaluateInputs) -> None:
    one, two = entrant(inputs, "a", variant="a"), entrant(inputs, "b", variant="b")
    two = dataclasses.replace(
        two,
        ids=two.ids[1:],
        asked=two.asked[1:],
        labels=two.labels[1:],
        cluster=two.cluster[1:],
        answers={method: row[1:] for method, row in two.answers.items()},
    )
    assert line(put(one, two), "b", "student").to_first.reason == "other test questions"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: dataclasses.replace(run, labels=~run.labels), "query test-000 has different answers"),
        (
            lambda run: dataclasses.replace(
                run, evaluation=dataclasses.replace(run.evaluation, like_rule="rating > 4")
            ),
            "a like is “rating > 4”",
        ),
    ],
)
def test_mismatched_data_are_refused(inputs: EvaluateInputs, change: object, says: str) -> None:
    one, two = entrant(inputs, "a", variant="a"), entrant(inputs, "b", variant="b")
    with pytest.raises(RunError, match=says):
        put(one, change(two))


def test_seeds_of_other_data_are_refused_whatever_stands_before_them(inputs: EvaluateInputs) -> None:
    first, one, two = entrant(inputs, "a", variant="a"), entrant(inputs, "b"), entrant(inputs, "c", seed=1)
    assert put(first, one, two).systems == ("a", "b (+1 seeds)")
    other = dataclasses.replace(two, asked=tuple((user, f"{item} II") for user, item in two.asked))
    with pytest.raises(RunError, match="c and b: the same configuration, but other test questions or answers"):
        put(first, one, other)


def test_one_seed_twice_is_refused(inputs: EvaluateInputs) -> None:
    with pytest.raises(RunError, match="the same configuration and seed twice"):
        put(entrant(inputs, "a"), entrant(inputs, "b"))


def test_what_not_every_seed_has_is_left_out_and_told(inputs: EvaluateInputs) -> None:
    one, two = entrant(inputs, "a", seed=0), entrant(inputs, "b", seed=1)
    two = dataclasses.replace(two, answers={name: row for name, row in two.answers.items() if name != "last"})
    found = put(one, two)
    assert "last" not in {x.method for x in found.lines}
    assert any("left out: last" in note for note in found.notes)


def test_pages_are_self_contained_and_escape_what_comes_from_data(inputs: EvaluateInputs) -> None:
    found = put(entrant(inputs, "<b>a|b</b>"))
    page, text = render_html(found), render_markdown(found)
    assert "&lt;b&gt;a|b" in page
    assert "<b>a" not in page
    assert page.count("<svg") == 1
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "&lt;b&gt;a\\|b" in text
    assert render_html(found) == page
