"""`reasoningrec audit` on whole runs: an honest one passes, the published protocol's leak is found, errors are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from reasoningrec.cli.progress import Screen
from reasoningrec.config import read
from reasoningrec.pipeline.line import run_line
from reasoningrec.pipeline.looks import looks
from reasoningrec.ranking import latent
from reasoningrec.rows import read_json
from running import SMALL, Cli


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the published protocol, as far as its texts."""
    folder = tmp_path_factory.mktemp("paper")
    path = folder / "paper.toml"
    path.write_text(SMALL.replace("[data]", 'protocol = "paper"\n[data]', 1), "utf-8")
    with Screen() as screen:
        run_line(folder / "run", read(path), screen, "profile")
    return folder / "run"


def test_an_honest_run_passes(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    answer = cli("audit", "--run", small_run, "--sample", "5", "--out", tmp_path / "audit.json")
    assert answer.code == 0
    assert answer.out.count("passed") == 8
    found = read_json(tmp_path / "audit.json")
    assert [check["ruling"] for check in found["checks"]] == ["passed"] * 8
    assert [figure["name"] for figure in found["text"]][:1] == ["title, brand, categories"]
    assert found["text"][2]["low"] <= found["text"][2]["value"] <= found["text"][2]["high"]


def test_a_factorisation_that_knows_the_future_is_found(
    cli: Cli, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_then = latent._fit
    monkeypatch.setattr(latent, "_fit", lambda line, rows: of_then(line, np.arange(line.user.size)))
    answer = cli("audit", "--run", small_run, "--sample", "5")
    assert answer.code == 1
    assert "1 numbers change; latent from" in answer.out


def test_the_leak_of_the_published_protocol_is_found(cli: Cli, paper_run: Path) -> None:
    answer = cli("audit", "--run", paper_run, "--sample", "5")
    assert answer.code == 1
    assert "the target's own review" in answer.out
    assert "found        sources" in answer.out


def test_what_methods_gain_is_measured_where_both_were_run(cli: Cli, small_run: Path, paper_run: Path) -> None:
    missing = cli("audit", "--run", small_run, "--against", paper_run, "--sample", "1")
    assert missing.code == 0
    assert f"not known: {paper_run} has no predictions" in missing.out
    assert "not by the protocol alone" not in missing.out


def test_what_differs_besides_the_protocol_is_told(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(SMALL + '\n[texts]\nprompts = "paper"\n', "utf-8")
    with Screen() as screen:
        run_line(tmp_path / "run", read(path), screen, "profile")
    answer = cli("audit", "--run", small_run, "--against", tmp_path / "run", "--sample", "1")
    assert "not by the protocol alone: the two runs differ in texts, too" in answer.out


def test_a_run_against_its_copy_gains_nothing(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    answer = cli("audit", "--run", small_run, "--against", copy, "--sample", "1", "--out", tmp_path / "a.json")
    assert answer.code == 0
    gains = read_json(tmp_path / "a.json")["against"][0]["gains"]
    assert "reasoningrec" in {gain["method"] for gain in gains}
    assert all(gain["figure"]["value"] == gain["figure"]["low"] == gain["figure"]["high"] == 0 for gain in gains)


def test_a_text_changed_by_hand_is_told(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    path = copy / "describe.jsonl"
    path.write_text(path.read_text("utf-8").replace("a", "e", 1), "utf-8")
    answer = cli("audit", "--run", copy)
    assert answer.code == 2
    assert "damaged, or edited" in answer.err


def test_what_cannot_be_audited_is_told(cli: Cli, small_run: Path, small_config: Path, tmp_path: Path) -> None:
    assert cli("audit", "--run", tmp_path / "none").code == 2
    assert cli("run", "--run", tmp_path / "begun", small_config, "--dry-run").code == 0
    itself = cli("audit", "--run", small_run, "--against", small_run, "--sample", "1")
    assert (itself.code, "is the run itself" in itself.err) == (2, True)
    nowhere = cli("audit", "--run", small_run, "--out", tmp_path / "no" / "a.json")
    assert (nowhere.code, "no such folder" in nowhere.err) == (2, True)


def test_a_run_of_other_data_cannot_be_compared(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    for text, says in (
        (SMALL.replace("users = 60", "users = 61"), "asks other test questions"),
        (SMALL.replace('name = "demo"', 'name = "other"'), "is a run of other, not of demo"),
    ):
        path = tmp_path / "other.toml"
        path.write_text(text, "utf-8")
        folder = tmp_path / says.split()[0] / "run"
        with Screen() as screen:
            run_line(folder, read(path), screen, "profile")
        answer = cli("audit", "--run", small_run, "--against", folder, "--sample", "1")
        assert answer.code == 2
        assert says in answer.err


def test_gains_are_of_whole_predictions_alone(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    path = copy / "predict" / "predictions.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]), "utf-8")
    answer = cli("audit", "--run", small_run, "--against", copy, "--sample", "1")
    assert (answer.code, "predictions.jsonl: is not as stage predict wrote it" in answer.err) == (2, True)


def test_a_look_at_another_run_is_noted_there_too(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    before = len(looks(copy))
    assert cli("audit", "--run", small_run, "--against", copy, "--sample", "1").code == 0
    assert [look["by"] for look in looks(copy)[before:]] == ["audit"]
