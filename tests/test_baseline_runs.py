"""Trained baselines in a run: named by the configuration, in every table, and no change to runs without them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import polars as pl

from reasoningrec.config import BaselinesConfig, read
from reasoningrec.evaluation.evaluate import Evaluation
from reasoningrec.pipeline.baselines import counted
from reasoningrec.pipeline.learn import predict_fields
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.records import Prediction
from reasoningrec.rows import from_row, read_json, read_records
from running import SMALL, Cli

MORE = '[baselines]\nmethods = ["mf", "gru4rec"]\nhidden = 8\nepochs = 2\nrefits = 2\n'


def test_named_methods_are_answered_measured_and_compared(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "more.toml").write_text(SMALL + MORE, "utf-8")
    answer = cli("run", "--run", folder, tmp_path / "more.toml")
    assert answer.code == 0, answer.err
    found = read_records(Prediction, folder / "predict" / "predictions.jsonl")
    answered = Counter(prediction.method for prediction in found)
    assert answered["mf"] == answered["gru4rec"] == answered["user-share"] > 0
    assert all(p.probability is not None and 0 < p.probability < 1 for p in found if p.method in ("mf", "gru4rec"))
    measured = from_row(Evaluation, read_json(folder / "evaluate.json"))
    for reading in measured.readings:
        by_method = {result.method: result for result in reading.methods}
        assert by_method["gru4rec"].kind == "baseline"
        best = max(
            (result for result in reading.methods if result.kind == "baseline" and result.valid_auc is not None),
            key=lambda result: result.valid_auc or 0.0,
        )
        assert by_method[reading.baseline or ""].valid_auc == best.valid_auc
    assert "gru4rec" in (folder / "report.md").read_text("utf-8")


def test_runs_without_them_stay_done(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL, "utf-8")
    config = read(tmp_path / "small.toml")
    assert config.baselines == BaselinesConfig()
    assert "baselines" not in predict_fields(Workspace(tmp_path, config))
    (tmp_path / "more.toml").write_text(SMALL + MORE, "utf-8")
    assert "baselines" in predict_fields(Workspace(tmp_path, read(tmp_path / "more.toml")))


def test_an_unknown_method_is_told(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "odd.toml").write_text(SMALL + '[baselines]\nmethods = ["bert4rec"]\n', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "odd.toml")
    assert answer.code == 2
    assert "baselines.methods" in answer.err


def test_features_that_two_heads_cannot_share_are_told(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "odd.toml").write_text(SMALL + '[baselines]\nmethods = ["sasrec"]\nhidden = 5\n', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "odd.toml")
    assert answer.code == 2
    assert "baselines.hidden" in answer.err


def test_shots_of_the_statistics_are_windows_as_the_students_are(small_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    alike = {}
    for shots in (0, 16):
        (tmp_path / "few.toml").write_text(f"{SMALL}[baselines]\nshots = {shots}\n", "utf-8")
        config = read(tmp_path / "few.toml")
        first = counted(Workspace(small_run, config))["logistic"]
        past = pl.read_parquet(folder / "evidence.past.parquet")
        past.with_columns(~pl.col("label")).write_parquet(folder / "evidence.past.parquet")
        other = counted(Workspace(folder, config))["logistic"]
        past.write_parquet(folder / "evidence.past.parquet")
        n = Workspace(folder, config).windows.height
        alike[shots] = bool((first[:n] == other[:n]).all())
    assert alike == {0: False, 16: True}
