"""`reasoningrec recommend | explain | demo`: answers for people, and with --json for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

RUN = typer.Option(..., "--run", help="The run's folder.")
JSON = typer.Option(False, "--json", help="Print JSON, for programs.")


def recommend(
    folder: Path = RUN,
    user: str = typer.Option(..., help="Whom to recommend to."),
    top: int = typer.Option(5, help="How many items."),
    as_json: bool = JSON,
) -> None:
    """Print the items a user will most likely like, each with its reasons."""
    from reasoningrec.recommender import Recommender

    opened = Recommender.open(folder)
    _print(opened.recommend(user, top), opened.threshold, as_json=as_json)


def explain(
    folder: Path = RUN,
    user: str = typer.Option(..., help="Whom to ask about."),
    item: str = typer.Option(..., help="The item's id."),
    as_json: bool = JSON,
) -> None:
    """Say whether a user will like an item, how sure that is, and why."""
    from reasoningrec.recommender import Recommender

    opened = Recommender.open(folder)
    answers = [opened.explain(user, item)]
    if as_json:
        typer.echo(json.dumps(_plain(answers[0]), ensure_ascii=False, indent=2))
    else:
        _print(answers, opened.threshold, as_json=False)


def demo(folder: Path = typer.Option(Path("runs/demo"), "--run", help="The run's folder.")) -> None:
    """Run the whole line on a made shop, offline, and print five explained recommendations."""
    from reasoningrec.cli.progress import Screen
    from reasoningrec.config import Config, DataConfig
    from reasoningrec.pipeline.line import run_line
    from reasoningrec.recommender import Recommender

    config = Config(name="demo", item_word="product", data=DataConfig(source="demo"))
    with Screen() as screen:
        run_line(folder, config, screen)
    opened = Recommender.open(folder)
    user = opened.users[0]
    _print(opened.recommend(user, 5), opened.threshold, as_json=False)
    console = Console()
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(
        f"next:   reasoningrec explain --run {folder} --user {user} --item i0001", highlight=False, soft_wrap=True
    )


def _plain(answer: Any) -> dict[str, Any]:
    from reasoningrec.rows import to_row

    return to_row(answer)


def _print(answers: Sequence[Any], threshold: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_plain(answer) for answer in answers], ensure_ascii=False, indent=2))
        return
    console = Console()
    console.print(
        f"For user {answers[0].user} (Yes from a probability of {threshold:.2f}, chosen on valid)\n", highlight=False
    )
    for place, answer in enumerate(answers, 1):
        body = Text(answer.explanation)
        body.highlight_regex(r"\[(?:T|[HUC]\d+)\]", "bold cyan")
        for id in answer.citations:
            body.append(f"\n  [{id}] ", "bold cyan")
            body.append(answer.evidence[id], "dim")
        title = f"{place}. {answer.title} ({answer.item}): {answer.prediction}, {answer.probability:.0%}"
        console.print(Panel(body, title=Text(title), title_align="left", width=min(console.width, 110)))
