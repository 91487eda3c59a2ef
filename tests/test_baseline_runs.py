"""Trained baselines in a run: named by the configuration, in every table, and no change to runs without them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from reasoningrec.config import read
from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.evaluate import Evaluation
from reasoningrec.pipeline import baselines
from reasoningrec.pipeline.baselines import baseline_fields, counted
from reasoningrec.pipeline.line import NAMES
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.records import Prediction
from reasoningrec.rows import from_row, read_json, read_records
from reasoningrec.runs import Run
from running import SMALL, Cli

MORE = '[baselines]\nmethods = ["mf", "gru4rec"]\nhidden = 8\nepochs = 2\nrefits = 2\n'


def test_named_methods_are_answered_measured_and_compared(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "more.toml").write_text(SMALL + MORE, "utf-8")
    answer = cli("run", "--run", folder, tmp_path / "more.toml")
    assert answer.code == 0, answer.err
    assert done_before(answer.err) == set(NAMES) - {"baselines", "evaluate", "report"}
    found = read_records(Prediction, folder / "baselines.jsonl")
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


def test_paper_asks_baselines_what_honest_asks(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "more.toml").write_text(SMALL + MORE, "utf-8")
    honest, paper = shutil.copytree(small_run, tmp_path / "honest"), tmp_path / "paper"
    for folder in (honest, paper):
        answer = cli("run", "--run", folder, tmp_path / "more.toml", "--protocol", folder.name)
        assert answer.code == 0, answer.err
    same = {
        name: (honest / name).read_bytes() == (paper / name).read_bytes()
        for name in ("describe.jsonl", "score.jsonl", "baselines.jsonl")
    }
    assert same == {"describe.jsonl": False, "score.jsonl": False, "baselines.jsonl": True}


def done_before(err: str) -> set[str]:
    """The stages that were found done, by what was printed."""
    return {line.split()[0] for line in err.splitlines() if "done before" in line}


def test_settings_of_what_is_trained_change_nothing_where_nothing_is_trained(tmp_path: Path) -> None:
    found = {}
    for name, more in (("plain", ""), ("hidden", "[baselines]\nhidden = 8\n"), ("trained", MORE)):
        (tmp_path / f"{name}.toml").write_text(SMALL + more, "utf-8")
        found[name] = baseline_fields(Workspace(tmp_path, read(tmp_path / f"{name}.toml")))
    assert found["plain"] == found["hidden"]
    assert found["trained"]["methods"] == ["mf", "gru4rec"]
    (tmp_path / "wider.toml").write_text(SMALL + MORE.replace("hidden = 8", "hidden = 16"), "utf-8")
    assert baseline_fields(Workspace(tmp_path, read(tmp_path / "wider.toml"))) != found["trained"]


def test_a_method_that_was_fitted_is_not_fitted_again(
    small_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    (tmp_path / "more.toml").write_text(SMALL + MORE, "utf-8")
    fitted: list[str] = []
    train = baselines.trained

    def until_gru4rec(method: str, *others: Any) -> Floats:
        if method == "gru4rec" and "gru4rec" not in fitted:
            fitted.append(method)
            raise KeyboardInterrupt
        fitted.append(method)
        return train(method, *others)

    monkeypatch.setattr(baselines, "trained", until_gru4rec)
    assert cli("baselines", "--run", folder, tmp_path / "more.toml").code == 130
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert cli("baselines", "--run", folder, tmp_path / "more.toml").code == 0
    assert fitted == ["mf", "gru4rec", "gru4rec"]
    assert torch.get_num_threads() == 1  # as the configuration says, whatever was set before

    fewer = (SMALL + MORE).replace("explain = 24", "explain = 10")
    (tmp_path / "fewer.toml").write_text(fewer, "utf-8")
    answer = cli("run", "--run", folder, tmp_path / "fewer.toml")  # predict is done again, no baseline with it
    assert answer.code == 0, answer.err
    assert done_before(answer.err) == set(NAMES) - {"predict", "evaluate", "report"}
    assert fitted == ["mf", "gru4rec", "gru4rec"]


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


def test_of_more_shots_than_there_are_the_true_number_is_told(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    windows = Run.read(folder).require("split").counts["train"]
    for shots, told in ((6, 6), (999_999_999, windows)):
        (tmp_path / "few.toml").write_text(f"{SMALL}[baselines]\nshots = {shots}\n", "utf-8")
        assert cli("baselines", "--run", folder, tmp_path / "few.toml").code == 0
        assert Run.read(folder).require("baselines").counts["shots"] == told


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
