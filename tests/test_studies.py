"""`student curve` and `student latency`: what is measured beside the line, kept, gone on with, and shown."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import speakers
from reasoningrec.evaluation.learning import Cell, points
from reasoningrec.pipeline import curve as studied
from reasoningrec.rows import read_jsonl
from running import SMALL, Cli


@pytest.fixture
def run(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(studied, "LEAST_SEEN", 60)
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def cells(run: Path) -> list[dict[str, Any]]:
    return read_jsonl(run / "curve.jsonl")


def test_every_number_of_shots_is_learned_from_by_every_seed(cli: Cli, run: Path) -> None:
    answer = cli("student", "curve", "--run", run, "--shots", "8", "--shots", "all", "--seeds", "2")
    assert answer.code == 0, answer.err
    found = cells(run)
    assert [(cell["shots"], cell["seed"], cell["rows"]) for cell in found] == [
        ("untrained", 0, 0), ("8", 0, 8), ("all", 0, 60), ("untrained", 1, 0), ("8", 1, 8), ("all", 1, 60),
    ]  # fmt: skip
    assert all(cell["n"] == 60 and cell["auc"] is not None and cell["order"] == "label-first" for cell in found)
    assert {cell["epochs"] for cell in found if cell["shots"] == "8"} == {8}, "60 rows seen, 8 at a time"
    assert {cell["epochs"] for cell in found if cell["shots"] == "all"} == {2}, "the run's own"
    assert len({cell["auc"] for cell in found}) > 3
    assert not (run / "curve").exists(), "no weights stay"
    lines = answer.out.splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [["untrained", "0", "2"], ["8", "8", "2"], ["all", "60", "2"]]


def test_what_is_measured_is_not_trained_again(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, trained = studied.train, []

    def train(*arguments: Any) -> Any:
        trained.append(arguments[2].shots)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(studied, "train", train)
    again = ("student", "curve", "--run", run, "--shots", "8", "--shots", "16", "--seeds", "1", "--decisions-only")
    assert cli(*again).code == 130
    kept = cells(run)
    assert [cell["shots"] for cell in kept] == ["untrained", "8"]
    assert cli(*again).code == 0
    assert trained == [8, 16, 16]
    assert cells(run)[:2] == kept
    assert {cell["order"] for cell in cells(run)} == {"decision-only"}
    cli(*again[:-1])
    assert trained == [8, 16, 16, 8, 16], "texts are another thing to learn: done anew"
    assert [cell["order"] for cell in cells(run)] == ["decision-only"] * 3 + ["label-first"] * 3
    more = cli("student", "curve", "--run", run, "--shots", "16", "--shots", "100000", "--shots", "all", "--seeds", "1")
    assert trained == [8, 16, 16, 8, 16, 0], "what is done stays, and all is all, whatever it is called"
    assert len(cells(run)) == 7
    assert [line.split()[0] for line in more.out.splitlines()[1:4]] == ["untrained", "16", "all"], "what was asked for"


def test_students_of_other_settings_are_not_shown_and_go(cli: Cli, run: Path, tmp_path: Path) -> None:
    curve = ("student", "curve", "--run", run, "--seeds", "1", "--queries", "20", "--shots")
    assert cli(*curve, "8").code == 0
    assert cli("student", "latency", "--run", run, "--queries", "2").code == 0
    (tmp_path / "other.toml").write_text(SMALL.replace("epochs = 2", "epochs = 1"), "utf-8")
    assert cli("run", "--run", run, tmp_path / "other.toml").code == 0
    shown = (run / "report.md").read_text("utf-8")
    assert "Learning curve" not in shown
    assert "How long" not in shown
    assert len(cells(run)) == 2, "what was measured is not lost by a look"
    assert cli(*curve, "16").code == 0
    assert [cell["shots"] for cell in cells(run)] == ["untrained", "16"]
    (run / "curve.jsonl").write_text("{]", "utf-8")
    damaged = cli("report", "--run", run)
    assert damaged.code == 2
    assert "Remove curve.jsonl" in damaged.err


def test_a_curve_needs_a_run_and_numbers(cli: Cli, run: Path, tmp_path: Path) -> None:
    for wrong in ("1", "-4", "many", "0", ""):
        answer = cli("student", "curve", "--run", run, "--shots", wrong)
        assert (answer.code, "--shots" in answer.err) == (2, True)
    assert cli("student", "curve", "--run", tmp_path / "none").code == 2
    (tmp_path / "small.toml").write_text(SMALL, "utf-8")
    cli("reason", "--run", tmp_path / "young", tmp_path / "small.toml")
    for command in ("curve", "latency"):
        answer = cli("student", command, "--run", tmp_path / "young")
        assert (answer.code, "Traceback" in answer.err) == (2, False)
        assert "is pending, not done" in answer.err or "is not begun" in answer.err, answer.err


def test_the_report_shows_what_was_measured(cli: Cli, run: Path) -> None:
    before = (run / "report.html").read_text("utf-8")
    assert "Learning curve" not in before
    assert "How long" not in before
    assert cli("student", "curve", "--run", run, "--shots", "8", "--seeds", "2", "--queries", "20").code == 0
    timed = cli("student", "latency", "--run", run, "--queries", "3")
    assert timed.code == 0, timed.err
    answer = cli("report", "--run", run)
    assert "done again, because of a change in curve.jsonl, latency.jsonl" in answer.err
    page, text = ((run / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    for shown in (page, text):
        assert "Learning curve" in shown
        assert "Queries" in shown
        assert "predict-first" in shown
    assert "| 8 | 8 | " in text
    assert " | 20 | decisions and texts |" in text
    assert 'id="learning-title"' in page, "the picture"
    assert "done again" not in cli("report", "--run", run).err


def test_latency_is_of_the_modes_the_student_has(cli: Cli, run: Path) -> None:
    assert cli("student", "latency", "--run", run, "--queries", "3").code == 0
    rows = read_jsonl(run / "latency.jsonl")
    assert [row["mode"] for row in rows] == ["predict-first", "predict-only"]
    assert all(0 < row["median"] <= row["most"] and row["together"] > 0 and row["n"] == 3 for row in rows)
    assert rows[1]["median"] < rows[0]["median"], "to write takes longer than not to"


def test_a_student_that_reasons_first_is_timed_so_and_its_curve_is_of_decisions(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studied, "LEAST_SEEN", 16)
    base = speakers.store("llama", tmp_path / "tiny-llama")
    text = SMALL.replace("max_tokens = 320", f'base = "{base}"\nmax_tokens = 1000\norder = "reason-first"')
    text = text.replace("epochs = 2", "epochs = 1").replace("explain = 24", 'explain = 2\nmode = "reason-first"')
    (tmp_path / "small.toml").write_text(text.replace("max_new_tokens = 64", "max_new_tokens = 32"), "utf-8")
    assert cli("train", "--run", tmp_path / "run", tmp_path / "small.toml").code == 0
    assert cli("student", "latency", "--run", tmp_path / "run", "--queries", "1").code == 0
    assert [row["mode"] for row in read_jsonl(tmp_path / "run" / "latency.jsonl")] == ["reason-first"]
    refused = cli("student", "curve", "--run", tmp_path / "run", "--shots", "8", "--seeds", "1")
    assert (refused.code, "--decisions-only" in refused.err) == (2, True)
    only = ("--decisions-only", "--queries", "5")
    taken = cli("student", "curve", "--run", tmp_path / "run", "--shots", "8", "--seeds", "1", *only)
    assert taken.code == 0, taken.err
    assert json.loads((tmp_path / "run" / "curve.jsonl").read_text().splitlines()[1])["n"] == 5


def cell(shots: str, seed: int, rows: int, auc: float | None) -> Cell:
    return Cell(shots, seed, "label-first", rows, 1, 40, 0, auc, 0.6, 0.7, 1.0, 0, "this run")


def test_mean_and_spread_are_over_seeds() -> None:
    found = points(
        [cell("all", 0, 90, 0.8), cell("16", 0, 16, 0.5), cell("16", 1, 16, 0.7), cell("untrained", 0, 0, None)]
    )
    assert [(point.shots, point.rows, point.seeds) for point in found] == [
        ("untrained", 0, 1), ("16", 16, 2), ("all", 90, 1),
    ]  # fmt: skip
    assert found[0].auc is None
    assert found[1].auc == pytest.approx(0.6)
    assert found[1].spread == pytest.approx(0.02**0.5)
    assert (found[2].auc, found[2].spread) == (0.8, None), "one seed has no spread"


def test_students_that_learned_or_were_asked_otherwise_are_not_averaged() -> None:
    one = cell("16", 0, 16, 0.5)
    others = [dataclasses.replace(one, order="decision-only", auc=0.9), dataclasses.replace(one, queries=20, auc=0.7)]
    assert [(point.seeds, point.auc) for point in points([one, *others])] == [(1, 0.9), (1, 0.5), (1, 0.7)]
