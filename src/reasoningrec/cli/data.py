"""`reasoningrec data ...`: look at data before a run."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(no_args_is_help=True, help="Look at data before a run: `data check`.")


@app.command("check")
def check(
    path: Path = typer.Argument(help="A configuration (.toml), or a folder or file of a known format."),
    history: int | None = typer.Option(
        None, min=1, max=100, help="Reactions before the target. Without it: as configured, or 10."
    ),
    skip_bad_rows: bool = typer.Option(
        False, "--skip-bad-rows", help="Leave bad rows out and count them, instead of stopping."
    ),
) -> None:
    """Print what was found, what is odd, and what would happen. Changes nothing."""
    from reasoningrec.data.check import check as look
    from reasoningrec.data.load import guess, load
    from reasoningrec.unseen import shown

    data, name, windows = guess(path)
    if history:
        windows = windows.model_copy(update={"history": history})
    if skip_bad_rows:
        data = data.model_copy(update={"on_bad_rows": "skip"})
    found = look(load(data, name), windows)
    console = Console()
    _say(console, f"{name} (source: {data.source})")
    for section, grouped in groupby(found.rows(), key=itemgetter(0)):
        rows = list(grouped)
        longest = max(len(what) for _, what, _ in rows)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=0)
        table.add_column(width=min(longest, console.width // 2), overflow="fold")
        table.add_column(overflow="fold")
        for _, what, figure in rows:
            table.add_row("", Text(shown(what)), Text(shown(figure)))
        _say(console, f"\n{section}")
        console.print(table)


def _say(console: Console, heading: str) -> None:
    console.print(heading, style="bold", markup=False, highlight=False, soft_wrap=True)
