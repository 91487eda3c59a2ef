"""What `recommend`, `explain` and `demo` print, for people and for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reasoningrec.cli.ask import _print
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.records import Recommendation
from reasoningrec.runs import Run
from running import Cli

KEYS = {
    *("user", "item", "title", "prediction", "probability"),
    *("student_probability", "explanation", "citations", "evidence"),
}


@pytest.fixture(scope="module")
def user(small_run: Path) -> str:
    """The one with the most items left to recommend."""
    rows = Workspace(small_run, config_of(Run.read(small_run))).corpus.interactions
    counts = rows.group_by("user").len().sort("len", "user")
    return str(counts["user"][0])


def test_recommend_prints_a_list_for_programs(cli: Cli, small_run: Path, user: str) -> None:
    answer = cli("recommend", "--run", small_run, "--user", user, "--top", 3, "--json")
    found = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert len(found) == 3
    for one in found:
        assert set(one) == KEYS
        assert one["user"] == user
        assert one["prediction"] in ("Yes", "No")
        assert 0 <= one["probability"] <= 1
        assert set(one["citations"]) <= set(one["evidence"])
        assert set(re.findall(r"\[([A-Z]\d*)\]", one["explanation"])) == set(one["citations"])


def test_explain_prints_one_object_for_programs(cli: Cli, small_run: Path, user: str) -> None:
    found = json.loads(cli("explain", "--run", small_run, "--user", user, "--item", "i0001", "--json").out)
    assert set(found) == KEYS
    assert (found["user"], found["item"]) == (user, "i0001")


def test_people_get_the_same_answer_as_programs(cli: Cli, small_run: Path, user: str) -> None:
    arguments = ("recommend", "--run", small_run, "--user", user, "--top", 2)
    found, shown = json.loads(cli(*arguments, "--json").out), cli(*arguments).out
    assert f"For user {user}. Yes means a probability of at least" in shown
    flat = re.sub(r"[\s│╭╮╰╯─]+", " ", shown)
    for place, one in enumerate(found, 1):
        title = f"{place}. {one['title']} ({one['item']}): {one['prediction']}, {one['probability']:.0%}"
        assert title in flat
        assert one["explanation"] in flat
        for id in one["citations"]:
            assert f"[{id}] {one['evidence'][id]}" in flat


def test_what_is_piped_has_no_control_characters(cli: Cli, small_run: Path, user: str) -> None:
    answer = cli("explain", "--run", small_run, "--user", user, "--item", "i0001")
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", answer.out + answer.err)


def test_panels_fit_the_terminal(cli: Cli, small_run: Path, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (60, 80, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = cli("recommend", "--run", small_run, "--user", user, "--top", 1).out.splitlines()
        assert max(map(len, lines)) <= min(columns, 110)


@pytest.mark.parametrize("item", ["i1", "i" * 64])
def test_a_long_title_leaves_room_for_the_answer(
    item: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = Recommendation(
        user="u", item=item, title="A title of many words " * 20, prediction="Yes", probability=0.93,
        student_probability=0.9, explanation="So.", citations=(), evidence={},
    )  # fmt: skip
    _print([answer], 0.5, numbered=True)
    headline = next(line for line in capsys.readouterr().out.splitlines() if "╭" in line)
    assert "1. A title" in headline
    assert "Yes, 93%" in headline
    assert len(headline) <= 80


def test_demo_ends_with_five_recommendations_and_the_report(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reasoningrec import config
    from running import SMALL

    path = tmp_path / "small.toml"
    path.write_text(SMALL.replace("users = 60", "users = 100"), "utf-8")
    small = config.read(path)
    monkeypatch.setattr("reasoningrec.config.Config", lambda **_: small)
    folder = tmp_path / "demo"
    answer = cli("demo", "--run", folder)
    assert answer.code == 0, answer.err
    assert re.findall(r"╭─ (\d)\. ", answer.out) == ["1", "2", "3", "4", "5"]
    assert f"report: {folder / 'report.html'}" in answer.out
    following = re.search(r"next: +reasoningrec (.*)", answer.out)
    assert following
    assert cli(*following[1].split()).code == 0
