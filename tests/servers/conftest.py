"""One small model for all, and the servers that serve it, each started once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import launch
from small_model import Pair, build, pairs

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder."""
    folder, threads = tmp_path_factory.mktemp("model"), torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    build(pairs(), folder)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="session")
def gguf_file(model: Path) -> Path:
    """The model in llama.cpp's format."""
    target = model.parent / "small.gguf"
    python = launch.ROOT / ".venv-llamacpp/bin/python"
    subprocess.run([python, HERE / "to_gguf.py", "write", model, target], check=True)
    return target


@pytest.fixture(scope="session")
def questions() -> list[Pair]:
    """Requests on a shop that the model was not trained on, with the rule writer's answers."""
    return pairs([(60, 7)])


@pytest.fixture(scope="session", params=["vllm", "llamacpp"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[launch.Server]:
    """A server that is up, ended with the last test that asks it."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "vllm":
        command, served = launch.vllm, request.getfixturevalue("model")
    else:
        command, served = launch.llamacpp, request.getfixturevalue("gguf_file")
    with launch.serving(command, served, folder) as started:
        yield started


def pytest_sessionstart() -> None:
    """A session that is told to end still ends its servers."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to end", returncode=143))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the end of the server's log under a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, launch.Server):
        report.sections.append((f"log of {server.kind}", launch.tail(server.log)))
    return report
