"""`reasoningrec compare`: read evaluated runs, for `evaluation.compare` to put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reasoningrec.evaluation import decisions, uncertainty
from reasoningrec.evaluation.compare import Comparison, Entrant, compare
from reasoningrec.pipeline import looks, predictions
from reasoningrec.pipeline.line import check_made_from
from reasoningrec.pipeline.measure import read_evaluation, sequences
from reasoningrec.pipeline.workspace import Workspace, check_named_once, config_of
from reasoningrec.runs import Run, fingerprint

READ = ("data", "split", *predictions.FILES, "evaluate")
APART_STAGES = ("data", "evaluate", "report")
"""Stages whose notes say nothing of how questions were answered; that data are the same is looked at row by row."""
PARTS = ("seed", "threads", "cache", "budget", "prices", "evaluate", "report")
PLACES: dict[str, Any] = {"data": {"path", "items"}, "train": {"checkpoint_seconds", "trackers"}}
"""Where the data lie, and how a training is kept and followed."""
APART: dict[str, Any] = {**dict.fromkeys(PARTS, True), **PLACES, "predict": {"explain"}}
"""Parts of a configuration that change no answer, and the seed."""
QUIET = ("seed", "threads", "explain")
"""The same, of what the stages that make answers note of how they were done."""


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Runs side by side, in the order given.

    Raises:
        InputError: a folder is named twice.
        RunError: one is no run, is damaged, or its data disagree with another's.
        NotInRunError: one is not evaluated, or what it was evaluated on was done again since.
    """
    check_named_once(folders)
    spaces = [_evaluated(folder) for folder in folders]
    names = [folder.resolve().name for folder in folders]
    shown = [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]
    entrants = [entrant(space, name) for space, name in zip(spaces, shown, strict=True)]
    settings = [run.evaluation for run in entrants]
    found = compare(
        entrants, resamples=max(one.resamples for one in settings), level=max(one.level for one in settings)
    )
    unnoted: list[str] = []
    for space, one in zip(spaces, entrants, strict=True):
        labels = dict(zip(one.ids, one.labels.tolist(), strict=True))
        unnoted += looks.note_or_tell(space, "compare", labels, len(one.answers))
    return replace(found, notes=(*found.notes, *unnoted))


def _evaluated(folder: Path) -> Workspace:
    """A run that is evaluated and whole. Raises as `compare_runs` does."""
    run = Run.read(folder)
    check_made_from(run, "evaluate")
    for stage in READ:
        run.check(stage)
    return Workspace(folder, config_of(run))


def entrant(space: Workspace, name: str) -> Entrant:
    """An evaluated run, under a name that tells it from the others."""
    test = predictions.answers(space, "test")
    ids, labels = decisions.by_query(test.labels)
    windows = space.windows.filter(space.windows["id"].is_in(ids)).sort("id")
    asked = tuple(windows.select("user", "item").iter_rows())
    clusters = uncertainty.clusters(sequences(space))
    return Entrant(
        run=name,
        variant=fingerprint([space.config.model_dump(mode="json", exclude=APART), _done(space.folder)]),
        evaluation=read_evaluation(space.folder),
        ids=tuple(ids),
        asked=asked,
        labels=labels,
        cluster=np.array([clusters[user] for user, _ in asked], dtype=np.int64),
        answers={method: decisions.align(found, ids) for method, found in test.predictions.items()},
    )


def _done(folder: Path) -> dict[str, Any]:
    """How the stages before the answers were done, which a version of the package can change as a setting can."""
    return {
        stage: {
            name: value for name, value in record.fields.items() if name not in QUIET and not name.startswith("stage ")
        }
        for stage, record in Run.read(folder).stages.items()
        if stage not in APART_STAGES
    }
