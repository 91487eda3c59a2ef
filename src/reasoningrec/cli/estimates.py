"""What a dry run prints: what the teacher would be asked, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from reasoningrec.pipeline.estimate import Estimate


def show(found: Sequence[Estimate]) -> None:
    """Print a row for each stage, their sum, and how the figures came about."""
    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0), title="Nothing was asked. It would take", title_justify="left")
    for column in ("stage", "model"):
        table.add_column(column, no_wrap=column == "stage")
    for column in ("texts", "done", "cached", "calls", "tokens in", "tokens out", "cost", "time"):
        table.add_column(column, justify="right")
    for row in found:
        table.add_row(*_cells(row))
    if len(found) > 1:
        table.add_section()
        table.add_row("in all", "", *(f"{sum(values):,}" for values in zip(*map(_counts, found), strict=True)),
                      _cost(found), _time(sum(row.seconds for row in found)), style="bold")  # fmt: skip
    console.print(table, highlight=False)
    for note in _notes(found):
        console.print(f"- {note}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _counts(row: Estimate) -> tuple[int, ...]:
    usage = row.usage
    return row.texts, row.done, row.cached, usage.calls, usage.input_tokens, usage.output_tokens


def _cells(row: Estimate) -> tuple[str, ...]:
    return row.stage, escape(row.model), *(f"{count:,}" for count in _counts(row)), _cost([row]), _time(row.seconds)


def _cost(found: Sequence[Estimate]) -> str:
    """The sum; a dash where a model that would be asked has no price."""
    asked = [row for row in found if row.usage.calls]
    if any(row.cost is None for row in asked):
        return "–"
    return f"{sum(row.cost or 0.0 for row in asked):,.2f}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _notes(found: Sequence[Estimate]) -> list[str]:
    asked = [row for row in found if row.usage.calls]
    notes = []
    if asked:
        counted = all(row.exact for row in asked)
        how = "counted with the model's tokenizer" if counted else "estimated: name a `tokenizer` to have them counted"
        notes.append(f"tokens in: {how}; tokens out: estimated")
        notes.append("further calls for answers that cannot be used, or that fail a gate, come on top")
        measured = all(row.measured for row in asked)
        notes.append(
            "time: " + ("from the model's earlier answers" if measured else "a guess: nothing was measured yet")
        )
    if any(row.cost is None for row in asked):
        notes.append("cost: there is no price for every model; see [prices] in the configuration")
    if out := sum(row.out for row in found):
        notes.append(f"{out:,} texts wait for answers to a batch file: `reasoningrec batch import`")
    if any(row.supposed for row in found):
        notes.append("texts of earlier stages do not exist yet; they were supposed as long as they may be")
    return notes
