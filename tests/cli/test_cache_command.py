"""`reasoningrec cache show | verify | export | prune`, and that reading writes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Answer, Usage
from running import Cli

DAY = 86_400
NEW_YEAR = 1_767_225_600
"""2026-01-01, in unix seconds."""


def asking(number: int, model: str = "m") -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Question {number}?"}]
    return {"endpoint": "http://here/v1", "model": model, "messages": messages, "temperature": 0.0}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with four answers of m, one a day from new year's day, and one of another; one request is out."""
    path = tmp_path / "answers.sqlite"
    with Cache(path) as cache:
        for number in range(4):
            monkeypatch.setattr("time.time", lambda number=number: NEW_YEAR + number * DAY)
            answer = Answer(f"Answer {number}.", "Let me [see].", "stop", Usage(1, 100, 10), 1.0)
            cache.put(key_of(asking(number)), asking(number), answer, "run")
        monkeypatch.undo()
        other = asking(4, "other/model")
        cache.put(key_of(other), other, Answer("no", error="the model refuses", usage=Usage(1, 7, 3)), "run")
        cache.batch([(key_of(asking(5)), asking(5))], "run")
    return path


def damage(path: Path, statement: str) -> None:
    base = sqlite3.connect(path)
    with base:
        base.execute(statement)
    base.close()


def test_show_counts_by_server_and_model(cli: Cli, file: Path) -> None:
    shown = cli("cache", "show", "--cache", file)
    assert shown.code == 0, shown.err
    assert "answers 5, being asked now 0" in shown.out
    assert (
        "m on http://here/v1\n  answers 4 from 2026-01-01 to 2026-01-04\n  tokens 400 in, 40 out\n  out in batches 1\n"
    ) in shown.out
    assert "other/model on http://here/v1\n  answers 1 from " in shown.out


def test_the_usual_file_is_that_of_the_environment(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONINGREC_CACHE", str(file))
    assert "answers 5" in cli("cache", "show").out


def test_show_counts_what_is_being_asked(cli: Cli, file: Path) -> None:
    with Cache(file) as other:
        other.claim(key_of(asking(6)))
        assert "being asked now 1" in cli("cache", "show", "--cache", file).out
    assert "being asked now 0" in cli("cache", "show", "--cache", file).out


def test_show_prints_one_entry_whole(cli: Cli, file: Path) -> None:
    key = key_of(asking(2))
    for prefix in (key, key[:12], key.removeprefix("v1:")[:9]):
        shown = cli("cache", "show", prefix, "--cache", file)
        assert shown.code == 0, shown.err
        for part in (
            key,
            "2026-01-03 00:00:00 UTC",
            "tokens 100 in, 10 out",
            "user\nQuestion 2?",
            '"temperature": 0.0',
        ):
            assert part in shown.out
        assert "thinking\nLet me [see]." in shown.out
        assert shown.out.endswith("answer\nAnswer 2.\n")
    assert (
        "cannot be used: the model refuses"
        in cli("cache", "show", key_of(asking(4, "other/model")), "--cache", file).out
    )


def test_show_prints_what_is_out(cli: Cli, file: Path) -> None:
    shown = cli("cache", "show", key_of(asking(5)), "--cache", file)
    assert "is out in a batch" in shown.out
    assert "Question 5?" in shown.out


def test_export_writes_every_entry(cli: Cli, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    assert cli("cache", "export", target, "--cache", file).out == f"wrote {target}: 5 answers\n"
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    assert all(key_of(row["request"]) == row["key"] for row in rows)
    row = next(row for row in rows if row["key"] == key_of(asking(0)))
    assert row["answer"] == {"text": "Answer 0.", "thinking": "Let me [see].", "finish": "stop", "error": ""}
    assert (row["model"], row["made"], row["input_tokens"]) == ("m", "2026-01-01T00:00:00+00:00", 100)


def test_export_is_whole_or_not_at_all(cli: Cli, file: Path, tmp_path: Path) -> None:
    damage(file, f"UPDATE answers SET answer = 'x' WHERE key = '{key_of(asking(3))}'")
    answer = cli("cache", "export", tmp_path / "all.jsonl", "--cache", file)
    assert answer.code == 2
    assert "cannot be read" in answer.err
    assert not (tmp_path / "all.jsonl").exists()
    assert not list(tmp_path.glob(".tmp*"))


def test_verify_finds_nothing_wrong(cli: Cli, file: Path) -> None:
    answer = cli("cache", "verify", "--cache", file)
    assert (answer.code, answer.out) == (0, "every key is right\n")


def test_verify_lists_what_is_wrong(cli: Cli, file: Path) -> None:
    damage(file, f"UPDATE answers SET request = replace(request, '?', '!') WHERE key = '{key_of(asking(1))}'")
    damage(file, f"UPDATE answers SET answer = '{{}}' WHERE key = '{key_of(asking(2))}'")
    damage(file, "UPDATE batched SET request = 'x'")
    answer = cli("cache", "verify", "--cache", file)
    assert answer.code == 3
    for number, wrong in ((1, "is not the key of its request"), (2, "its answer cannot be read")):
        assert f"{key_of(asking(number))[:15]}: {wrong}" in answer.out
    assert f"{key_of(asking(5))[:15]}: is not the key" in answer.out
    assert "3 problems found" in answer.out


def test_prune_by_date_and_model(cli: Cli, file: Path) -> None:
    answer = cli("cache", "prune", "--before", "2026-01-03", "--yes", "--cache", file)
    assert answer.code == 0, answer.err
    assert "2 answers from before 2026-01-03\nremoved: 2 answers" in answer.out
    assert "removed: 1 answer\n" in cli("cache", "prune", "--model", "other/model", "--yes", "--cache", file).out
    assert cli("cache", "prune", "--model", "m", "--before", "2026-01-04", "--yes", "--cache", file).code == 0
    with Cache(file) as cache:
        assert [entry.key for entry in cache.entries()] == [key_of(asking(3))]
        assert list(cache.batched()) == [key_of(asking(5))]


def test_prune_by_days(cli: Cli, file: Path) -> None:
    answer = cli("cache", "prune", "--before", "36500d", "--yes", "--cache", file)
    assert answer.code == 0
    assert "nothing was removed" in answer.out
    assert "removed: 4 answers" in cli("cache", "prune", "--before", "30d", "--yes", "--cache", file).out


@pytest.mark.parametrize(("typed", "left"), [("y\n", 1), ("n\n", 5), ("\n", 5), ("", 5)])
def test_prune_asks(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch, typed: str, left: int) -> None:
    terminal = io.StringIO(typed)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    answer = cli("cache", "prune", "--model", "m", "--cache", file)
    assert answer.code == 0
    assert "4 answers of m\nRemove them? [y/N]" in answer.out
    with Cache(file) as cache:
        assert len(list(cache.entries())) == left


def test_prune_leaves_what_is_being_asked(cli: Cli, file: Path) -> None:
    damage(file, f"INSERT INTO claims VALUES ('{key_of(asking(0))}', 'somebody')")
    assert "removed: 3 answers" in cli("cache", "prune", "--model", "m", "--yes", "--cache", file).out


def digests(folder: Path) -> dict[str, bytes]:
    """Of all files but the one in which SQLite notes who reads."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.endswith("-shm"))
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in files}


READING = [["show"], ["show", "v1:"], ["verify"], ["prune", "--model", "m"]]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
@pytest.mark.parametrize("opened", [False, True], ids=["closed", "open elsewhere"])
def test_reading_leaves_the_folder_as_it_was(cli: Cli, file: Path, arguments: list[str], opened: bool) -> None:
    other = Cache(file) if opened else None
    before, stamp = digests(file.parent), file.stat().st_mtime_ns
    cli("cache", *arguments, "--cache", file)
    assert digests(file.parent) == before
    assert arguments[0] == "prune" or file.stat().st_mtime_ns == stamp
    if other:
        other.close()


Make = Callable[[Path], list[Any]]


def foreign(folder: Path) -> Path:
    damage(folder / "other.sqlite", "CREATE TABLE people (name TEXT)")
    return folder / "other.sqlite"


def newer(folder: Path) -> Path:
    damage(folder / "answers.sqlite", "PRAGMA user_version=99")
    return folder / "answers.sqlite"


def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text(
        "Dear diary, this is no database at all, and long enough to be read as one.\n" * 9
    )
    return folder / "notes.txt"


BAD: list[tuple[str, Make]] = [
    (r"gone\.sqlite: there is no cache\n.*--cache", lambda p: ["show", "--cache", p / "gone.sqlite"]),
    (r"is a folder, not a cache", lambda p: ["show", "--cache", p]),
    (r"notes\.txt: file is not a database", lambda p: ["show", "--cache", text(p)]),
    (r"notes\.txt: file is not a database", lambda p: ["verify", "--cache", text(p)]),
    (r"other\.sqlite: is a database, but no cache of answers", lambda p: ["verify", "--cache", foreign(p)]),
    (r"other\.sqlite: is a database, but no cache", lambda p: ["prune", "--model", "m", "--cache", foreign(p)]),
    (r"was made by a newer version of the package", lambda p: ["show", "--cache", newer(p)]),
    (r"KEY: no entry of .*answers\.sqlite begins with 'v1:zz'", lambda p: ["show", "zz"]),
    (r"KEY: more than one begins with 'v1:': v1:\w+, .*\n.*Write more of it", lambda p: ["show", "v1:"]),
    (r"all\.jsonl: exists already", lambda p: [(p / "all.jsonl").touch(), "export", p / "all.jsonl"][1:]),
    (r"nowhere: no such folder", lambda p: ["export", p / "nowhere" / "all.jsonl"]),
    (r"--before, --model: at least one is needed", lambda p: ["prune"]),
    (r"--before: 'soon' is neither a date nor a number of days\n.*2026-01-31", lambda p: ["prune", "--before", "soon"]),
    (r"--before: '999999999999d' is neither", lambda p: ["prune", "--before", "999999999999d"]),
    (r"holds no answers of 'gpt'\n.*It holds: m, other/model", lambda p: ["prune", "--model", "gpt"]),
    (r"--yes: is needed where nobody can be asked", lambda p: ["prune", "--model", "m"]),
    (r"Missing argument 'file'", lambda p: ["export"]),
]


@pytest.mark.parametrize(("says", "arguments"), BAD, ids=[says for says, _ in BAD])
def test_bad_input_is_told_in_one_message(
    cli: Cli, file: Path, says: str, arguments: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REASONINGREC_CACHE", str(file))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = cli("cache", *arguments(file.parent))
    assert answer.code == 2, answer.err
    assert re.search(says, answer.err), answer.err
    assert "Traceback" not in answer.err
