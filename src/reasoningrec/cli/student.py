"""`reasoningrec student ...`: take a trained student elsewhere."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, help="Take a trained student elsewhere: `student export`.")


@app.callback()
def _student() -> None:
    """One command is a group, too, so that others can join it."""


@app.command("export")
def export(
    folder: Path = typer.Argument(help="Where to write it; must not exist."),
    run: Path = typer.Option(..., "--run", help="The run's folder."),
    merge: bool = typer.Option(False, "--merge", help="Add the adapter to the base: a whole model, not an adapter."),
) -> None:
    """Write the student as an adapter (peft), or as a model that transformers and vLLM load, with a model card."""
    from reasoningrec.runs import Run

    opened = Run.read(run)
    opened.require("train")  # a wrong folder is told at once, before the slow imports
    from reasoningrec.pipeline.carry import export_student

    kind = export_student(opened, folder, merge=merge)
    typer.echo(
        f"wrote {folder}: {'an adapter' if kind == 'adapter' else 'a whole model'}, and a model card in README.md"
    )
