"""Every look at a test set is noted, and what is noted is never lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reasoningrec.errors import RunError
from reasoningrec.pipeline.looks import commit_of, looks, mark
from reasoningrec.rows import line_of
from running import Cli


def test_a_look_is_noted_each_time_test_figures_are_computed(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy)
    first = looks(copy)[0]
    (copy / "looks.jsonl").write_bytes(line_of(first))  # the run is shared, and others may have looked
    assert (first["dataset"], first["protocol"], first["seed"]) == ("demo", "honest", 0)
    assert first["methods"] > 5
    assert first["command"]
    assert cli("evaluate", "--run", copy).code == 0
    assert len(looks(copy)) == 1  # nothing to compute, so nobody looked
    (copy / "evaluate.json").unlink()
    assert cli("evaluate", "--run", copy).code == 0
    again = looks(copy)
    assert again[0] == first
    assert len(again) == 2
    assert again[1]["test"] == first["test"]


def test_who_compares_audits_or_draws_a_curve_has_looked_too(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy)
    (copy / "looks.jsonl").unlink()
    assert cli("compare", copy).code == 0
    assert cli("audit", "--run", copy, "--sample", 4).code == 0
    assert cli("student", "curve", "--run", copy, "--shots", 16, "--seeds", 1, "--queries", 20).code == 0
    found = looks(copy)
    assert [look["by"] for look in found] == ["compare", "audit", "curve", "curve"]  # untrained, and of 16 rows
    first = looks(small_run)[0]
    assert found[0]["test"] == found[1]["test"] == first["test"] != found[2]["test"]


def test_a_look_that_cannot_be_noted_is_told_and_taken(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy)
    (copy / "looks.jsonl").unlink()
    (copy / "looks.jsonl").mkdir()
    for command in (("compare", copy), ("audit", "--run", copy, "--sample", 4)):
        answer = cli(*command)
        assert answer.code == 0, answer.err
        assert "run: this look at its test set is not noted: Is a directory" in answer.out


def test_a_line_cut_short_costs_no_other_and_is_named(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy)
    (copy / "looks.jsonl").write_bytes(b'{"half')
    assert cli("compare", copy).code == 0
    with pytest.raises(RunError, match=r"looks.jsonl.*line 1(.|\n)*Mend that line"):
        looks(copy)
    whole = (copy / "looks.jsonl").read_bytes().splitlines()[1]
    (copy / "looks.jsonl").write_bytes(whole + b"\n")
    assert [look["by"] for look in looks(copy)] == ["compare"]


def test_a_run_that_was_never_evaluated_has_none(tmp_path: Path) -> None:
    assert looks(tmp_path) == []


def test_the_mark_is_of_queries_and_labels_alone() -> None:
    one = mark({"a": True, "b": False})
    assert mark({"b": False, "a": True}) == one
    assert mark({"b": True, "a": True}) != one


def test_the_commit_is_read_where_there_is_one(tmp_path: Path) -> None:
    package, git = tmp_path / "src" / "package", tmp_path / ".git"
    package.mkdir(parents=True)
    assert commit_of(package) == ""
    (git / "refs" / "heads").mkdir(parents=True)
    assert commit_of(package) == ""
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\n0123456789abcdef refs/heads/main\n")
    assert commit_of(package) == "0123456789ab"
    (git / "refs" / "heads" / "main").write_text("fedcba98765432100\n")
    assert commit_of(package) == "fedcba987654"
    (git / "HEAD").write_text("aaaabbbbccccdddd\n")
    assert commit_of(package) == "aaaabbbbcccc"
