"""`reasoningrec compare`: any number of evaluated runs in one table."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reasoningrec.cli.outputs import check_outputs
from reasoningrec.cli.saying import say

if TYPE_CHECKING:
    from reasoningrec.evaluation.compare import Line


def compare(
    runs: list[Path] = typer.Argument(help="Folders of evaluated runs; the first is what others are compared with."),
    markdown: Path | None = typer.Option(
        None, "--markdown", dir_okay=False, help="Write the tables into this file, too."
    ),
    html: Path | None = typer.Option(
        None, "--html", dir_okay=False, help="Write a self-contained page with a picture, too."
    ),
) -> None:
    """Put runs side by side: every method with intervals, mean and spread over seeds, paired differences.

    Runs that differ by the seed alone become one row. Differences need the same test questions.
    """
    places = check_outputs({"--markdown": markdown, "--html": html})
    from reasoningrec.evaluation import compare_page as page
    from reasoningrec.pipeline.compare import compare_runs
    from reasoningrec.rows import write_text

    found = compare_runs(runs)
    render = {"--markdown": page.render_markdown, "--html": page.render_html}
    for flag, place in places.items():  # before anything is printed: whoever reads it may stop early
        write_text(place, render[flag](found))
    console = Console()
    for (dataset, protocol, subset), lines in page.tables(found):
        say(console, f"{dataset}: {protocol}, {subset}", "bold")
        for system, rows in groupby(lines, key=attrgetter("system")):
            _show(console, system, list(rows))
        say(console, "")
    say(console, page.says(found), "dim")
    for note in found.notes:
        say(console, note, "dim")
    for path in filter(None, (markdown, html)):
        say(console, f"wrote {path}")


def _show(console: Console, system: str, lines: list[Line]) -> None:
    """A system's methods; the differences to the first run where there are any, and else why not."""
    from reasoningrec.evaluation import compare_page as page

    first = [line for line in lines if not line.to_first.reason]
    why = "" if first else f"; {lines[0].to_first.reason}"
    seeds = f", {lines[0].seeds} seeds" if lines[0].seeds > 1 else ""
    say(console, f"  {system}: {lines[0].n} queries, {lines[0].positives} likes{seeds}{why}")
    table = Table(box=None, padding=(0, 1))
    table.add_column("method", overflow="fold", min_width=16)
    invalid = any(line.invalid for line in lines)
    for name in ("AUC", "minus baseline", *(["minus first run"] if first else []), *(["invalid"] if invalid else [])):
        table.add_column(name, justify="right")
    for line in lines:
        differences = (line.to_baseline, *([line.to_first] if first else []))
        shown = (one.reason or page.difference_cell(one) for one in differences)
        cells = (line.method, page.auc_cell(line), *shown, *([f"{line.invalid:.1%}"] if invalid else []))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table, highlight=False)
