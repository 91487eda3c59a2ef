"""`reasoningrec data ...`: look at data before a run."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Look at data before a run.")


@app.command("check")
def check(
    path: Path = typer.Argument(help="A configuration (.toml), or a folder or file of a known format."),
    history: int = typer.Option(0, min=0, help="Reactions before the target; 0 = as configured, or 10."),
    skip_bad_rows: bool = typer.Option(False, help="Leave bad rows out and count them, instead of stopping."),
) -> None:
    """Print what was found, what is odd, and what would happen. Changes nothing."""
    from reasoningrec.data.check import check as look
    from reasoningrec.data.load import guess, load

    data, name, wanted = guess(path)
    if skip_bad_rows:
        data = data.model_copy(update={"on_bad_rows": "skip"})
    found = look(load(data, name), history or wanted)
    console = Console()
    table = Table(title=f"{name}: {data.source}", title_justify="left", show_edge=False)
    table.add_column("")
    table.add_column("what")
    table.add_column("figure", overflow="fold")
    last = ""
    for section, what, figure in found.rows():
        if last and section != last:
            table.add_section()
        table.add_row(section if section != last else "", what, figure)
        last = section
    console.print(table)
