"""`reasoningrec texts export`: a run's texts for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer
from rich.console import Console

from reasoningrec.cli.saying import many, say

app = typer.Typer(no_args_is_help=True, help="Take a run's texts out, for other programs: `texts export`.")


class What(StrEnum):
    """What can be exported."""

    descriptions = "descriptions"
    profiles = "profiles"
    rationales = "rationales"
    student = "student"


class Form(StrEnum):
    """In which form."""

    table = "table"
    chat = "chat"


@app.callback()
def _texts() -> None:
    pass


@app.command("export")
def export(
    file: Path = typer.Argument(help="Where to write it; never overwrites. A table: .csv .tsv .jsonl .parquet."),
    folder: Path = typer.Option(..., "--run", help="The run's folder."),
    what: What = typer.Option(..., help="The teacher's texts, or the rows that the student learns from."),
    form: Form = typer.Option(..., "--as", help="A table that \\[texts] reads back, or chats for other trainers."),
) -> None:
    """Write descriptions, profiles, rationales, or the student's rows into a file. Of train windows only."""
    from reasoningrec.pipeline.export import export as write
    from reasoningrec.pipeline.workspace import Workspace, config_of
    from reasoningrec.runs import Run

    run = Run.read(folder)
    count = write(run, Workspace(folder, config_of(run)), what, form, file)
    say(Console(), f"wrote {file}: {many(count, 'line')}")
