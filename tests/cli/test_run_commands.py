"""`init`, `run`, one stage at a time, and `status`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reasoningrec.config import read
from reasoningrec.pipeline.line import NAMES
from reasoningrec.runs import Run
from running import SMALL, Cli


def test_init_writes_a_configuration_that_can_be_read(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    answer = cli("init", path, "--name", "shop")
    assert answer.code == 0
    assert f"wrote {path}" in answer.out
    config = read(path)
    assert (config.name, config.data.source) == ("shop", "tables")
    assert config.data.path == str(tmp_path / "interactions.csv")


def test_init_has_a_usual_name_and_never_overwrites(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("init").code == 0
    written = Path("reasoningrec.toml").read_bytes()
    assert cli("init", "--name", "other").code == 2
    assert Path("reasoningrec.toml").read_bytes() == written


def test_the_defaults_in_the_template_are_the_defaults(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    cli("init", path)
    bare = tmp_path / "bare.toml"
    bare.write_text(
        'name = "mine"\n[data]\nsource = "tables"\npath = "interactions.csv"\n[data.columns]\ntime = "time"\n'
    )
    assert read(path) == read(bare)


def test_one_stage_runs_what_comes_before_it_and_no_more(cli: Cli, tmp_path: Path, small_config: Path) -> None:
    folder = tmp_path / "run"
    answer = cli("profile", "--run", folder, small_config)
    assert answer.code == 0, answer.err
    assert set(Run.read(folder).stages) == set(NAMES[: NAMES.index("profile") + 1])
    again = cli("reason", "--run", folder)
    assert again.code == 0, again.err
    assert again.err.count("done before") == 5
    assert "reason" in Run.read(folder).stages


def test_seed_and_protocol_stand_in_for_the_configuration(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        seen = {}

        def note(folder: Path, config: object, *_: object, retry_failed: bool) -> None:
            seen["config"] = config

        patch.setattr("reasoningrec.pipeline.line.run_line", note)
        assert cli("run", "--run", tmp_path / "run", path, "--seed", 5, "--protocol", "strict").code == 0
    assert seen["config"] == read(path, seed=5, protocol="strict")


def test_status_lists_every_stage(cli: Cli, small_run: Path) -> None:
    shown = cli("status", "--run", small_run)
    assert shown.code == 0
    for name in NAMES:
        assert any(line.split()[:2] == [name, "done"] for line in shown.out.splitlines()), name
    assert "working in it" not in shown.out


def test_status_tells_stopped_failed_and_not_begun_apart(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    with Run.open(folder, create=False) as run:
        run.begin("predict", {"a": 1})
        run.begin("report", {"a": 1})
        run.fail("report", "the disk is [full]")
    lines = cli("status", "--run", folder).out.splitlines()
    assert any(line.split()[:2] == ["predict", "stopped"] for line in lines)
    assert any(line.split()[:2] == ["report", "failed"] for line in lines)
    assert any("the disk is [full]" in line for line in lines)


def test_status_of_a_run_that_has_only_begun(cli: Cli, tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.configure({"name": "x", "protocol": "honest"}, version="0")
    shown = cli("status", "--run", tmp_path / "run")
    assert shown.code == 0
    assert shown.out.count("not begun") == len(NAMES)
