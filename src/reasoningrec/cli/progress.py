"""What a person sees while a run works: a line for each stage, with a bar while it moves."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Screen:
    """A `pipeline.line.Listener` that draws on the terminal (standard error)."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("  {task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self._console, transient=True,
        )  # fmt: skip
        self._task: Any = None
        self._name, self._state, self._start = "", "", 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begun(self, plan: Any) -> None:
        """A stage starts, or is found done."""
        self._name, self._state, self._start = plan.name, plan.state, time.monotonic()
        if plan.state == "changed":
            self._console.print(
                f"  {plan.name}: redone, because these changed: {', '.join(plan.changed)}", style="yellow"
            )
        elif plan.missing:
            self._console.print(
                f"  {plan.name}: redone, because files are gone: {', '.join(plan.missing)}", style="yellow"
            )
        elif plan.state == "resume":
            self._console.print(f"  {plan.name}: goes on where it stopped", style="cyan")
        if plan.state != "done":
            self._task = self._bars.add_task(plan.name, total=None)

    def moved(self, done: int, total: int) -> None:
        """The stage that started last has done so much."""
        self._bars.update(self._task, completed=done, total=total)

    def ended(self, name: str, counts: dict[str, int | float]) -> None:
        """A stage is done."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        took = "done before" if self._state == "done" else f"{time.monotonic() - self._start:.1f} s"
        shown = ", ".join(f"{key.replace('_', ' ')} {_figure(value)}" for key, value in counts.items() if value)
        self._console.print(f"  [green]✓[/green] {name:<9} [dim]{took:>12}[/dim]  {shown}", highlight=False)


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
