"""`reasoningrec recommend | explain | demo`: answers for people, and with --json for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from reasoningrec.recommender import Recommender
    from reasoningrec.records import Recommendation

RUN = typer.Option(..., "--run", help="The run's folder.")
JSON = typer.Option(False, "--json", help="Print JSON, for programs.")
CITATION = r"\[(?:T|[HUC]\d+)\]"
WIDEST = 110
"""Columns of a panel at most: longer lines are hard to read."""
FRAME = 6
"""Of them, those of its frame on both sides of the headline."""


def recommend(
    folder: Path = RUN,
    user: str = typer.Option(..., help="Whom to recommend to."),
    top: int = typer.Option(5, min=1, help="How many items."),
    as_json: bool = JSON,
) -> None:
    """Print the items a user will most likely like, each with its reasons."""
    opened = _open(folder)
    answers = opened.recommend(user, top)
    if as_json:
        _print_json([_plain(answer) for answer in answers])
    else:
        _print(answers, opened.threshold, numbered=True)


def explain(
    folder: Path = RUN,
    user: str = typer.Option(..., help="Whom to ask about."),
    item: str = typer.Option(..., help="The item's id."),
    as_json: bool = JSON,
) -> None:
    """Say whether a user will like an item, how sure that is, and why."""
    opened = _open(folder)
    answer = opened.explain(user, item)
    if as_json:
        _print_json(_plain(answer))
    else:
        _print([answer], opened.threshold, numbered=False)


def demo(folder: Path = typer.Option(Path("runs/demo"), "--run", help="The run's folder.")) -> None:
    """Run the whole line on a made shop, offline, and print five explained recommendations."""
    from reasoningrec.cli.progress import Screen
    from reasoningrec.config import Config, DataConfig, SplitConfig
    from reasoningrec.pipeline.line import run_line
    from reasoningrec.recommender import Recommender

    config = Config(
        name="demo", item_word="product", data=DataConfig(source="demo"), split=SplitConfig(train_windows=3)
    )
    with Screen() as screen:
        run_line(folder, config, screen)
    opened = Recommender.open(folder)
    user = opened.users[0]
    answers = opened.recommend(user, 5)
    _print(answers, opened.threshold, numbered=True)
    console = Console()
    for line in (
        f"report: {folder / 'report.html'}",
        f"next:   reasoningrec explain --run {folder} --user {user} --item {answers[0].item}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _open(folder: Path) -> Recommender:
    from reasoningrec.runs import Run

    Run.read(folder).require("predict")  # a wrong folder is told at once, before the slow imports
    from reasoningrec.recommender import Recommender

    return Recommender.open(folder)


def _plain(answer: Recommendation) -> dict[str, Any]:
    from reasoningrec.rows import to_row

    return to_row(answer)


def _print_json(value: Any) -> None:
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))


def _print(answers: Sequence[Recommendation], threshold: float, *, numbered: bool) -> None:
    console = Console()
    user = Text.assemble("\nFor user ", (answers[0].user, "bold"), ". ")
    console.print(user.append(f"Yes means a probability of at least {threshold:.0%}, chosen on valid.\n", "dim"))
    for place, answer in enumerate(answers, 1):
        width = min(console.width, WIDEST)
        item = Text(answer.item)
        item.truncate(width // 2, overflow="ellipsis")
        decision = Text.assemble(" (", item, "): ")
        decision.append(answer.prediction, "bold green" if answer.prediction == "Yes" else "bold red")
        decision.append(f", {answer.probability:.0%}")
        title = Text(f"{place}. " if numbered else "").append(answer.title, "bold")
        title.truncate(max(1, width - decision.cell_len - FRAME), overflow="ellipsis")
        title.append_text(decision)
        why = Text(answer.explanation)
        why.highlight_regex(CITATION, "bold cyan")
        lines = Table.grid(padding=(0, 1))
        for id in answer.citations:
            lines.add_row(Text(f"  [{id}]", "bold cyan"), Text(answer.evidence[id], "dim"))
        console.print(Panel(Group(why, lines), title=title, title_align="left", width=width))
