"""Stage score: the student is asked once, whatever is decided of its answers, and again where they would differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reasoningrec.config import read
from reasoningrec.evaluation.evaluate import STUDENT
from reasoningrec.pipeline import score
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.ranking import fuse
from reasoningrec.records import Prediction
from reasoningrec.rows import Json, read_json, read_records, write_json
from running import SMALL, Cli


def test_another_decision_asks_the_student_nothing(
    small_run: Path, small_config: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    kept = (folder / score.FILE).read_bytes()

    def asked(*_: object) -> None:
        raise AssertionError("the student was asked again")

    settings = fuse.settings()
    monkeypatch.setattr(fuse, "settings", lambda: {**settings, "rule": "another"})
    monkeypatch.setattr(score, "answer", asked)
    answer = cli("run", "--run", folder, small_config)
    assert answer.code == 0, answer.err
    assert "predict: done again, because of a change in decision\n" in answer.err
    assert (folder / score.FILE).read_bytes() == kept


def test_a_decision_that_the_rules_explain_opens_no_student(
    small_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "rules.toml").write_text(SMALL.replace("[predict]", '[predict]\nmode = "predict-only"'), "utf-8")

    def opened(*_: object) -> None:
        raise AssertionError("the student was opened")

    monkeypatch.setattr("reasoningrec.pipeline.served.student_of", opened)
    answer = cli("run", "--run", folder, tmp_path / "rules.toml")
    assert answer.code == 0, answer.err
    assert "predict: done again, because of a change in mode\n" in answer.err


def test_a_run_from_before_there_was_such_a_stage_is_out_of_date(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    manifest = read_json(folder / "manifest.json")
    del manifest["stages"]["score"]
    write_json(folder / "manifest.json", manifest)
    states = {line.split()[0]: line for line in cli("status", "--run", folder).out.splitlines() if line.strip()}
    assert "out of date" in states["predict"]
    assert "out of date" in states["evaluate"]
    assert "out of date" not in states["baselines"]
    answer = cli("recommend", "--run", folder, "--user", "u1")
    assert answer.code == 2
    assert "stage score is pending, not done" in answer.err


def test_the_answers_are_those_of_the_predictions(small_run: Path) -> None:
    found = read_records(Prediction, small_run / "predict" / "predictions.jsonl")
    student = {row.query_id: row.probability for row in found if row.method == STUDENT}
    assert {id: row["p"] for id, row in score.answers(small_run).items()} == student


@pytest.mark.parametrize(
    ("mode", "setting", "asks_again"),
    [
        ("predict-first", "temperature = 0.1", False),
        ("predict-first", "max_new_tokens = 32", False),
        ("predict-first", "tries = 2", False),
        ("predict-only", "temperature = 0.1", False),
        ("reason-first", "temperature = 0.1", False),
        ("reason-first", "max_new_tokens = 32", True),
        ("reason-first", "tries = 2", False),
    ],
)
def test_how_it_writes_matters_where_it_reasons_first(
    tmp_path: Path, mode: str, setting: str, asks_again: bool
) -> None:
    def fields(more: str) -> dict[str, Json]:
        order = {"reason-first": "reason-first", "predict-only": "decision-only"}.get(mode, "label-first")
        text = SMALL.replace("max_new_tokens = 64", f'mode = "{mode}"\n{more}')
        (tmp_path / "a.toml").write_text(text.replace("[train]", f'[train]\nbase = "base"\norder = "{order}"'), "utf-8")
        return score.score_fields(Workspace(tmp_path, read(tmp_path / "a.toml")))

    assert (fields(setting) != fields("")) == asks_again


def test_one_that_only_decides_answers_like_one_that_writes_after(tmp_path: Path) -> None:
    found = []
    for mode in ("predict-first", "predict-only"):
        (tmp_path / "a.toml").write_text(SMALL.replace("[predict]", f'[predict]\nmode = "{mode}"'), "utf-8")
        found.append(score.score_fields(Workspace(tmp_path, read(tmp_path / "a.toml"))))
    assert found[0] == found[1]
