"""`reasoningrec init | run | STAGE | status`: make a configuration, run the line or part of it, see how it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from reasoningrec.config import Config
    from reasoningrec.runs import Run

RETRY = typer.Option(False, "--retry-failed", help="Ask again for texts that got no answer; nothing is paid twice.")
DRY = typer.Option(False, "--dry-run", help="Say what the teacher would be asked, and what that takes; ask nothing.")
RUN = typer.Option(..., "--run", help="The run's folder.")
CONFIG = typer.Argument(None, help="A configuration; without one, that of the run.")
TEACHER = ("describe", "profile", "reason", "verify")
"""The stages that may ask a model."""
STAGES = (
    ("describe", "Write the items' descriptions."),
    ("profile", "Write the users' profiles."),
    ("reason", "Write rationales for train examples."),
    ("verify", "Put the rationales through the gates."),
    ("train", "Train the student, under torchrun in several processes."),
    ("score", "Ask the student about every valid and test query."),
    ("predict", "Fuse, decide and explain."),
    ("baselines", "Answer by plain statistics and trained recommenders."),
    ("evaluate", "Measure every method, with intervals."),
    ("report", "Write report.md and report.html."),
)
TEMPLATE = """# A run of ReasoningRec. Keys that are not marked "needed" may be left out; unknown keys are errors.
name = "{name}"             # needed: the dataset's name in results
item_word = "item"          # what one calls an item: movie, product, book
protocol = "honest"         # honest | strict (everything strictly earlier in time) | paper (leaks, as published)
seed = 0

[data]
source = "tables"           # needed: tables | movielens | amazon | release | demo
path = "interactions.csv"   # needed, save for demo: .csv .tsv .jsonl .parquet; ${{NAME}} is taken from the environment
items = ""                  # items table; "" = none, and titles fall back to the item's id
like_above = 3.0            # like = rating above this
scale = [1.0, 5.0]          # ratings outside are bad rows
on_bad_rows = "stop"        # or "skip": leave them out and count them

[data.columns]              # what your columns are called
user = "user"
item = "item"
rating = "rating"           # "" = no ratings: every row is a like
time = "time"               # unix seconds or ISO dates; "" = no times
review = ""                 # text; "" = none
item_id = "item"            # in the items table, as all below
title = "title"
brand = ""
price = ""
categories = ""             # a list, or text parted by "|"

[split]
history = 10                # reactions before the target that a prompt shows

# Without a model, texts are written by rule. To have a model write them, take the signs away:
# [teacher]
# endpoint = "http://127.0.0.1:8000/v1"   # any OpenAI-compatible server; without it, `model` is a folder
# model = "the model's name there"
# key_env = ""                            # the name of the environment variable that holds the server's key
# [budget]
# tokens = 0                              # the run stops cleanly before it passes this; 0 = no cap
"""


class ProtocolName(StrEnum):
    """The protocols, as the command line offers them."""

    honest = "honest"
    strict = "strict"
    paper = "paper"


def init(
    path: Path = typer.Argument(Path("reasoningrec.toml"), help="Where to write it."),
    name: str = typer.Option("mine", help="The dataset's name in results."),
) -> None:
    """Write a configuration to start from. Never overwrites a file."""
    from reasoningrec.errors import InputError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"--name: {name!r} is no name", hint="Letters, digits, dots, dashes and underscores.")
    if path.exists():
        raise InputError(f"{path}: exists already", hint="Name another file.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder", hint="Make it first, or name another.")
    try:
        path.write_text(TEMPLATE.format(name=name), "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="Name another file.") from None
    typer.echo(f"wrote {path}\nnext: edit it, then `reasoningrec data check {path}`")


def run(
    config: Path = typer.Argument(help="A configuration (.toml)."),
    folder: Path = RUN,
    protocol: ProtocolName | None = typer.Option(None, help="In place of the configuration's."),
    seed: int | None = typer.Option(None, min=0, max=2**32 - 1, help="In place of the configuration's."),
    retry_failed: bool = RETRY,
    dry_run: bool = DRY,
) -> None:
    """Run the whole line, from data to report; the same command goes on where it stopped."""
    from reasoningrec.config import read

    chosen = read(config, protocol=protocol and protocol.value, seed=seed)
    if dry_run:
        _estimate(folder, chosen, [*TEACHER, "predict"], retry_failed)
        return
    _go(folder, chosen, STAGES[-1][0], retry_failed=retry_failed)
    Console().print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def stage_command(name: str, does: str) -> Callable[..., None]:
    """The command that runs the line up to the stage `name`."""

    def command(folder: Path = RUN, config: Path | None = CONFIG, retry_failed: bool = RETRY) -> None:
        _go(folder, _chosen(folder, config), name, retry_failed=retry_failed)

    def asking(
        folder: Path = RUN, config: Path | None = CONFIG, retry_failed: bool = RETRY, dry_run: bool = DRY
    ) -> None:
        chosen = _chosen(folder, config)
        if dry_run:
            _estimate(folder, chosen, [name], retry_failed)
        else:
            _go(folder, chosen, name, retry_failed=retry_failed)

    found = asking if name in TEACHER else command
    found.__doc__ = f"{does} What comes before it is done first, where it is not done."
    return found


def _chosen(folder: Path, config: Path | None) -> Config:
    from reasoningrec.config import read
    from reasoningrec.runs import Run

    if config:
        return read(config)
    run = Run.read(folder)
    from reasoningrec.pipeline.workspace import config_of

    return config_of(run)


def _estimate(folder: Path, config: Config, stages: Sequence[str], retry_failed: bool) -> None:
    from reasoningrec.errors import InputError

    if retry_failed:
        raise InputError("--dry-run: goes not with --retry-failed", hint="A dry run changes nothing.")
    from reasoningrec.cli.estimates import show
    from reasoningrec.cli.progress import Screen
    from reasoningrec.pipeline.line import estimate

    with Screen() as screen:
        found = estimate(folder, config, screen, stages)
    show(found)


def _go(folder: Path, config: Config, until: str, *, retry_failed: bool) -> None:
    from reasoningrec.cli.progress import Screen
    from reasoningrec.pipeline.line import run_line
    from reasoningrec.pipeline.together import together

    def work() -> None:
        with Screen() as screen:
            run_line(folder, config, screen, until, retry_failed=retry_failed)

    together(folder, config, work)


def status(folder: Path = RUN) -> None:
    """Say which stages are done, what each counted, and how long each took."""
    from reasoningrec.cli.progress import in_words
    from reasoningrec.pipeline.line import out_of_date
    from reasoningrec.runs import Run
    from reasoningrec.unseen import shown

    run = Run.read(folder)
    times, holder, since = run.times(), run.holder(), out_of_date(run)
    console = Console()
    about = f"{folder}: {run.config.get('name')}, protocol {run.config.get('protocol')}"
    if gone := run.config.get("without"):
        about += f", without {', '.join(map(str, gone))}"
    console.print(about, markup=False, highlight=False)
    if holder:
        console.print(f"process {holder} is working in it", style="cyan", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stage")
    table.add_column("status", no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("counts", overflow="fold")
    for name in ("data", "split", "evidence", *(name for name, _ in STAGES)):
        record = run.stages.get(name)
        state: str = "not begun" if record is None else record.status
        if state == "running" and not holder:
            state = "stopped"  # nobody works in it: whoever did was killed
        state = "out of date" if name in since else state
        seconds = times.get(name, {}).get("seconds")
        counts = "" if record is None else in_words({key: n for key, n in record.counts.items() if n})
        table.add_row(name, state, "" if seconds is None else f"{seconds:.1f}", counts)
        if spent := times.get(name, {}).get("spent"):
            table.add_row("", "", "", f"[dim]last sitting: {in_words(spent)}[/dim]")
        if record is not None and state == "failed":
            table.add_row("", "", "", Text(shown("; ".join(record.notes)), style="red"))
    console.print(table, highlight=False)
    if any("spent" in entry for entry in times.values()):
        _say_what_was_paid(console, run)


def _say_what_was_paid(console: Console, run: Run) -> None:
    from reasoningrec.pipeline.estimate import paid
    from reasoningrec.pipeline.workspace import config_of

    for model, usage, cost in paid(config_of(run), run.folder):
        priced = "" if cost is None else f", cost {cost:,.2f}"
        tokens = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        console.print(f"paid in all: {model}: {usage.calls:,} calls, {tokens}{priced}", markup=False, highlight=False)
