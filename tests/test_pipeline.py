"""The line from start to report on a small made shop: what it leaves, and that its parts agree with each other."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reasoningrec.config import ReasonConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.llm.stance import stance
from reasoningrec.pipeline.line import NAMES, STAGES
from reasoningrec.pipeline.predictions import FILES
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.records import Explanation, Prediction
from reasoningrec.rows import read_json, read_jsonl, read_records
from reasoningrec.runs import Run
from reasoningrec.teacher.verify import verify

ARTIFACTS = {
    "data": {
        f"data/{name}.parquet" for name in Corpus.__dataclass_fields__ if name not in ("name", "bad_rows", "notes")
    },
    "split": {"split.parquet"},
    "evidence": {"evidence.parquet", "evidence.past.parquet"},
    "describe": {"describe.jsonl"},
    "profile": {"profile.jsonl"},
    "reason": {"reason.jsonl"},
    "verify": {"verify.jsonl"},
    "train": {"train/model.safetensors", "train/card.json", "train/tokenizer.json", "train/train_log.jsonl"},
    "score": {"score.jsonl"},
    "predict": {"predict/predictions.jsonl", "predict/explanations.jsonl", "predict/fuse.json", "predict/latent.npz"},
    "baselines": {"baselines.jsonl"},
    "evaluate": {"evaluate.json"},
    "report": {"report.md", "report.html"},
}


@pytest.fixture(scope="module")
def run(small_run: Path) -> Run:
    return Run.read(small_run)


@pytest.fixture(scope="module")
def space(run: Run) -> Workspace:
    return Workspace(run.folder, config_of(run))


@pytest.fixture(scope="module")
def texts(small_run: Path) -> list[Explanation]:
    return read_records(Explanation, small_run / "predict" / "explanations.jsonl")


def test_every_stage_is_done_and_leaves_its_artifacts(run: Run) -> None:
    assert tuple(run.stages) == tuple(sorted(NAMES))
    for name, record in run.stages.items():
        assert record.status == "done", name
        assert set(record.artifacts) >= ARTIFACTS[name]


def test_nothing_but_artifacts_is_left_in_the_folder(run: Run) -> None:
    files = {str(file.relative_to(run.folder)) for file in run.folder.rglob("*") if file.is_file()}
    listed = {file for record in run.stages.values() for file in record.artifacts}
    assert files - listed == {"manifest.json", "times.json", "looks.jsonl", ".lock"}


def test_the_manifest_holds_the_digests_of_the_artifacts(run: Run) -> None:
    for record in run.stages.values():
        for file, digest in record.artifacts.items():
            assert hashlib.sha256((run.folder / file).read_bytes()).hexdigest() == digest


def test_a_stage_depends_on_the_stages_it_reads(run: Run) -> None:
    for stage in STAGES:
        for name in stage.reads:
            assert run.stages[stage.name].fields[f"stage {name}"] == run.stages[name].outcome
            assert NAMES.index(name) < NAMES.index(stage.name)


def test_counts_are_those_of_the_rows(run: Run, space: Workspace) -> None:
    counts = {name: record.counts for name, record in run.stages.items()}
    assert counts["data"]["interactions"] == space.corpus.interactions.height
    assert counts["data"]["users"] == 60
    roles = Counter(space.windows["role"])
    assert {role: counts["split"][role] for role in ("train", "valid", "test")} == roles
    assert counts["evidence"]["windows"] == space.windows.height == space.numbers.height
    for name in ("describe", "profile", "reason"):
        assert counts[name]["texts"] == len(read_jsonl(run.folder / f"{name}.jsonl")) == counts[name]["done"]
    verdicts = read_jsonl(run.folder / "verify.jsonl")
    assert counts["verify"]["kept"] == sum(not row["failures"] for row in verdicts)
    assert counts["train"]["rows"] == roles["train"]
    assert counts["score"]["scored"] == roles["valid"] + roles["test"]
    assert counts["evaluate"]["queries"] == roles["test"]


def test_the_decision_learns_from_earlier_rows_that_are_no_windows(run: Run, space: Workspace) -> None:
    numbers, labels, role = space.learning
    windows, past = space.windows.height, run.stages["evidence"].counts["past_rows"]
    assert past > windows
    assert numbers.height == labels.size == len(role) == windows + past
    assert numbers[:windows].equals(space.numbers)
    assert set(role[windows:]) == {"train"}
    rows = space.timeline.user.size - len(space.timeline.users)  # the first of each user has nothing before it
    assert windows + past == rows


def test_the_decision_reads_one_fitted_number_beside_them(run: Run, space: Workspace) -> None:
    numbers, labels, role = space.deciding
    counted, same_labels, same_role = space.learning
    assert numbers.drop("latent").equals(counted)
    assert (labels == same_labels).all()
    assert role.equals(same_role)
    fused = read_json(run.folder / "predict" / "fuse.json")
    assert "latent" in fused["linear"]["names"]
    assert fused["weights"]["latent"] != 0


def test_the_decision_without_the_student_is_another(run: Run) -> None:
    found = read_records(Prediction, run.folder / "predict" / "predictions.jsonl")
    answers = {name: [p.probability for p in found if p.method == name] for name in ("reasoningrec", "no-student")}
    assert len(answers["reasoningrec"]) == len(answers["no-student"])
    same = answers["reasoningrec"] == pytest.approx(answers["no-student"], abs=1e-4)
    assert same == (read_json(run.folder / "predict" / "fuse.json")["stack"]["student"] == 0)


def test_every_query_of_valid_and_test_has_one_answer_of_every_method(run: Run, space: Workspace) -> None:
    found = [prediction for file in FILES.values() for prediction in read_records(Prediction, run.folder / file)]
    methods = {prediction.method for prediction in found}
    assert {"reasoningrec", "student", "no-student", "user-share", "item-share", "last"} <= methods
    answered = Counter((prediction.query_id, prediction.method) for prediction in found)
    assert set(answered) == {(id, method) for id in space.ids("valid", "test") for method in methods}
    assert set(answered.values()) == {1}
    assert all(p.probability is None or 0 <= p.probability <= 1 for p in found)
    assert all(p.probability is not None for p in found if p.method == "reasoningrec")


def test_predictions_hold_no_label(run: Run) -> None:
    for file in FILES.values():
        assert {frozenset(row) for row in read_jsonl(run.folder / file)} == {
            frozenset({"query_id", "user", "item", "method", "probability"})
        }


def test_explanations_agree_with_the_decision_and_cite_what_is_there(
    run: Run, space: Workspace, texts: list[Explanation]
) -> None:
    threshold = read_json(run.folder / "predict" / "fuse.json")["threshold"]
    answers = read_records(Prediction, run.folder / "predict" / "predictions.jsonl")
    fused = {p.query_id: p.probability for p in answers if p.method == "reasoningrec"}
    shown = {case.query.id: case.evidence for case in space.cases(text.query_id for text in texts)}
    assert [text.query_id for text in texts] == space.ids("test")[:24]
    for text in texts:
        probability = fused[text.query_id]
        assert probability is not None
        assert text.decision is (probability >= threshold)
        assert stance(text.why) is text.decision
        ids = shown[text.query_id].by_id()
        cited = re.findall(r"\[([A-Z]\d*)\]", text.why)
        assert 1 <= len(set(cited)) <= 3
        assert set(cited) == set(text.citations) <= set(ids)
        assert verify(text, text.decision, shown[text.query_id], ReasonConfig()).kept


def test_the_explanations_name_their_writer_and_the_manifest_counts_them(run: Run, texts: list[Explanation]) -> None:
    origins = Counter(text.origin for text in texts)
    assert set(origins) <= {"student", "offline"}
    assert run.stages["predict"].counts["explained"] == len(texts)
    assert run.stages["predict"].counts["explained_by_student"] == origins["student"]


def test_rationales_that_failed_a_gate_are_not_trained_on(run: Run) -> None:
    kept = run.stages["verify"].counts["kept"]
    card = read_json(run.folder / "train" / "card.json")
    assert 0 < card["metrics"]["texts"] <= kept


def test_the_evaluation_has_every_method_and_finite_intervals(run: Run, space: Workspace) -> None:
    found = read_json(run.folder / "evaluate.json")
    assert {reading["subset"] for reading in found["readings"]} == {"all", "distinct"}
    for reading in found["readings"]:
        assert reading["n"] <= len(space.ids("test"))
        for method in reading["methods"]:
            low, auc, high = method["auc_low"], method["measures"]["auc"], method["auc_high"]
            assert 0 <= low <= auc <= high <= 1, method["method"]
    checks = {check["measure"]: check["value"] for check in found["checks"]}
    rates = [value for name, value in checks.items() if "citation" in name or "stance" in name]
    assert rates
    assert all(math.isfinite(value) for value in checks.values() if value is not None)


def test_the_page_is_self_contained(run: Run) -> None:
    page = (run.folder / "report.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    assert "data:image" in page or "<svg" in page
    assert "reasoningrec" in (run.folder / "report.md").read_text("utf-8")


def test_no_artifact_names_a_place_on_this_machine(run: Run) -> None:
    places = (str(run.folder), str(Path.home()))
    for file in run.folder.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".md", ".html"):
            text = file.read_text("utf-8")
            assert not [place for place in places if place in text and len(place) > 5], file


def test_windows_never_know_their_own_row_or_later_ones(space: Workspace) -> None:
    line = space.timeline
    assert (space.windows["past"].to_numpy() <= line.position[space.windows["at"].to_numpy()]).all()
    for example in space.examples:
        assert example.query.time is not None
        assert all(r.time is not None and r.time <= example.query.time for r in example.query.history)


def test_the_configuration_in_the_manifest_is_that_of_the_run(run: Run, space: Workspace) -> None:
    stored: dict[str, Any] = json.loads(json.dumps(run.config))
    assert stored == space.config.model_dump(mode="json")


def test_frames_read_back_as_they_were_written(run: Run) -> None:
    frame = pl.read_parquet(run.folder / "split.parquet")
    assert frame["id"].is_sorted()
    assert frame["id"].n_unique() == frame.height
