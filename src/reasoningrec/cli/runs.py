"""`reasoningrec init | run | STAGE | status`: make a configuration, run the line or part of it, see how it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

RUN = typer.Option(..., "--run", help="The run's folder.")
TEMPLATE = """# A run of ReasoningRec. Every key is optional unless marked; unknown keys are errors.
name = "{name}"             # needed: the dataset's name in results
item_word = "item"          # what one calls an item: movie, product, book
protocol = "honest"         # honest | strict (everything strictly earlier in time) | paper (leaks, as published)
seed = 0

[data]
source = "tables"           # tables | movielens | amazon | release | demo
path = "interactions.csv"   # needed: .csv .tsv .jsonl .parquet; ${{NAME}} is taken from the environment
items = ""                  # items table; "" = none, titles fall back to the item's id
like_above = 3.0            # like = rating above this
scale = [1.0, 5.0]          # ratings outside are bad rows
on_bad_rows = "stop"        # or "skip": leave them out and count them

[data.columns]              # your names for
user = "user"
item = "item"
rating = "rating"           # "" = no ratings: every row is a like
time = "time"               # unix seconds or ISO dates; "" = no times
review = ""                 # text, "" = none
title = "title"             # in the items table
brand = ""
price = ""
categories = ""             # a list, or text parted by "|"

[split]
history = 10                # reactions before the target that a prompt shows
"""


def init(
    path: Path = typer.Argument(Path("reasoningrec.toml"), help="Where to write it."),
    name: str = typer.Option("mine", help="The dataset's name in results."),
) -> None:
    """Write a configuration to start from. Never overwrites a file."""
    from reasoningrec.errors import InputError

    if path.exists():
        raise InputError(f"{path}: exists already", hint="Name another file.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    path.write_text(TEMPLATE.format(name=name), "utf-8")
    typer.echo(f"wrote {path}; next: reasoningrec data check {path}")


def run(
    config: Path = typer.Argument(help="A configuration (.toml)."),
    folder: Path = RUN,
    protocol: str = typer.Option("", help="honest, strict or paper, in place of the configuration's."),
    seed: int = typer.Option(-1, help="In place of the configuration's; -1 = as configured."),
) -> None:
    """Run the whole line, from data to report; the same command resumes it."""
    from reasoningrec.config import read
    from reasoningrec.pipeline.line import NAMES

    _go(folder, read(config, protocol=protocol or None, seed=None if seed < 0 else seed), NAMES[-1])
    Console().print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _go(folder: Path, config: object, until: str) -> None:
    from reasoningrec.cli.progress import Screen
    from reasoningrec.config import Config
    from reasoningrec.pipeline.line import run_line

    assert isinstance(config, Config)
    with Screen() as screen:
        run_line(folder, config, screen, until)


def _stage_command(name: str, does: str) -> Callable[..., None]:
    def command(
        folder: Path = RUN,
        config: Path | None = typer.Argument(None, help="A configuration; without one, that of the run."),
    ) -> None:
        from reasoningrec.config import Config, read
        from reasoningrec.runs import Run

        chosen = read(config) if config else Config.model_validate(Run.read(folder).config, strict=False)
        _go(folder, chosen, name)

    command.__name__ = name
    command.__doc__ = f"{does} Runs what comes before it, where that is not done."
    return command


STAGE_COMMANDS = tuple(
    _stage_command(name, does)
    for name, does in (
        ("describe", "Write the items' descriptions."),
        ("profile", "Write the users' profiles."),
        ("reason", "Write rationales for train examples."),
        ("verify", "Put the rationales through the gates."),
        ("train", "Train the student."),
        ("predict", "Score, fuse, decide and explain."),
        ("evaluate", "Measure every method, with intervals."),
        ("report", "Write report.md and report.html."),
    )
)


def status(folder: Path = RUN) -> None:
    """Say which stages are done, how many rows each has, and how long each took."""
    from reasoningrec.pipeline.line import NAMES
    from reasoningrec.runs import Run, StageRecord

    run = Run.read(folder)
    times = run.times()
    table = Table(title=f"{folder}: {run.config.get('name')}, {run.config.get('protocol')}", title_justify="left")
    for column in ("stage", "status", "seconds", "counts"):
        table.add_column(column, overflow="fold")
    for name in NAMES:
        record = run.stages.get(name, StageRecord())
        seconds = times.get(name, {}).get("seconds")
        counts = ", ".join(f"{key} {value:,.6g}" for key, value in record.counts.items())
        table.add_row(name, record.status, "" if seconds is None else f"{seconds:.1f}", counts)
    Console().print(table)
