"""Files that commands are told to write: never over what a run keeps, and seen to be impossible before the work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from reasoningrec.cli import outputs
from reasoningrec.errors import InputError
from running import Cli


def test_no_file_of_a_run_is_written_over(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for command in (
        ("compare", small_run, "--markdown", run / "manifest.json"),
        ("compare", small_run, "--html", run / "new.html"),
        ("audit", "--run", small_run, "--out", run / "predict" / "predictions.jsonl"),
    ):
        answer = cli(*command)
        assert (answer.code, "lies in a run's folder" in answer.err) == (2, True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_two_flags_cannot_name_one_file(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    answer = cli("compare", small_run, "--markdown", tmp_path / "c", "--html", tmp_path / "link" / "c")
    assert (answer.code, "is the file of --markdown, too" in answer.err) == (2, True)
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_written_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--out: .*nothing: no such folder"):
        outputs.check_outputs({"--out": tmp_path / "nothing" / "a.json"})
    outputs.check_outputs({"--out": tmp_path / "a.json", "--html": None})
    monkeypatch.setattr(outputs.os, "access", lambda path, _: path != tmp_path.resolve())  # root may write anywhere
    with pytest.raises(InputError, match=r"--out: .*a.json: cannot be written"):
        outputs.check_outputs({"--out": tmp_path / "a.json"})


def test_a_folder_or_a_device_is_not_written_over(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match=rf"--out: {place}: is no file"):
            outputs.check_outputs({"--out": place})


def test_a_link_stays_and_a_pipe_behind_one_is_no_file(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real.json")
    assert outputs.check_outputs({"--out": link, "--html": None}) == {"--out": (tmp_path / "real.json").resolve()}
    read, write = os.pipe()
    try:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{write}")
        for place in (Path(f"/proc/self/fd/{write}"), tmp_path / "stdout"):
            with pytest.raises(InputError, match=rf"--out: {place}: is no file"):
                outputs.check_outputs({"--out": place})
    finally:
        os.close(read)
        os.close(write)
