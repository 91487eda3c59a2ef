"""`reasoningrec batch export | import | drop`: a stage's calls as files for a server's batch interface."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from reasoningrec.cli.saying import many, say

if TYPE_CHECKING:
    from reasoningrec.config import Config
    from reasoningrec.pipeline.batch import Exported

app = typer.Typer(no_args_is_help=True, help="Ask a server in batch files, at half price: `batch export`.")
RUN = typer.Option(..., "--run", help="The run's folder.")
SHOWN = 20
"""Lines that are told of, where many are of no use."""


class StageName(StrEnum):
    """The stages that ask a model, as the command line offers them."""

    describe = "describe"
    profile = "profile"
    reason = "reason"
    verify = "verify"


@app.command("export")
def export(
    stage: StageName = typer.Argument(help="describe, profile, reason, or verify (the judge)."),
    destination: Path = typer.Argument(help="Folder for the files STAGE-001.jsonl, ...; never overwrites one."),
    config: Path | None = typer.Argument(None, help="A configuration; without one, that of the run."),
    folder: Path = RUN,
) -> None:
    """Write what a stage would ask next as batch files, and ask nobody else for it.

    Data, split and evidence are done first, where they are not; earlier texts have to be there. Answers may call for
    further requests (repairs, other tries): export again when they are in.
    """
    from reasoningrec.cli.progress import Screen
    from reasoningrec.config import read
    from reasoningrec.pipeline import batch
    from reasoningrec.pipeline.line import run_line
    from reasoningrec.pipeline.workspace import Workspace
    from reasoningrec.runs import Run

    chosen = read(config) if config else _config(folder)
    batch.ready(chosen, stage, destination)
    with Screen() as screen:
        run_line(folder, chosen, screen, "evidence")
    with Run.open(folder, create=False) as run:
        done = batch.export(run, Workspace(folder, chosen), stage, destination)
    _tell(done, stage, folder)


@app.command("import")
def take_in(
    files: list[Path] = typer.Argument(help="Output and error files of the batches."),
    folder: Path = RUN,
) -> None:
    """Take answers in; the run then finds them. What is there already is left, and what failed may be asked again."""
    from reasoningrec.pipeline import batch

    found = batch.take_in(files, _config(folder))
    console, aside = Console(), Console(stderr=True)
    used = found.usage
    say(console, f"taken in: {many(used.calls, 'answer')}, {used.input_tokens:,} tokens in, {used.output_tokens:,} out")
    if found.again:
        say(console, f"there already: {found.again:,}")
    for why, count in found.failed.most_common():
        say(console, f"failed: {count:,} because of: {why}")
    if found.freed:
        say(console, f"free to be asked again: {found.freed:,}")
    for problem in found.skipped[:SHOWN]:
        say(aside, f"skipped: {problem}")
    if len(found.skipped) > SHOWN:
        say(aside, f"skipped: {many(len(found.skipped) - SHOWN, 'line')} more")


@app.command("drop")
def drop(
    folder: Path = RUN,
    everybody: bool = typer.Option(False, "--all", help="Also what other runs have out in the same cache."),
) -> None:
    """Give up what is out in batches: it may be asked again, and answers that still come are not taken in."""
    from reasoningrec.pipeline import batch

    dropped, left = batch.drop(folder, _config(folder), everybody=everybody)
    console = Console()
    say(console, f"given up: {many(dropped, 'request')}")
    if left:
        say(console, f"out for other runs in the same cache: {left:,} (--all gives them up too)")


def _config(folder: Path) -> Config:
    from reasoningrec.runs import Run

    run = Run.read(folder)
    from reasoningrec.pipeline.workspace import config_of

    return config_of(run)


def _tell(done: Exported, stage: str, folder: Path) -> None:
    console = Console()
    say(console, f"{stage}: {many(done.requests, 'request')} in {many(len(done.files), 'file')}")
    for path in done.files:
        say(console, f"  {path}")
    for count, what in ((done.out, "out already"), (done.theirs, "being asked by another process right now")):
        if count:
            say(console, f"{what}: {count:,}")
    if done.stopped:
        say(Console(stderr=True), done.stopped)
    if done.requests:
        cost = "" if done.cost is None else f"; at most {done.cost:,.2f} by the table of prices"
        used = done.usage
        say(console, f"about {used.input_tokens:,} tokens in, at most {used.output_tokens:,} out{cost}")
        say(
            console, f"next: hand the files to the server, then `reasoningrec batch import --run {folder} OUTPUT.jsonl`"
        )
    elif not done.out and not done.theirs and not done.stopped:
        say(console, f"nothing is left to ask: `reasoningrec {stage} --run {folder}` writes the texts")
