"""Settings that must stand before numpy, torch or matplotlib are imported, the way to real data, and one small run."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from hypothesis import settings

from running import SMALL, Answer, Cli
from serving import Serving, serving

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
settings.register_profile("unhurried", deadline=None)  # a busy machine is no error
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    place = os.environ.get("REASONINGREC_DATA", "")
    if not place:
        pytest.skip("REASONINGREC_DATA is not set: no real data to test on")
    if not Path(place).is_dir():
        pytest.skip(f"REASONINGREC_DATA names no folder: {place}")
    return Path(place)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs the command line in this process: `cli("run", "--run", folder, config)`. Its faults fail the test."""
    from reasoningrec.cli import main
    from reasoningrec.cli.app import FAULT

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert FAULT not in printed.err, printed.err
        return Answer(int(stop.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """The configuration of `small_run`, to change."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL, "utf-8")
    return path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the whole line. Copy it before changing anything in it."""
    from reasoningrec.cli.progress import Screen
    from reasoningrec.config import read
    from reasoningrec.pipeline.line import run_line

    folder = tmp_path_factory.mktemp("small")
    path = folder / "small.toml"
    path.write_text(SMALL, "utf-8")
    with Screen() as screen:
        run_line(folder / "run", read(path), screen)
    return folder / "run"


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Starts child processes that have the slow imports behind them; the only one: the first list of imports stays."""
    context = multiprocessing.get_context("forkserver")
    slow = ["reasoningrec.pipeline.line", "reasoningrec.llm.endpoint", "reasoningrec.llm.remember"]
    context.set_forkserver_preload(slow)
    return context


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the answers that whoever runs the tests has paid for."""
    path = tmp_path / "answers.sqlite"
    monkeypatch.setenv("REASONINGREC_CACHE", str(path))
    return path


@pytest.fixture(scope="module")
def running() -> Iterator[Serving]:
    """A chat server in a process of its own."""
    with serving() as started:
        yield started


@pytest.fixture
def server(running: Serving) -> Serving:
    """That server, well behaved, with nothing counted yet."""
    running.behave()
    running.forget()
    return running
