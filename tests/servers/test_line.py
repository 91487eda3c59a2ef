"""The whole line with a model as the teacher, on servers that the package knows nothing of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launch import NAME, Server
from reasoningrec.rows import read_jsonl
from running import SMALL

TEACHER = """[teacher]
endpoint = "{url}"
model = "{model}"
max_new_tokens = 200
"""
FURTHER = {"vllm": "", "llamacpp": "extra = { repeat_penalty = 1.0 }\n"}
"""llama.cpp's server holds back words that stood before, the labels of the lines among them, unless told not to."""
ENOUGH = {"describe": 0.8, "profile": 0.8, "reason": 0.25}
"""Share of the texts that so small a model must bring into the form asked for."""
PROBES = 8
"""Requests by which the package may find out how a server is to be asked, with further tries."""
STAGES = ("describe", "profile", "reason")
RUN_SECONDS = 600


@dataclass(frozen=True)
class Finished:
    """A run that the command line has done."""

    folder: Path
    config: Path
    asked: int
    """Requests that the server got."""

    def rows(self, stage: str) -> list[dict[str, Any]]:
        return list(read_jsonl(self.folder / f"{stage}.jsonl"))

    def counts(self, stage: str) -> dict[str, int]:
        manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        return manifest["stages"][stage]["counts"]


def run_line(folder: Path, config: Path) -> None:
    """`reasoningrec run` in a process of its own, its cache of answers beside the configuration."""
    command = [sys.executable, "-m", "reasoningrec", "run", "--run", str(folder), str(config)]
    env = {**os.environ, "REASONINGREC_CACHE": str(config.parent / "answers.sqlite")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run from the data to the report, its texts by the server's model."""
    place = tmp_path_factory.mktemp(f"line-{server.kind}")
    config = place / "run.toml"
    config.write_text(SMALL + TEACHER.format(url=server.url, model=NAME) + FURTHER[server.kind], "utf-8")
    before = server.asked()
    run_line(place / "run", config)
    return Finished(place / "run", config, server.asked() - before)


def test_the_line_ends_in_a_report(finished: Finished) -> None:
    assert (finished.folder / "report.html").is_file()


def test_the_server_was_asked_no_more_than_the_manifest_says(finished: Finished) -> None:
    calls = sum(finished.counts(stage).get("calls", 0) for stage in (*STAGES, "verify"))
    assert 0 < finished.asked <= calls + PROBES


@pytest.mark.parametrize("stage", STAGES)
def test_the_texts_are_the_model_s(finished: Finished, stage: str) -> None:
    assert {row["origin"] for row in finished.rows(stage) if row["status"] == "done"} == {NAME}


@pytest.mark.parametrize("stage", STAGES)
def test_most_texts_are_done(finished: Finished, stage: str) -> None:
    statuses = Counter(row["status"] for row in finished.rows(stage))
    assert set(statuses) <= {"done", "failed"}
    assert statuses["done"] >= ENOUGH[stage] * statuses.total()


@pytest.mark.parametrize("stage", STAGES)
def test_the_manifest_counts_the_rows(finished: Finished, stage: str) -> None:
    rows, counts = finished.rows(stage), finished.counts(stage)
    statuses = Counter(row["status"] for row in rows)
    assert counts["texts"] == len(rows)
    assert {name: counts.get(name, 0) for name in ("done", "failed")} == {
        name: statuses[name] for name in ("done", "failed")
    }
    for used in ("calls", "input_tokens", "output_tokens"):
        assert counts[used] == sum(row[used] for row in rows) > 0


def test_running_again_asks_nothing(finished: Finished, server: Server) -> None:
    before = server.asked()
    run_line(finished.folder, finished.config)
    assert server.asked() == before


def test_another_run_of_the_same_questions_is_answered_from_the_cache(finished: Finished, server: Server) -> None:
    before = server.asked()
    other = finished.folder.with_name("other")
    run_line(other, finished.config)
    assert server.asked() == before
    for stage in STAGES:
        assert (other / f"{stage}.jsonl").read_bytes() == (finished.folder / f"{stage}.jsonl").read_bytes()


def test_the_same_model_writes_on_this_machine(model: Path, tmp_path: Path) -> None:
    """Without a server: the folder is named in the configuration, and its name alone reaches the artifacts."""
    config = tmp_path / "run.toml"
    config.write_text(f'{SMALL}[teacher]\nmodel = "{model}"\nmax_new_tokens = 200\n', "utf-8")
    run_line(tmp_path / "run", config)
    found = Finished(tmp_path / "run", config, 0)
    assert (found.folder / "report.html").is_file()
    for stage in STAGES:
        statuses = Counter(row["status"] for row in found.rows(stage))
        assert statuses["done"] >= ENOUGH[stage] * statuses.total()
        assert {row["origin"] for row in found.rows(stage) if row["status"] == "done"} == {model.name}
