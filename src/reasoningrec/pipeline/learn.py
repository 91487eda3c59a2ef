"""Stage train: the student and what it learns from."""

from __future__ import annotations

from collections.abc import Mapping

from reasoningrec import prompts
from reasoningrec.config import NANO
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace, as_published, rationales_of, without
from reasoningrec.records import Verdict
from reasoningrec.rows import Json, from_row, read_jsonl
from reasoningrec.student import bases, follow
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.ranks import Ranks
from reasoningrec.student.sheet import PUBLISHED
from reasoningrec.student.train import Report, TrainingRun, train


def train_fields(space: Workspace) -> dict[str, Json]:
    """The student's settings, its base by the content, and its prompt's wording."""
    config = space.config.train
    settings = {**bases.settings_of(config), **bases.identity(config)}
    del settings["checkpoint_seconds"]
    more = {"seed": space.config.seed, "threads": space.config.threads, "prompt": bases.prompt_digest(config)}
    if as_published(space.config):
        more["as_published"] = prompts.digest(PUBLISHED)
    return {**settings, **more, **without(space.config)}


def check_base(space: Workspace) -> None:
    """Raises ConfigError or StudentError where there is no such base, or it cannot be a student's.

    Raises MissingExtraError where a tracker of the training is not installed.
    """
    follow.check(space.config.train.trackers)
    if space.config.train.base != NANO:
        bases.look(space.config.train)


def train_student(desk: Desk) -> Outcome:
    """Train on every train window; those with a rationale that passed all gates also train the text."""
    ranks = Ranks.gathered()
    ranks.tell(True)
    metrics = train_together(desk.space, ranks, lambda done, total, _: desk.tell(done, total))
    return Outcome({name: value for name, value in metrics.items() if value is not None})


def train_together(space: Workspace, ranks: Ranks, progress: Report | None = None) -> Mapping[str, float | int | None]:
    """Train the run's student, alone or with other processes, each of which calls this; its figures."""
    config = space.config
    rows = training_rows(space)
    valid = [TrainingRow(case, space.label_of[case.query.id]) for case in space.cases(space.ids("valid"))]
    run = TrainingRun(space.folder / "train", config.seed, config.threads, progress, ranks)
    return train(rows, valid, config.train, run).student.card.metrics


def training_rows(space: Workspace) -> list[TrainingRow]:
    """Every train window, in order of id, with its rationale where that passed all gates."""
    written = rationales_of(space.folder / "reason.jsonl")
    kept = {row["query_id"] for row in read_jsonl(space.folder / "verify.jsonl") if from_row(Verdict, row).kept}
    return [
        TrainingRow(case, space.label_of[id], written[id] if id in kept else None)
        for case in space.cases(space.ids("train"))
        for id in [case.query.id]
    ]
