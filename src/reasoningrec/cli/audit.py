"""`reasoningrec audit`: prove that nothing a question may not know reached its prompt, and measure what leaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reasoningrec.cli.outputs import check_outputs
from reasoningrec.cli.saying import many, say

if TYPE_CHECKING:
    from reasoningrec.data.audit import Check
    from reasoningrec.pipeline.audit import Against, Audit

FOUND = 1
"""Exit code where a check found something."""
STYLES = {"passed": "green", "found": "bold red", "not provable": "yellow"}


def audit(
    run: Path = typer.Option(..., "--run", help="The run's folder; its texts must be written (stage profile)."),
    against: list[Path] = typer.Option(
        [],
        "--against",
        help="A run of the same data under another protocol, or with other texts: what does each method gain there?",
    ),
    sample: int = typer.Option(64, min=1, max=100_000, help="Questions whose numbers are all worked out anew."),
    out: Path | None = typer.Option(
        None, "--out", dir_okay=False, help="Write everything found as JSON into this file, too."
    ),
) -> None:
    """Prove that nothing a question may not know reached its prompt, and measure what the targets' texts give away.

    What that is, the protocol says: nothing at or after the target, but that under honest rows of the same moment that
    stand before it in the file may be known.

    Exits with 1 where a check found something, 0 where none did. "not provable": times are missing, or texts were
    written elsewhere.
    """
    place = check_outputs({"--out": out}).get("--out")
    from reasoningrec.pipeline.audit import audit_run
    from reasoningrec.rows import to_row, write_json

    found = audit_run(run, against, sample=sample)
    if place is not None:  # before anything is printed: whoever reads it may stop early
        write_json(place, to_row(found))
    show(Console(), found)
    if out is not None:
        say(Console(), f"\nwrote {out}")
    if found.found:
        raise typer.Exit(FOUND)


def show(console: Console, found: Audit) -> None:
    """Print an audit."""
    say(console, f"{found.run}: {found.dataset}, protocol {found.protocol}\n", "bold")
    for check in found.checks:
        _check(console, check)
    say(console, "\nWhat the target's text alone tells of the answer (AUC on test; 0.5 is nothing)", "bold")
    console.print(_text(found), highlight=False)
    say(console, f"  {found.settings}", "dim")
    for other in found.against:
        _gains(console, other)
    for note in found.notes:
        say(console, note, "dim")


def _check(console: Console, check: Check) -> None:
    line = Text(f"{check.ruling:13}", STYLES[check.ruling])
    counted = f" ({check.found} of {check.tried:,} compared)" if check.found else f" ({check.tried:,} compared)"
    line.append(f"{check.name:18}", "bold").append(check.says, "default").append(counted, "dim")
    console.print(line, soft_wrap=True, highlight=False)
    for find in check.examples:
        say(console, f"    {find.query_id}, {find.where}: {find.says}")
    if check.found > len(check.examples):
        say(console, f"    and {many(check.found - len(check.examples), 'more find')}", "dim")
    for note in check.notes:
        say(console, f"    {note}", "dim")


def _text(found: Audit) -> Table:
    from reasoningrec.evaluation.report import with_interval

    table = _table("what is read", found.protocol, *(f"{other.protocol} ({other.run})" for other in found.against))
    for place, figure in enumerate(found.text):
        row = [figure, *(other.text[place] for other in found.against)]
        signed = " minus " in figure.name
        name = "what the description adds" if signed else figure.name
        table.add_row(name, *(with_interval(one.value, one.low, one.high, signed=signed) for one in row))
    return table


def _gains(console: Console, other: Against) -> None:
    from reasoningrec.evaluation.report import figure, with_interval

    say(console, f"\nWhat each method gains in {other.run} (protocol {other.protocol})", "bold")
    if other.differs:
        named = ", ".join(other.differs)
        say(console, f"  not by the protocol alone: the two runs differ in {named}, too")
    if other.note:
        say(console, f"  not known: {other.note}")
        return
    table = _table("method", "AUC here", "AUC there", "gain, paired")
    for gain in other.gains:
        shown = with_interval(gain.figure.value, gain.figure.low, gain.figure.high, signed=True)
        table.add_row(gain.method, figure(gain.here), figure(gain.there), shown)
    console.print(table, highlight=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right")
    return table
