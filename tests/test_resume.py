"""Killed, interrupted, or run with another setting: the same command ends in the bytes of a straight run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from reasoningrec.config import read
from reasoningrec.errors import TeacherError
from reasoningrec.pipeline.line import NAMES, STAGES
from reasoningrec.rows import read_json, write_json
from reasoningrec.runs import Run
from running import SMALL, Cli, alone, assert_same, dying, files

KILLS, TRIES = 10, 3
DEADLINE = 600.0


def wait_for(folder: Path, stage: str, process: BaseProcess) -> bool:
    """Until the process works in the run and `stage` has begun; False where it ended before."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            known = json.loads((folder / "manifest.json").read_bytes())["stages"]
            mine = (folder / ".lock").read_text("ascii") == str(process.pid)
            if mine and known.get(stage, {"status": "pending"})["status"] != "pending":
                return True
        except FileNotFoundError:
            pass
        if process.exitcode is not None:
            return False
        time.sleep(0.001)
    raise AssertionError(f"{stage} did not begin within {DEADLINE} s")


def start(forks: ForkServerContext, folder: Path, config: Path) -> BaseProcess:
    """The command in a child process; what it says goes to `said.txt` beside the run."""
    arguments = ["run", "--run", str(folder), str(config)]
    process = forks.Process(target=alone, args=(arguments, str(folder.with_name("said.txt"))))
    process.start()
    return process


def test_killed_ten_times_it_ends_as_a_straight_run(
    forks: ForkServerContext, tmp_path: Path, small_config: Path, small_run: Path
) -> None:
    luck = random.Random(11)
    folder = tmp_path / "run"
    seconds = {name: entry["seconds"] for name, entry in Run.read(small_run).times().items()}
    hit = []
    for stage in sorted(luck.sample(NAMES, KILLS), key=NAMES.index):
        wait = luck.random() * seconds[stage]
        for _ in range(TRIES):
            process = start(forks, folder, small_config)
            begun = wait_for(folder, stage, process)
            time.sleep(wait)
            if begun and process.is_alive():
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.pid or 0, signal.SIGKILL)
            process.join(DEADLINE)
            if process.exitcode == -signal.SIGKILL:
                hit.append(stage)
                break
            shutil.rmtree(folder)  # it ended first: the machine is quicker than it was. Anew, and sooner
            wait /= 4
    assert len(hit) >= KILLS - 2, hit
    command = [sys.executable, "-m", "reasoningrec", "run", "--run", str(folder), str(small_config)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert ended.returncode == 0, ended.stderr
    assert_same(folder, small_run)


def test_killed_before_any_change_of_a_file_it_ends_as_a_straight_run(
    forks: ForkServerContext, tmp_path: Path, small_config: Path, small_run: Path
) -> None:
    luck = random.Random(12)
    folder = tmp_path / "run"
    kills = 0
    for _ in range(60):
        arguments = (["run", "--run", str(folder), str(small_config)], str(folder), luck.randint(1, 80))
        process = forks.Process(target=dying, args=arguments)
        process.start()
        process.join(DEADLINE)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= KILLS
    assert process.exitcode == 0
    assert_same(folder, small_run)


def test_interrupted_by_a_person_it_says_so_and_goes_on(
    forks: ForkServerContext, tmp_path: Path, small_config: Path, small_run: Path
) -> None:
    folder, said = tmp_path / "run", tmp_path / "said.txt"
    process = start(forks, folder, small_config)
    assert wait_for(folder, "train", process)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(DEADLINE)
    err = said.read_text("utf-8")
    assert process.exitcode == 130, err
    assert "interrupted in train; what is done is kept: the same command goes on from here" in err
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    process = start(forks, folder, small_config)
    process.join(DEADLINE)
    assert process.exitcode == 0
    assert "train: goes on where it stopped" in said.read_text("utf-8")
    assert_same(folder, small_run)


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(small_run, folder)
    return folder


def redone(err: str) -> list[str]:
    """The stages that worked, by what was printed."""
    rows = [line.split() for line in err.splitlines()]
    return [row[0] for row in rows if row[0] in NAMES and "done before" not in " ".join(row)]


def test_running_again_does_nothing(cli: Cli, copy: Path, small_config: Path, small_run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in copy.rglob("*") if file.is_file()}
    answer = cli("run", "--run", copy, small_config)
    assert answer.code == 0
    assert redone(answer.err) == []
    assert answer.err.count("done before") == len(NAMES)
    after = {file: file.stat().st_mtime_ns for file in copy.rglob("*") if file.is_file()}
    assert {file.name for file in before if before[file] != after[file]} <= {"manifest.json", ".lock"}
    assert_same(copy, small_run)


def test_half_written_files_of_other_writers_are_removed(
    cli: Cli, copy: Path, small_config: Path, small_run: Path
) -> None:
    with Run.open(copy, create=False) as run:
        fields = run.stages["train"].fields
        run.begin("train", {**fields, "epochs": 9})
        run.begin("train", fields)
    (copy / "train").mkdir()
    (copy / "train" / ".tmpUT75YL").write_bytes(b"half of the weights")
    assert cli("run", "--run", copy, small_config).code == 0
    assert_same(copy, small_run)


def reading(first: str) -> set[str]:
    """A stage, and those that read it or what was made from it."""
    found = {first}
    for stage in STAGES:
        if found.intersection(stage.reads):
            found.add(stage.name)
    return found


@pytest.mark.parametrize(
    ("old", "new", "field", "first"),
    [
        ("samples = 6", "samples = 5", "samples", "report"),
        ("resamples = 100", "resamples = 101", "resamples", "evaluate"),
        ("explain = 24", "explain = 10", "explain", "predict"),
        ("explain = 24", "explain = 24\nbatch_tokens = 512", "batch_tokens", "score"),
        ("epochs = 2", "epochs = 1", "epochs", "train"),
        ("[evaluate]", "[baselines]\nshots = 16\n[evaluate]", "shots", "baselines"),
    ],
)
def test_a_changed_setting_redoes_only_what_depends_on_it(
    cli: Cli, copy: Path, small_config: Path, old: str, new: str, field: str, first: str
) -> None:
    changed = small_config.with_name("changed.toml")
    changed.write_text(SMALL.replace(old, new), "utf-8")
    before = files(copy)
    answer = cli("run", "--run", copy, changed)
    assert answer.code == 0, answer.err
    assert f"{first}: done again, because of a change in {field}\n" in answer.err
    assert set(redone(answer.err)) - {f"{first}:"} >= {first}
    kept = [name for name in NAMES if name not in reading(first)]
    assert answer.err.count("done before") == len(kept)
    after = files(copy)
    assert all(after[name] == content for name, content in before.items() if name.split(".")[0].split("/")[0] in kept)
    assert read(changed).model_dump(mode="json") == Run.read(copy).config


def test_how_often_to_save_and_where_the_data_are_change_nothing(cli: Cli, copy: Path, small_config: Path) -> None:
    changed = small_config.with_name("changed.toml")
    changed.write_text(SMALL.replace("checkpoint_seconds = 0.0", "checkpoint_seconds = 9.0"), "utf-8")
    assert redone(cli("run", "--run", copy, changed).err) == []


def test_a_setting_changed_and_changed_back_ends_where_it_began(
    cli: Cli, copy: Path, small_config: Path, small_run: Path
) -> None:
    changed = small_config.with_name("changed.toml")
    changed.write_text(SMALL.replace("history = 4", "history = 3"), "utf-8")
    answer = cli("describe", "--run", copy, changed)
    assert "split: done again, because of a change in history" in answer.err
    answer = cli("run", "--run", copy, small_config)
    assert answer.code == 0, answer.err
    assert_same(copy, small_run)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "demo"\nusers = 60', 'source = "tables"\npath = "mine.csv"', "no column 'rating'"),
        ("max_tokens = 320", "max_tokens = 64", "max_tokens"),
        ("[evaluate]", '[texts]\nvouched = true\ndescriptions = "mine.csv"\n[evaluate]', "mine.csv"),
        ("[evaluate]", "[baselines]\nthreads = 100000\n[evaluate]", "threads"),
    ],
)
def test_settings_that_turn_out_wrong_leave_the_run_what_it_has(
    cli: Cli, copy: Path, small_config: Path, small_run: Path, old: str, new: str, said: str
) -> None:
    (copy.parent / "mine.csv").write_text("user,item\nu,i\n", "utf-8")
    slip = small_config.with_name("slip.toml")
    slip.write_text(SMALL.replace(old, new), "utf-8")
    before = files(copy)
    answer = cli("run", "--run", copy, slip)
    assert answer.code in (2, 3)
    assert said in answer.err
    assert files(copy) == before
    assert redone(cli("run", "--run", copy, small_config).err) == []
    assert_same(copy, small_run)


def test_a_change_that_was_interrupted_costs_nothing_when_it_is_taken_back(
    cli: Cli, copy: Path, small_config: Path, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    changed = small_config.with_name("changed.toml")
    with monkeypatch.context() as patch:
        patch.setattr("reasoningrec.pipeline.learn.train", interrupt)
        for epochs in (9, 8):
            changed.write_text(SMALL.replace("epochs = 2", f"epochs = {epochs}"), "utf-8")
            answer = cli("run", "--run", copy, changed)
            assert answer.code == 130
            assert "interrupted in train; what is done is kept" in answer.err
    assert redone(cli("run", "--run", copy, small_config).err) == []
    assert_same(copy, small_run)


def test_a_retry_that_cannot_be_tried_takes_nothing_away(
    cli: Cli, copy: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_json(copy / "manifest.json")
    manifest["stages"]["describe"]["counts"]["failed"] = 2
    write_json(copy / "manifest.json", manifest)
    before = files(copy)

    def dead(*_: object, **__: object) -> None:
        raise TeacherError("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr("reasoningrec.pipeline.teach.opened", dead)
        assert cli("run", "--run", copy, small_config, "--retry-failed").code == 3
    assert files(copy) == before
    answer = cli("run", "--run", copy, small_config, "--retry-failed")
    assert answer.code == 0
    assert redone(answer.err) == ["describe"], "the same texts came, so that nothing that reads them is done again"


def test_a_file_that_is_gone_is_made_again(cli: Cli, copy: Path, small_config: Path, small_run: Path) -> None:
    (copy / "report.md").unlink()
    answer = cli("run", "--run", copy, small_config)
    assert "report: done again, because files are gone: report.md" in answer.err
    assert answer.err.count("done before") == len(NAMES) - 1
    assert_same(copy, small_run)
