"""What a person sees while a run works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from reasoningrec.cli import progress
from reasoningrec.cli.progress import Screen, in_words
from reasoningrec.errors import DataError
from reasoningrec.runs import StagePlan


def told(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int = 80) -> tuple[Screen, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, color_system="truecolor" if terminal else None)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    return Screen(), stream


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stream = told(monkeypatch, terminal=False)
    with screen:
        screen.begun(StagePlan("describe", "fresh", "v1:a"))
        screen.moved(1, 3)
        screen.ended("describe", {"texts": 1234, "failed": 0})
        screen.begun(StagePlan("train", "done", "v1:b"))
        screen.ended("train", {"rows": 9, "steps": 4, "valid_auc": 0.81239})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"  describe +\d+\.\d s  texts 1,234", lines[0])
    assert lines[1] == "  train     done before  rows 9, valid auc 0.8124"
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", stream.getvalue())


def test_a_long_stage_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stream = told(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with screen:
        screen.begun(StagePlan("train", "fresh", "v1:a"))
        screen.moved(20, 3000)
    assert "  train: 20 of 3,000\n" in stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stream = told(monkeypatch, terminal=True)
    with screen:
        screen.begun(StagePlan("train", "fresh", "v1:a"))
        screen.moved(20, 3000)
        screen._bars.refresh()
        screen.ended("train", {"rows": 9})
    assert "20/3000" in stream.getvalue()
    assert "✓" in stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_on_a_terminal_fit_it(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen, stream = told(monkeypatch, terminal=True, width=width)
    with screen:
        screen.begun(StagePlan("verify", "done", "v1:a"))
        screen.ended("verify", {f"dropped_for_reason_{n}": n for n in range(1, 9)})
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert all(len(line) <= width for line in text.splitlines())
    assert "dropped for reason 8 8" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (StagePlan("train", "changed", "v1:a", changed=("epochs", "seed")), "because of a change in epochs, seed"),
        (StagePlan("train", "fresh", "v1:a", missing=("train/card.json",)), "because files are gone: train/card.json"),
        (StagePlan("train", "resume", "v1:a"), "train: goes on where it stopped"),
    ],
)
def test_why_a_stage_works_again_is_said(monkeypatch: pytest.MonkeyPatch, plan: StagePlan, says: str) -> None:
    screen, stream = told(monkeypatch, terminal=False)
    with screen:
        screen.begun(plan)
    assert says in stream.getvalue()


@pytest.mark.parametrize(("error", "how"), [(KeyboardInterrupt, "interrupted"), (OSError, "stopped")])
def test_what_was_cut_short_is_named(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], how: str) -> None:
    screen, stream = told(monkeypatch, terminal=False)
    screen.__enter__()
    screen.begun(StagePlan("reason", "fresh", "v1:a"))
    screen.__exit__(error, error(), None)
    assert f"{how} in reason; what is done is kept: the same command goes on from here" in stream.getvalue()


def test_a_mistake_in_the_input_is_left_to_its_own_message(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stream = told(monkeypatch, terminal=False)
    screen.__enter__()
    screen.begun(StagePlan("data", "fresh", "v1:a"))
    screen.__exit__(DataError, DataError("r.csv:3: rating"), None)
    assert stream.getvalue() == ""


def test_counts_in_words() -> None:
    assert (
        in_words({"bad_rows": 2, "users": 12345, "valid_auc": 0.71236}) == "bad rows 2, users 12,345, valid auc 0.7124"
    )
