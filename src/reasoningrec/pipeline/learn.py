"""Stages train and predict: the student, the fused decision, and its explanations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from reasoningrec.config import NANO, PredictConfig
from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.decisions import choose_threshold
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT
from reasoningrec.pipeline import predictions, score, served
from reasoningrec.pipeline.chunks import Chunks
from reasoningrec.pipeline.explain import Answer, explain
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace, rationales_of, without
from reasoningrec.pipeline.zero_shot import ask_model, check_said, prompted_fields, prompted_of, step_of
from reasoningrec.ranking import fuse, latent
from reasoningrec.records import Case, Verdict
from reasoningrec.rows import Json, Row, from_row, read_jsonl, to_row, write_json, write_jsonl
from reasoningrec.runs import Journal
from reasoningrec.student import bases, follow
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.ranks import Ranks
from reasoningrec.student.score import use_threads
from reasoningrec.student.train import Report, TrainingRun, train
from reasoningrec.teacher import verify


def train_fields(space: Workspace) -> dict[str, Json]:
    """The student's settings, its base by the content, and its prompt's wording."""
    config = space.config.train
    settings = {**bases.settings_of(config), **bases.identity(config)}
    del settings["checkpoint_seconds"]
    more = {"seed": space.config.seed, "threads": space.config.threads, "prompt": bases.prompt_digest(config)}
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


def predict_fields(space: Workspace) -> dict[str, Json]:
    """How decisions are made and explained, and what a model is asked beside them."""
    settings = space.config.predict.model_dump(mode="json")
    if space.config.predict.mode == PredictConfig.model_fields["mode"].default:
        del settings["mode"]  # so that runs from before there were others stay done
    gates: list[Json] = list(verify.GATES.values())
    more = {"seed": space.config.seed, "max_reasons": space.config.reason.max_reasons, "gates": gates}
    more |= {**prompted_fields(space.config), **served.fields(space.config), **without(space.config)}
    return {**settings, **more, "decision": fuse.settings()}


def predict(desk: Desk) -> Outcome:
    """Fuse what the student said with the evidence, decide, and explain the decisions on test."""
    space, config = desk.space, desk.space.config
    student = served.student_of(desk.folder, config)
    use_threads(config.threads)
    answers = score.said(desk.folder)
    scored, asked = space.ids("valid", "test"), prompted_of(config)
    explained = space.ids("test")[: config.predict.explain or None]
    windows = space.windows["id"].to_list()
    student_said = probabilities(windows, answers)
    fused, decisions = _fuse(desk, student_said)
    decided = dict(zip(windows, (decisions[FUSED] >= fused.threshold).tolist(), strict=True))

    def write(cases: list[Case]) -> list[Row]:
        liked = [decided[case.query.id] for case in cases]
        said = [Answer.of(answers[case.query.id]) for case in cases]
        return [to_row(text) for text in explain(student, cases, liked, config, said)]

    with Journal(desk.run.journal_path("predict")) as journal:
        chunks = Chunks(desk, journal, len(explained) + len(scored) * len(asked))
        texts = chunks.do("write", explained, write)
        others = {method: chunks.do(step_of(method), scored, partial(ask_model, desk, method)) for method in asked}
    for method, rows in others.items():
        check_said(method, rows.values())
    write_jsonl(desk.folder / "predict" / "explanations.jsonl", (texts[id] for id in explained))
    told = {method: probabilities(windows, rows) for method, rows in others.items()}
    predictions.write(space, "predict", {FUSED: decisions[FUSED], STUDENT: student_said, **decisions, **told})
    served.note_spending(desk, student)
    return Outcome(
        {
            "explained": len(explained),
            "explained_by_student": sum(texts[id]["origin"] == "student" for id in explained),
            **_zero_shot_counts(others.values()),
        }
    )


def _zero_shot_counts(said: Iterable[Mapping[str, Row]]) -> dict[str, int]:
    """How many answers of the prompted methods have a note, by the note."""
    noted = served.counts_of(row for rows in said for row in rows.values())
    return {f"zero_shot_{note}": count for note, count in noted.items()}


def _fuse(desk: Desk, student: Floats) -> tuple[fuse.Fused, dict[str, Floats]]:
    """Fit on train and valid, choose the threshold on valid, and answer valid (held out) and test, by method.

    `student` and answers are (N,), rows as in the windows. `NO_STUDENT` is the same decision with the student left out.
    """
    space = desk.space
    numbers, labels, role = space.deciding
    unknown = np.full(len(numbers) - len(student), np.nan)
    learned = fuse.learn(numbers, labels, role, space.config.seed)
    valid = (space.windows["role"] == "valid").to_numpy()
    answers = {}
    for method, said in ((NO_STUDENT, np.full_like(student, np.nan)), (FUSED, student)):
        fused, on_valid = learned.with_student(np.concatenate([said, unknown]))
        answers[method] = fused(numbers[: len(student)], said)
        answers[method][valid] = on_valid
    fused = replace(fused, threshold=choose_threshold(space.labels[valid], on_valid))
    latent.save(latent.now(space.timeline, space.windows), desk.folder / latent.FILE)
    write_json(desk.folder / "predict" / "fuse.json", fused.to_json())
    return fused, answers


def probabilities(ids: Sequence[str], rows: Mapping[str, Row]) -> Floats:
    """(N,) P(Yes) in the order of `ids`; nan where there is none."""
    return np.array([rows[id]["p"] if id in rows else None for id in ids], dtype=np.float64)  # None becomes nan
