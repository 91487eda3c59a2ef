"""`reasoningrec student ...`: take a trained student elsewhere, and study how it learns and how fast it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from reasoningrec.evaluation.learning import Cell

SHOWN = 10
"""Queries in the table of `check`, those furthest apart."""

app = typer.Typer(
    no_args_is_help=True, help="Take a trained student elsewhere, or study it: export, check, curve, latency."
)


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


@app.command("check")
def check(
    run: Path = typer.Option(..., "--run", help="The run's folder."),
    queries: int = typer.Option(16, min=1, help="Test queries to ask."),
    apart: float = typer.Option(0.02, min=0, max=1, help="Largest difference of P(Yes) that is let pass."),
) -> None:
    """Ask the server of \\[student] and the weights in the run the same, and see that they answer alike."""
    from reasoningrec.errors import StudentError
    from reasoningrec.runs import Run

    opened = Run.read(run)
    opened.require("train")
    from reasoningrec.pipeline.carry import compare_with_server

    found = compare_with_server(opened, queries)
    table = _table("query", "here", "server", "apart")
    for one in found[:SHOWN]:
        table.add_row(one.query_id, *("–" if p is None else f"{p:.4f}" for p in (one.here, one.there, one.apart)))
    Console().print(table, highlight=False)
    typer.echo(f"{len(found)} queries; largest difference of P(Yes): {found[0].apart:.2g}")
    if found[0].apart > apart:
        hint = "Is it this run's student, on its own base, at a precision that is near enough?"
        raise StudentError(f"the server answers otherwise than the run's student, by {found[0].apart:.2g}", hint=hint)


@app.command("curve")
def curve(
    run: Path = typer.Option(..., "--run", help="The run's folder."),
    shots: list[str] = typer.Option(
        ["16", "64", "256", "all"], help='Rows to learn from, as many Yes as No; "all" as they are. Repeatable.'
    ),
    seeds: int = typer.Option(
        3, min=1, max=100, help="Students for each number of shots: the run's seed and the next."
    ),
    queries: int = typer.Option(0, min=0, help="Test queries to measure on, drawn; 0 = all."),
    decisions_only: bool = typer.Option(False, "--decisions-only", help="Leave out texts: faster."),
) -> None:
    """Train students on few and many rows, from several seeds: mean and spread of their AUC. The report shows it.

    Each student is kept as it is done, so that the same command goes on where it stopped.
    """
    wanted = tuple(_shots(value) for value in shots)
    from reasoningrec.cli.progress import bar
    from reasoningrec.pipeline.curve import Asked, curve
    from reasoningrec.runs import Run

    Run.read(run).require("verify")
    with Run.open(run, create=False) as opened, bar("students") as tell:
        cells = curve(opened, Asked(wanted, seeds, queries, decisions_only), tell)
    _show_curve(cells)
    typer.echo(f"next: `reasoningrec report --run {run}` shows it in the report")


@app.command("latency")
def latency(
    run: Path = typer.Option(..., "--run", help="The run's folder."),
    queries: int = typer.Option(32, min=1, help="Test queries to ask, drawn."),
) -> None:
    """Measure how long the student takes to decide and to explain, in each mode it can. The report shows it."""
    from reasoningrec.cli.progress import bar
    from reasoningrec.runs import Run

    Run.read(run).require("train")
    from reasoningrec.pipeline.latency import latency

    with Run.open(run, create=False) as opened, bar("queries") as tell:
        found = latency(opened, queries, tell)
    table = _table("mode", "one alone: median", "95th percentile", "all at once: each")
    for row in found:
        table.add_row(row.mode, *(f"{1000 * value:,.1f} ms" for value in (row.median, row.most, row.together)))
    Console().print(table, highlight=False)
    typer.echo(f"next: `reasoningrec report --run {run}` shows it in the report")


def _shots(value: str) -> str:
    from reasoningrec.errors import InputError

    if value == "all" or (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) >= 2):
        return str(int(value)) if value != "all" else value
    raise InputError(f"--shots: {value!r} is no number of rows", hint='Name a count of 2 or more, or "all".')


def _show_curve(cells: Sequence[Cell]) -> None:
    from reasoningrec.evaluation.learning import points

    table = _table("shots", "rows", "seeds", "AUC", "±", "AUC, valid")
    for point in points(cells):
        values = (point.auc, point.spread, point.valid_auc)
        figures = ("–" if value is None else f"{value:.3f}" for value in values)
        table.add_row(point.shots, f"{point.rows:,}", str(point.seeds), *figures)
    Console().print(table, highlight=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
