"""A trained student that real servers answer for, as an adapter and as a whole model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import launch
import speakers
from reasoningrec.rows import read_jsonl
from running import SMALL
from small_model import make_model, make_tokenizer

COMPLETIONS = "/completions"
NEAR = 1e-2
"""P(Yes) of the two may be so far apart: the bound of a quantised cache; in float32 they are nearer."""
SECTION = """[student]
endpoint = "{url}"
model = "{model}"
"""
WAYS = ("vllm-adapter", "vllm-whole", "llamacpp-whole")


def command(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    whole = [sys.executable, "-m", "reasoningrec", *arguments]
    env = {**os.environ, "REASONINGREC_CACHE": str(cache)}
    return subprocess.run(whole, env=env, capture_output=True, text=True, timeout=600, check=False)


def do(*arguments: str, cache: Path) -> str:
    done = command(*arguments, cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Trained:
    """A run up to its trained student, with all that servers need of it."""

    place: Path
    base: Path
    adapter: Path
    whole: Path

    def config(self, name: str, section: str = "") -> Path:
        path = self.place / f"{name}.toml"
        text = SMALL.replace("max_tokens = 320", f'base = "{self.base}"\nmax_tokens = 1000\n')
        text = text.replace("explain = 24", "explain = 8\ntries = 2").replace(
            "max_new_tokens = 64", "max_new_tokens = 48"
        )
        path.write_text(text + section, "utf-8")
        return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("student")
    base = place / "base"
    tokenizer = make_tokenizer(speakers.texts(), 900)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        model = make_model(tokenizer)
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.06)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    made = Trained(place, base, place / "adapter", place / "whole")
    cache = place / "none.sqlite"
    do("run", "--run", str(place / "here"), str(made.config("here")), cache=cache)
    do("student", "export", "--run", str(place / "here"), str(made.adapter), cache=cache)
    do("student", "export", "--run", str(place / "here"), str(made.whole), "--merge", cache=cache)
    return made


@dataclass(frozen=True)
class Finished:
    """A run whose student a server answered for."""

    server: launch.Server
    folder: Path
    config: Path
    cache: Path
    asked: int

    def do(self, *arguments: str) -> str:
        return do(*arguments, cache=self.cache)


def say(*values: object) -> None:
    """Shown with -s: what was measured."""
    sys.stdout.write(" ".join(map(str, values)) + "\n")


def chances(folder: Path) -> dict[str, float | None]:
    rows: Iterator[dict[str, Any]] = read_jsonl(folder / "predict" / "predictions.jsonl")
    return {row["query_id"]: row["probability"] for row in rows if row["method"] == "student"}


@pytest.fixture(scope="module", params=WAYS)
def finished(
    request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    kind = request.param
    place = tmp_path_factory.mktemp(kind)
    how, served, name = launch.vllm, trained.whole, launch.NAME
    if kind == "vllm-adapter":
        how, served, name = launch.vllm_with(trained.adapter), trained.base, launch.ADAPTER
    elif kind == "llamacpp-whole":
        how, served = launch.llamacpp_logprobs, place / "whole.gguf"
        python = launch.ROOT / ".venv-llamacpp/bin/python"
        subprocess.run([python, Path(__file__).parent / "to_gguf.py", "write", trained.whole, served], check=True)
    with launch.serving(how, served, place) as server:
        config = trained.config(kind, SECTION.format(url=server.url, model=name))
        folder, cache = place / "run", place / "answers.sqlite"
        shutil.copytree(trained.place / "here", folder)
        do("run", "--run", str(folder), str(config), cache=cache)
        yield Finished(server, folder, config, cache, server.asked(COMPLETIONS))


def test_p_yes_is_that_of_the_weights_on_this_machine(finished: Finished, trained: Trained) -> None:
    here, there = chances(trained.place / "here"), chances(finished.folder)
    assert here.keys() == there.keys()
    assert len(here) > 50
    assert None not in there.values()
    apart = [abs(here[id] - there[id]) for id in here]
    spread = max(here.values()) - min(here.values())
    say(f"\n{finished.folder.parent.name}: {len(apart)} queries, at most {max(apart):.2e} apart; spread {spread:.2f}")
    assert max(apart) < min(NEAR, spread / 20)


def test_the_line_ends_in_a_report_with_the_student_s_texts(finished: Finished) -> None:
    assert (finished.folder / "report.html").is_file()
    stages = json.loads((finished.folder / "manifest.json").read_text("utf-8"))["stages"]
    say("\n", stages["score"]["counts"], stages["predict"]["counts"])
    assert stages["score"]["counts"]["invalid"] == 0
    assert stages["predict"]["counts"]["explained"] == 8


def test_a_second_run_asks_nothing(finished: Finished) -> None:
    before = finished.server.asked(COMPLETIONS)
    other = finished.folder.with_name("other")
    shutil.copytree(finished.folder, other)
    finished.do("run", "--run", str(other), str(finished.config))
    (other / "predict" / "predictions.jsonl").unlink()
    shutil.rmtree(other)
    assert finished.server.asked(COMPLETIONS) == before > 0


def test_candidates_of_a_user_hit_the_prefix_cache(finished: Finished) -> None:
    if finished.server.kind == "llamacpp_logprobs":
        pytest.skip("counts no hits")
    users = sorted({row["user"] for row in read_jsonl(finished.folder / "predict" / "predictions.jsonl")})
    names = ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")
    before = [finished.server.metric(name) for name in names]
    for user in users[:3]:
        finished.do("recommend", "--run", str(finished.folder), "--user", user, "--top", "1", "--json")
    hits, queries = (finished.server.metric(name) - was for name, was in zip(names, before, strict=True))
    say(f"\n{hits:.0f} of {queries:.0f} tokens of prompts were in the prefix cache")
    assert hits > 0.2 * queries > 0


def test_the_check_tells_the_student_from_its_base(finished: Finished, trained: Trained) -> None:
    said = finished.do("student", "check", "--run", str(finished.folder))
    say("\n", said)
    if finished.server.kind == "vllm_lora":
        other = finished.folder.with_name("base")
        shutil.copytree(finished.folder, other)
        config = trained.config("base", SECTION.format(url=finished.server.url, model=launch.NAME))
        told = command("score", "--run", str(other), str(config), cache=finished.cache)
        assert told.returncode == 3, "a base at random names neither word"
        assert "not one of 120 answers is Yes or No" in told.stderr
        wrong = command("student", "check", "--run", str(other), cache=finished.cache)
        assert wrong.returncode == 3
        assert "answers otherwise" in wrong.stderr
