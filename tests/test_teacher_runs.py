"""Runs whose teacher is a server: hostile answers, kills, budgets, a key that leaks nowhere, and true summaries."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from reasoningrec.llm.cache import Cache
from reasoningrec.rows import read_jsonl
from reasoningrec.runs import Run
from running import SMALL, Cli, alone, assert_same
from serving import Serving

KILLS = 20
IN_FLIGHT = 4
TEXTS = ("describe", "profile", "reason")


def config(folder: Path, server: Serving, name: str = "c.toml", top: str = "", **more: str) -> Path:
    """A configuration whose teacher is the server; `more` are lines for its sections."""
    lines = {
        "teacher": f'endpoint = "{server.url}"\nmodel = "m-7b"\nanswer_form = "lines"\nbackoff_seconds = 0.002\n',
        "verify": 'gates = ["length"]\n',
    }
    text = SMALL.replace("threads = 1\n", f"threads = 1\n{top}")
    for section in {*lines, *more}:
        added = lines.get(section, "") + more.get(section, "")
        if f"[{section}]\n" in text:
            text = text.replace(f"[{section}]\n", f"[{section}]\n{added}\n")
        else:
            text += f"[{section}]\n{added}\n"
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def rows(folder: Path) -> list[dict[str, object]]:
    return [row for stage in TEXTS for row in read_jsonl(folder / f"{stage}.jsonl")]


def test_two_thousand_calls_against_a_hostile_server_end_as_texts_or_as_failures(
    cli: Cli, server: Serving, tmp_path: Path
) -> None:
    server.behave(trouble=0.3)
    teacher = "timeout_seconds = 3.0\nconcurrency = 32\nretries = 8\n"
    path = config(tmp_path, server, teacher=teacher, split="train_windows = 2\n")
    path.write_text(path.read_text("utf-8").replace("users = 60", "users = 400"), "utf-8")
    answer = cli("verify", "--run", tmp_path / "run", path)
    assert answer.code == 0, answer.err
    counts, run = server.counts(), Run.read(tmp_path / "run")
    assert sum(counts.answered.values()) > 2000
    assert counts.twice == 0  # nothing was asked again whose answer had come
    written = rows(tmp_path / "run")
    failed = [row for row in written if row["status"] == "failed"]
    assert {row["status"] for row in written} == {"done", "failed"}
    for row in failed:
        assert row["error"]
        assert row["messages"]
        assert "answer" in row
    told = {name: record.counts for name, record in run.stages.items() if name in TEXTS}
    assert sum(count["failed"] for count in told.values()) == len(failed)
    assert sum(count["texts"] for count in told.values()) == len(written)
    for name, count in told.items():
        summary = f"{name}: {count['failed']:,} of {count['texts']:,} texts failed; "
        assert (summary in answer.err) is bool(count["failed"])
    assert "Traceback" not in answer.err


def test_what_failed_for_want_of_an_answer_is_asked_again_and_what_was_answered_is_not(
    cli: Cli, server: Serving, tmp_path: Path
) -> None:
    server.behave(trouble=0.3, kinds=("500",))
    path = config(tmp_path, server, teacher="retries = 0\n")
    assert "texts failed; --retry-failed asks again for" in cli("verify", "--run", tmp_path / "run", path).err
    server.behave()
    answer = cli("verify", "--run", tmp_path / "run", path, "--retry-failed")
    assert answer.code == 0
    assert "failed" not in answer.err
    assert all(row["status"] == "done" for row in rows(tmp_path / "run"))
    assert server.counts().twice == 0
    straight = config(tmp_path, server, "straight.toml", teacher="retries = 0\n")
    os.environ["REASONINGREC_CACHE"] = str(tmp_path / "other.sqlite")
    assert cli("verify", "--run", tmp_path / "straight", straight).code == 0
    assert_same(tmp_path / "run", tmp_path / "straight")


def start(forks: ForkServerContext, folder: Path, path: Path) -> BaseProcess:
    arguments = ["verify", "--run", str(folder), str(path)]
    process = forks.Process(target=alone, args=(arguments, str(folder.with_suffix(".txt"))))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    process.join(240)
    assert process.exitcode is not None
    return process.exitcode


def test_killed_twenty_times_two_runs_on_one_cache_pay_for_nothing_twice(
    forks: ForkServerContext, server: Serving, tmp_path: Path
) -> None:
    server.behave(latency=0.04, spread=0.9)  # slow enough that twenty kills come before the end
    path = config(
        tmp_path, server, top=f'cache = "{tmp_path}/shared.sqlite"\n', split="train_windows = 2\n",
        teacher=f"concurrency = {IN_FLIGHT}\n",
    )  # fmt: skip
    path.write_text(path.read_text("utf-8").replace("users = 60", "users = 320"), "utf-8")
    folders, luck = (tmp_path / "a", tmp_path / "b"), random.Random(5)
    running = {folder: start(forks, folder, path) for folder in folders}
    kills = 0
    while kills < KILLS:
        time.sleep(luck.uniform(0.3, 0.9))
        folder = luck.choice(folders)
        process = running[folder]
        if process.is_alive():
            try:
                os.killpg(process.pid or 0, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has no group of its own yet
        if ended(process) == -signal.SIGKILL:
            kills += 1
        elif all(not other.is_alive() for other in running.values()):
            break
        running[folder] = start(forks, folder, path)
    assert kills == KILLS, "the runs ended before they could be killed"
    for folder, process in running.items():
        assert ended(process) == 0, folder.with_suffix(".txt").read_text("utf-8")
    counts = server.counts()
    assert len(counts.answered) > 2000
    assert counts.twice <= KILLS * IN_FLIGHT
    straight = config(
        tmp_path, server, "straight.toml", top=f'cache = "{tmp_path}/alone.sqlite"\n', split="train_windows = 2\n"
    )
    straight.write_text(straight.read_text("utf-8").replace("users = 60", "users = 320"), "utf-8")
    assert ended(start(forks, tmp_path / "straight", straight)) == 0
    for folder in folders:
        assert_same_texts(folder, tmp_path / "straight")
    with Cache(tmp_path / "shared.sqlite") as cache:
        assert cache.verify() == []
        assert len(list(cache.entries())) == len(counts.answered)


def assert_same_texts(folder: Path, other: Path) -> None:
    """All artifacts are alike; the manifests differ by the configuration's own two lines."""
    for stage in (*TEXTS, "verify"):
        assert (folder / f"{stage}.jsonl").read_bytes() == (other / f"{stage}.jsonl").read_bytes()
        assert Run.read(folder).stages[stage] == Run.read(other).stages[stage]


def test_a_planted_key_appears_nowhere(
    cli: Cli, server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-planted-0123456789-do-not-print"
    monkeypatch.setenv("SOME_KEY", key)
    server.behave(trouble=0.4, echo=True)
    path = config(tmp_path, server, teacher='key_env = "SOME_KEY"\ntimeout_seconds = 0.5\nconcurrency = 32\n')
    said = [cli("run", "--run", tmp_path / "run", path)]
    said.append(cli("status", "--run", tmp_path / "run"))
    server.behave(trouble=1.0, kinds=("401",), echo=True)
    other = config(tmp_path, server, "other.toml", teacher='key_env = "SOME_KEY"\nmax_new_tokens = 77\n')
    said.append(cli("run", "--run", tmp_path / "other", other))
    assert [answer.code for answer in said] == [0, 0, 3]
    assert "HTTP 401" in said[-1].err
    assert server.counts().seen
    for answer in said:
        assert key not in answer.out + answer.err
    looked_at = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".sqlite" for file in looked_at)
    for file in looked_at:
        assert key.encode() not in file.read_bytes(), file
    with sqlite3.connect(tmp_path / "answers.sqlite") as base:
        assert "[key]" in json.dumps(base.execute("SELECT answer FROM answers").fetchall())


def test_the_run_stops_at_its_budget_and_goes_on_when_it_is_raised(cli: Cli, server: Serving, tmp_path: Path) -> None:
    more = {'prices."m-7b"': "input = 1000.0\noutput = 1000.0\n"}
    low = config(tmp_path, server, budget="cost = 8.0\n", teacher="max_new_tokens = 64\n", **more)
    answer = cli("verify", "--run", tmp_path / "run", low)
    assert answer.code == 3
    assert re.search(r"stopped at the budget: .* spent", answer.err)
    assert "what is done is kept" in answer.err
    counts = server.counts()
    assert 0 < (counts.input_tokens + counts.output_tokens) / 1000 <= 8.0
    again = cli("verify", "--run", tmp_path / "run", low)
    assert again.code == 3
    assert server.counts().answered == counts.answered
    high = config(tmp_path, server, "high.toml", budget="cost = 800.0\n", teacher="max_new_tokens = 64\n", **more)
    assert cli("verify", "--run", tmp_path / "run", high).code == 0
    assert server.counts().twice == 0


def gone(server: Serving) -> None:
    server.behave(trouble=1.0, kinds=("500",))


def refusing(server: Serving) -> None:
    server.behave(trouble=1.0, kinds=("refusal",))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [(gone, "20 requests in a row got no answer"), (refusing, "none of the 35 texts could be used")],
)
def test_where_nothing_can_be_had_the_run_says_so_and_goes_on_later(
    cli: Cli, server: Serving, tmp_path: Path, trouble: Callable[[Serving], None], message: str
) -> None:
    trouble(server)
    path = config(tmp_path, server, teacher="retries = 1\n")
    answer = cli("describe", "--run", tmp_path / "run", path)
    assert answer.code == 3
    assert message in answer.err
    assert "hint:" in answer.err
    assert "Traceback" not in answer.err
    server.behave()
    if trouble is gone:
        assert cli("describe", "--run", tmp_path / "run", path).code == 0
        assert all(row["status"] == "done" for row in read_jsonl(tmp_path / "run" / "describe.jsonl"))


def test_a_dry_run_asks_nothing_and_its_calls_are_those_that_follow(cli: Cli, server: Serving, tmp_path: Path) -> None:
    path = config(tmp_path, server, **{'prices."m-7b"': "input = 1.0\noutput = 2.0\n"})
    told = cli("run", "--run", tmp_path / "run", path, "--dry-run")
    assert told.code == 0, told.err
    assert server.counts().seen == {}
    assert not (tmp_path / "answers.sqlite").exists()
    calls = {row.split()[0]: int(row.split()[5]) for row in told.out.splitlines() if row.startswith(("desc", "prof"))}
    assert cli("profile", "--run", tmp_path / "run", path).code == 0
    assert sum(calls.values()) == sum(server.counts().answered.values())
    after = cli("profile", "--run", tmp_path / "run", "--dry-run")
    row = next(row for row in after.out.splitlines() if row.startswith("profile"))
    assert row.split()[1:6] == ["m-7b", str(calls["profile"]), str(calls["profile"]), "0", "0"]


def test_a_dry_run_changes_nothing_in_a_finished_run(
    cli: Cli, server: Serving, tmp_path: Path, small_run: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_run, folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    path = config(tmp_path, server, split="train_windows = 2\n")
    told = cli("run", "--run", folder, path, "--dry-run")
    assert told.code == 0, told.err
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    both = cli("run", "--run", folder, path, "--dry-run", "--retry-failed")
    assert both.code == 2
    assert "goes not with --retry-failed" in both.err


def test_a_missing_key_of_the_judge_is_told_before_anything_is_paid(cli: Cli, server: Serving, tmp_path: Path) -> None:
    judge = f'endpoint = "{server.url}"\nmodel = "j"\nkey_env = "NOT_SET_ANYWHERE"\n'
    answer = cli("run", "--run", tmp_path / "run", config(tmp_path, server, judge=judge))
    assert answer.code == 2
    assert "NOT_SET_ANYWHERE is not set" in answer.err
    assert server.counts().seen == {}


def test_a_prompt_that_cannot_be_read_is_told_before_anything_is_paid(
    cli: Cli, server: Serving, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "judge.md").write_text("One\n{% if %}\n", "utf-8")
    answer = cli("run", "--run", tmp_path / "run", config(tmp_path, server, texts='prompts = "mine"\n'))
    assert answer.code == 2
    assert "judge.md:2" in answer.err
    assert server.counts().seen == {}


def test_names_with_brackets_are_shown_as_they_are(cli: Cli, server: Serving, tmp_path: Path) -> None:
    path = config(tmp_path, server)
    path.write_text(path.read_text("utf-8").replace("m-7b", "m[/b][beta]"), "utf-8")
    assert "m[/b][beta]" in cli("describe", "--run", tmp_path / "x[1]", path, "--dry-run").out
    assert cli("describe", "--run", tmp_path / "x[1]", path).code == 0
    assert "x[1]: demo" in cli("status", "--run", tmp_path / "x[1]").out


def test_a_second_run_takes_every_answer_from_the_cache(cli: Cli, server: Serving, tmp_path: Path) -> None:
    path = config(tmp_path, server)
    assert cli("verify", "--run", tmp_path / "one", path).code == 0
    server.forget()
    assert cli("verify", "--run", tmp_path / "two", path).code == 0
    assert server.counts().seen == {}
    assert_same(tmp_path / "one", tmp_path / "two")
    spent = Run.read(tmp_path / "two").times()["describe"]["spent"]
    assert (spent["asked"], spent["cached"]) == (0, 35)
    assert "paid in all" not in cli("status", "--run", tmp_path / "two").out


def test_status_says_what_the_server_was_paid_for(cli: Cli, server: Serving, tmp_path: Path) -> None:
    path = config(tmp_path, server, **{'prices."m-7b"': "input = 1000.0\noutput = 1000.0\n"})
    assert cli("verify", "--run", tmp_path / "run", path).code == 0
    counts = server.counts()
    calls, cost = sum(counts.answered.values()), (counts.input_tokens + counts.output_tokens) / 1000
    tokens = f"{counts.input_tokens:,} tokens in, {counts.output_tokens:,} out"
    line = f"paid in all: m-7b: {calls:,} calls, {tokens}, cost {cost:,.2f}"
    assert line in cli("status", "--run", tmp_path / "run").out
