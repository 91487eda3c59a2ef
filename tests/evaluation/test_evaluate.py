from __future__ import annotations

import dataclasses
import json

import pytest

from reasoningrec.errors import RunError
from reasoningrec.evaluation.evaluate import Answers, EvaluateInputs, Evaluation, evaluate
from reasoningrec.evaluation.explanations import TrueReasons
from reasoningrec.evaluation.results import Provenance, decision_rows, explanation_rows
from reasoningrec.rows import from_row, to_row

PLACE = Provenance("abc1234", "2026-01-31", "2 cores")


@pytest.fixture(scope="module")
def evaluation(inputs: EvaluateInputs) -> Evaluation:
    return evaluate(inputs)


def test_readings_of_strict_put_distinct_first(inputs: EvaluateInputs, evaluation: Evaluation) -> None:
    assert [reading.subset for reading in evaluation.readings] == ["distinct", "all"]
    honest = evaluate(dataclasses.replace(inputs, protocol="honest"))
    assert [reading.subset for reading in honest.readings] == ["all", "distinct"]
    assert honest.headline == "all"


def test_distinct_leaves_one_user_per_set_of_twins(evaluation: Evaluation) -> None:
    every, distinct = evaluation.reading("all"), evaluation.reading("distinct")
    assert (every.users, every.clusters, every.n) == (300, 270, 300)
    assert (distinct.users, distinct.clusters, distinct.n) == (270, 270, 270)


def test_twins_are_sought_among_those_asked_about(inputs: EvaluateInputs) -> None:
    # u000 and u001 are twins; once u000 is not asked about, u001 stands for the pair.
    labels = {query: label for query, label in inputs.test.labels.items() if query != "test-000"}
    predictions = {
        method: [row for row in rows if row.query_id != "test-000"] for method, rows in inputs.test.predictions.items()
    }
    found = evaluate(dataclasses.replace(inputs, test=Answers(labels, predictions)))
    assert found.reading("distinct").n == 270


def test_baseline_and_thresholds_come_from_valid_alone(inputs: EvaluateInputs, evaluation: Evaluation) -> None:
    flipped = Answers({query: not label for query, label in inputs.test.labels.items()}, inputs.test.predictions)
    other = evaluate(dataclasses.replace(inputs, test=flipped))
    for before, after in zip(evaluation.readings, other.readings, strict=True):
        assert after.baseline == before.baseline
        assert [row.threshold for row in after.methods] == [row.threshold for row in before.methods]
        assert [row.measures.auc for row in after.methods] != [row.measures.auc for row in before.methods]
    reading = evaluation.readings[0]
    best = max((row for row in reading.methods if row.kind == "baseline"), key=lambda row: row.valid_auc or 0)
    assert reading.baseline == best.method


def test_differences_are_paired_with_the_baseline(evaluation: Evaluation) -> None:
    for reading in evaluation.readings:
        area = {row.method: row.measures.auc or 0 for row in reading.methods}
        for row in reading.methods:
            if row.method == reading.baseline:
                assert (row.versus, row.diff, row.diff_low) == (None, None, None)
                continue
            assert row.versus == reading.baseline
            assert row.diff == pytest.approx(area[row.method] - area[reading.baseline or ""])
            assert (row.diff_low or 0) < (row.diff or 0) < (row.diff_high or 0)
            assert (row.auc_low or 0) < area[row.method] < (row.auc_high or 0)


def test_methods_stand_in_table_order_and_invalid_answers_are_counted(evaluation: Evaluation) -> None:
    reading = evaluation.reading("all")
    assert [row.method for row in reading.methods] == [
        "reasoningrec", "student", "user-share", "item-share", "user-item-share", "last", "logistic",
    ]  # fmt: skip
    assert {row.method: row.measures.invalid for row in reading.methods if row.measures.invalid} == {"student": 3}


def test_evaluation_survives_json(evaluation: Evaluation) -> None:
    text = json.dumps(to_row(evaluation), allow_nan=False)
    assert from_row(Evaluation, json.loads(text)) == evaluation


def test_the_same_inputs_give_the_same_evaluation(inputs: EvaluateInputs, evaluation: Evaluation) -> None:
    assert evaluate(inputs) == evaluation
    reversed_test = Answers(
        dict(reversed(inputs.test.labels.items())),
        {method: tuple(reversed(rows)) for method, rows in reversed(inputs.test.predictions.items())},
    )
    assert evaluate(dataclasses.replace(inputs, test=reversed_test)) == evaluation


def test_a_method_that_skips_a_query_has_an_invalid_answer_there(inputs: EvaluateInputs) -> None:
    predictions = {**inputs.test.predictions, "student": inputs.test.predictions["student"][1:]}
    found = evaluate(dataclasses.replace(inputs, test=Answers(inputs.test.labels, predictions)))
    student = found.reading("all").methods[1]
    assert (student.measures.invalid, student.measures.n) == (4, 300)


def test_what_cannot_be_evaluated_is_refused(inputs: EvaluateInputs) -> None:
    labels, predictions = dict(inputs.test.labels), inputs.test.predictions
    for bad, said in (
        (Answers({}, {}), "no test query"),
        (
            Answers({query: True for query in labels if query != "test-000"}, predictions),
            "test-000, which has no label",
        ),
        (Answers({**labels, "more": True}, predictions), "more"),
    ):
        with pytest.raises(RunError, match=said):
            evaluate(dataclasses.replace(inputs, test=bad))
    with pytest.raises(RunError, match="u000"):
        evaluate(dataclasses.replace(inputs, sequences={u: s for u, s in inputs.sequences.items() if u != "u000"}))


def test_without_valid_nothing_is_chosen(inputs: EvaluateInputs) -> None:
    found = evaluate(dataclasses.replace(inputs, valid=Answers({}, {})))
    assert {reading.baseline for reading in found.readings} == {None}
    assert {row.threshold for reading in found.readings for row in reading.methods} == {0.5}


def test_thresholds_handed_in_are_kept(inputs: EvaluateInputs, evaluation: Evaluation) -> None:
    found = evaluate(dataclasses.replace(inputs, thresholds={"reasoningrec": 0.123}))
    before = {row.method: row.threshold for row in evaluation.readings[0].methods}
    after = {row.method: row.threshold for row in found.readings[0].methods}
    assert after == {**before, "reasoningrec": 0.123}


def test_an_ablation_is_never_the_baseline(inputs: EvaluateInputs) -> None:
    def with_ablation(answers: Answers) -> Answers:
        return Answers(answers.labels, {**answers.predictions, "no-student": answers.predictions["reasoningrec"]})

    found = evaluate(dataclasses.replace(inputs, test=with_ablation(inputs.test), valid=with_ablation(inputs.valid)))
    reading = found.readings[0]
    assert reading.baseline == evaluate(inputs).readings[0].baseline
    ablation = next(row for row in reading.methods if row.method == "no-student")
    assert ablation.kind == "ablation"
    assert (ablation.versus, ablation.diff, ablation.diff_low, ablation.diff_high) == ("reasoningrec", 0.0, 0.0, 0.0)


def test_an_ablation_without_the_whole_is_compared_with_the_baseline(inputs: EvaluateInputs) -> None:
    def without_the_whole(answers: Answers) -> Answers:
        kept = dict(answers.predictions)
        return Answers(answers.labels, {"no-student": kept.pop("reasoningrec"), **kept})

    test, valid = without_the_whole(inputs.test), without_the_whole(inputs.valid)
    reading = evaluate(dataclasses.replace(inputs, test=test, valid=valid)).readings[0]
    assert next(row for row in reading.methods if row.method == "no-student").versus == reading.baseline


def test_true_reasons_are_measured_only_where_known(inputs: EvaluateInputs, evaluation: Evaluation) -> None:
    assert "true_reason_first" not in {check.measure for check in evaluation.checks}
    truth = {row.query_id: TrueReasons(("x",), {"x": {row.citations[0]}}) for row in inputs.explanations}
    checks = {check.measure: check for check in evaluate(dataclasses.replace(inputs, truth=truth)).checks}
    assert checks["true_reason_first"].value == 1


def test_decision_rows_have_the_written_columns(evaluation: Evaluation) -> None:
    rows = decision_rows(evaluation, PLACE, shots=64)
    assert len(rows) == 14
    assert list(rows[0]) == [
        "dataset", "protocol", "method", "shots", "seed", "n", "positives", "auc", "auc_low", "auc_high",
        "valid_auc", "threshold", "balanced_accuracy", "f1", "log_loss", "brier", "ece", "ece_floor", "invalid",
        "subset",
        "delong_low", "delong_high", "diff_delong_low", "diff_delong_high", "within_auc", "within_low", "within_high",
        "within_diff", "within_diff_low", "within_diff_high",
        "legacy", "time", "versus",
        "diff", "diff_low", "diff_high", "commit", "date", "machine",
    ]  # fmt: skip
    by_method = {row["method"]: row for row in rows if row["subset"] == "distinct"}
    assert (by_method["reasoningrec"]["shots"], by_method["last"]["shots"]) == (64, None)
    assert (by_method["student"]["n"], by_method["student"]["commit"]) == (270, "abc1234")
    json.dumps(rows, allow_nan=False)


def test_explanation_rows(evaluation: Evaluation) -> None:
    rows = {row["measure"]: row for row in explanation_rows(evaluation, PLACE)}
    assert rows["citations_exist"]["value"] == 1
    assert rows["stance_agreement"]["n"] == 60
    assert {"dataset", "method", "measure", "value", "n", "commit", "date", "machine"} <= set(rows["cited"])
