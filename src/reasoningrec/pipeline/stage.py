"""What a stage is, and what it is handed while it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Json
from reasoningrec.runs import Run

Counts = Mapping[str, int | float]
Tell = Callable[[int, int], None]
"""Told (done, in all) as work goes on."""


@dataclass(frozen=True)
class Desk:
    """Where a stage works: the run it writes to, what it may read, and whom to tell."""

    run: Run
    space: Workspace
    tell: Tell
    stage: str

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder


@dataclass(frozen=True)
class Outcome:
    """What a finished stage leaves in the manifest."""

    counts: Counts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One verb of the line.

    Attributes:
        name: the verb; its artifacts are NAME.* and NAME/ in the run's folder.
        reads: the stages whose artifacts it reads; when one of them is redone, so is this one.
        fields: what else its result depends on, by name.
        work: does it, going on from a journal or checkpoint where there is one.
    """

    name: str
    reads: tuple[str, ...]
    fields: Callable[[Workspace], dict[str, Json]]
    work: Callable[[Desk], Outcome]
