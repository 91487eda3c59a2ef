"""`reasoningrec compare` on whole runs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from reasoningrec.rows import read_json, write_json
from running import Cli


def test_runs_are_put_side_by_side(cli: Cli, small_run: Path, small_config: Path, tmp_path: Path) -> None:
    second, fewer = tmp_path / "second", tmp_path / "fewer.toml"
    config = small_config.read_text("utf-8")
    assert "explain = 24" in config
    fewer.write_text(config.replace("explain = 24", "explain = 1"), "utf-8")  # parts no runs: no decision changes
    assert cli("run", "--run", second, fewer, "--seed", "1").code == 0
    page, text = tmp_path / "c.html", tmp_path / "c.md"
    answer = cli("compare", small_run, second, "--html", page, "--markdown", text)
    assert answer.code == 0
    assert "2 seeds" in answer.out
    assert "reasoningrec" in answer.out
    assert page.read_text("utf-8").count("<svg") == 1
    assert text.read_text("utf-8").startswith("# Runs compared")
    manifest = read_json(second / "manifest.json")
    manifest["stages"]["predict"]["fields"]["decision"]["inputs"] = ["of another version"]
    write_json(second / "manifest.json", manifest)
    apart = cli("compare", small_run, second)
    assert (apart.code, "2 seeds" in apart.out) == (0, False)


def test_figures_of_another_form_name_their_file(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    figures, manifest = read_json(copy / "evaluate.json"), read_json(copy / "manifest.json")
    del figures["level"]
    write_json(copy / "evaluate.json", figures)
    digest = hashlib.sha256((copy / "evaluate.json").read_bytes()).hexdigest()
    manifest["stages"]["evaluate"]["artifacts"]["evaluate.json"] = digest
    write_json(copy / "manifest.json", manifest)
    answer = cli("compare", small_run, copy)
    assert answer.code == 2
    assert f"{copy / 'evaluate.json'}: is not in the form that this version reads" in answer.err


def test_what_cannot_be_compared_is_told(cli: Cli, small_run: Path, small_config: Path, tmp_path: Path) -> None:
    assert cli("compare").code == 2
    nothing = cli("compare", tmp_path / "none")
    assert (nothing.code, "is not a run's folder" in nothing.err) == (2, True)
    twice = cli("compare", small_run, small_run)
    assert (twice.code, "is named twice" in twice.err) == (2, True)
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    same = cli("compare", small_run, copy)
    assert (same.code, "the same configuration and seed twice" in same.err) == (2, True)
    half = tmp_path / "half"
    assert cli("profile", "--run", half, small_config).code == 0
    early = cli("compare", small_run, half)
    assert (early.code, "stage reason is pending, not done" in early.err) == (2, True)
    nowhere = cli("compare", small_run, "--html", tmp_path / "no" / "c.html")
    assert (nowhere.code, "no such folder" in nowhere.err) == (2, True)
    folder = cli("compare", small_run, "--html", tmp_path)
    assert (folder.code, "'--html'" in folder.err) == (2, True)
    (copy / "predict" / "predictions.jsonl").write_text("{}\n", "utf-8")
    damaged = cli("compare", copy)
    assert (damaged.code, "damaged, or edited" in damaged.err) == (2, True)


def test_a_run_whose_checkpoints_are_kept_otherwise_is_the_same(
    cli: Cli, small_run: Path, small_config: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(small_run, tmp_path / "again")
    (tmp_path / "often.toml").write_text(
        small_config.read_text("utf-8").replace("checkpoint_seconds = 0.0", "checkpoint_seconds = 5.0"), "utf-8"
    )
    assert cli("run", "--run", again, tmp_path / "often.toml").code == 0
    assert read_json(again / "manifest.json")["config"]["train"]["checkpoint_seconds"] == 5.0
    answer = cli("compare", small_run, again)
    assert answer.code == 2
    assert "the same configuration and seed twice" in answer.err


def test_files_are_written_even_where_the_reader_of_the_tables_stops(
    cli: Cli, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("reasoningrec.cli.compare.say", stop)
    monkeypatch.setattr("reasoningrec.cli.audit.say", stop)
    page, found = tmp_path / "c.html", tmp_path / "a.json"
    assert cli("compare", small_run, "--html", page).code == 3
    assert page.read_text("utf-8").endswith("</html>")
    assert cli("audit", "--run", small_run, "--out", found).code == 3
    assert read_json(found)["checks"]


@pytest.mark.parametrize(
    ("stage", "old", "new"),
    [
        ("predict", "max_new_tokens = 64", "max_new_tokens = 32"),
        ("baselines", "[evaluate]", "[baselines]\nshots = 16\n[evaluate]"),
    ],
)
def test_figures_older_than_the_answers_are_refused(
    cli: Cli, small_run: Path, small_config: Path, tmp_path: Path, stage: str, old: str, new: str
) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other.toml"
    shutil.copytree(small_run, copy)
    other.write_text(small_config.read_text("utf-8").replace(old, new), "utf-8")
    assert cli(stage, "--run", copy, other).code == 0
    stale = cli("compare", copy)
    assert (stale.code, stale.out) == (2, "")
    assert f"stage evaluate is out of date: stage {stage} was done again since" in stale.err
    assert "reasoningrec evaluate --run" in stale.err
    shown = cli("status", "--run", copy).out
    assert [line.split()[0] for line in shown.splitlines() if "out of date" in line] == ["evaluate", "report"]
    assert cli("evaluate", "--run", copy, other).code == 0
    assert cli("compare", copy).code == 0


def test_a_folder_whose_name_is_no_text_is_told(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / os.fsdecode(b"run\xff")
    try:
        shutil.copytree(small_run, copy)
    except OSError:
        pytest.skip("this file system has no such names")
    for command in (("compare", copy), ("audit", "--run", copy)):
        answer = cli(*command)
        assert (answer.code, "is not UTF-8" in answer.err, "Rename it" in answer.err) == (2, True, True)
