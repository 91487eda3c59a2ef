"""What a person sees while a run works, on standard error: a line for each stage, with a bar while it moves.

Where standard error is no terminal (a log file, a pipe), the same lines come plain, with one every `PATIENCE` seconds
in place of the bar.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from reasoningrec.errors import InputError
from reasoningrec.unseen import shown

if TYPE_CHECKING:
    from reasoningrec.runs import StagePlan

PATIENCE: Final = 30.0
"""Seconds between two lines on a stage that is at work, where there is no bar."""
SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("describe", "profile", "reason"), ("texts", "failed", "missing", "calls", "cost")),
    "train": ("rows", "texts", "parameters", "trained_parameters", "epochs", "processes", "valid_auc"),
}
"""Counts to show of stages that have more than fit on a line; `status` shows all."""


class Screen:
    """A `pipeline.line.Listener` that writes on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("  {task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(
            *columns,
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name, self._done_before, self._start, self._said = "", False, 0.0, 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if kind is not None and self._name and not issubclass(kind, InputError):
            how = "interrupted" if issubclass(kind, KeyboardInterrupt) else "stopped"
            self._say(f"{how} in {self._name}; what is done is kept: the same command goes on from here", "yellow")

    def begun(self, plan: StagePlan) -> None:
        """A stage starts, or is found done."""
        self._name, self._done_before = plan.name, plan.state == "done"
        self._start = self._said = time.monotonic()
        if plan.state == "changed":
            self._say(f"{plan.name}: done again, because of a change in {', '.join(plan.changed)}", "yellow")
        elif plan.missing:
            self._say(f"{plan.name}: done again, because files are gone: {', '.join(plan.missing)}", "yellow")
        elif plan.state == "resume":
            self._say(f"{plan.name}: goes on where it stopped", "cyan")
        if not self._done_before:
            self._task = self._bars.add_task(plan.name, total=None)

    def moved(self, done: int, total: int) -> None:
        """The stage that started last has done so much."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)
        if not self._console.is_terminal and time.monotonic() - self._said >= PATIENCE:
            self._said = time.monotonic()
            self._say(f"{self._name}: {done:,} of {total:,}")

    def ended(self, name: str, counts: Mapping[str, int | float]) -> None:
        """A stage is done."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        took = "done before" if self._done_before else f"{time.monotonic() - self._start:.1f} s"
        self._name = ""
        told = in_words({key: counts[key] for key in SHOWN.get(name, counts) if counts.get(key)})
        if not self._console.is_terminal:
            self._say(f"{name:<9} {took:>11}  {told}")
        else:
            row = Table.grid(padding=(0, 1))
            for width in (3, 9, 11):
                row.add_column(width=width, no_wrap=True, justify="right" if width != 9 else "left")
            row.add_row("[green]✓[/green]", name, f"[dim]{took}[/dim]", f" {told}")
            self._console.print(row, highlight=False)
        if failed := counts.get("failed") or counts.get("judge_failed"):
            self._say(f"{name}: {failed:,} of {counts['texts']:,} texts failed{_remedy(counts)}", "yellow")
        elif lost := counts.get("unanswered"):
            again = "--retry-failed asks again"
            self._say(f"{name}: {lost:,} of {counts['scored']:,} queries got no answer; {again}", "yellow")
        if lost := counts.get("zero_shot_unanswered"):
            self._say(f"{name}: {lost:,} zero-shot queries got no answer; --retry-failed asks again", "yellow")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(f"  {shown(text)}", style=style, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for work that is no stage; yields what is told (done, in all)."""
    console = Console(stderr=True)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task, said = bars.add_task(what, total=None), time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal said
            bars.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - said >= PATIENCE:
                said = time.monotonic()
                console.print(f"  {done:,} of {total:,} {what}", highlight=False)

        yield tell


def _remedy(counts: Mapping[str, int | float]) -> str:
    """What can be done about texts that failed: answers that came are kept, and would only come again."""
    failed = counts.get("failed") or counts.get("judge_failed", 0)
    unanswered = counts.get("unanswered", 0)
    parts = [f"--retry-failed asks again for {unanswered:,} that got no answer"] * bool(unanswered)
    parts += ["for answers that cannot be used, change seed, prompts or model"] * (unanswered < failed)
    return "; " + "; ".join(parts)


def in_words(counts: Mapping[str, int | float]) -> str:
    """Counts on one line: "users 400, bad rows 2"."""
    return ", ".join(f"{key.replace('_', ' ')} {_figure(value)}" for key, value in counts.items())


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
