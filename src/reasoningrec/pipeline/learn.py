"""Stages train and predict: the student, the fused decision, and its explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from reasoningrec.config import NANO, PredictConfig
from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.decisions import choose_threshold
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT
from reasoningrec.pipeline import served
from reasoningrec.pipeline.baselines import (
    answers_of_baselines,
    ask_model,
    baseline_fields,
    check_said,
    prompted_of,
    trained_of,
)
from reasoningrec.pipeline.explain import Answer, answer, explain
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace, rationales_of, without
from reasoningrec.ranking import fuse, latent
from reasoningrec.records import Case, Prediction, Verdict
from reasoningrec.rows import Json, Row, from_row, read_jsonl, to_row, write_json, write_jsonl
from reasoningrec.runs import Journal
from reasoningrec.student import bases, follow
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.ranks import Ranks
from reasoningrec.student.score import use_threads
from reasoningrec.student.train import Report, TrainingRun, train
from reasoningrec.teacher import verify

CHUNK = 256
"""Queries scored or explained as one unit: the same batches, so the same figures, after a resume as without one."""


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
    """How answers are given."""
    settings = space.config.predict.model_dump(mode="json")
    if space.config.predict.mode == PredictConfig.model_fields["mode"].default:
        del settings["mode"]  # so that runs from before there were others stay done
    gates: list[Json] = list(verify.GATES.values())
    more = {"seed": space.config.seed, "max_reasons": space.config.reason.max_reasons, "gates": gates}
    more |= {**baseline_fields(space), **served.fields(space.config), **without(space.config)}
    return {**settings, **more, "decision": fuse.settings()}


def predict(desk: Desk) -> Outcome:
    """Score valid and test, fuse, decide, and explain the decisions on test."""
    space, config = desk.space, desk.space.config
    student = served.student_of(desk.folder, config)
    use_threads(config.threads)
    scored = space.ids("valid", "test")
    explained = space.ids("test")[: config.predict.explain or None]
    with Journal(desk.run.journal_path("predict")) as journal:
        asked = prompted_of(config)
        whole = len(scored) * (1 + len(asked)) + len(explained) + len(trained_of(config.baselines))
        steps = _Steps(desk, journal, whole)
        answers = steps.do("score", scored, lambda cases: [one.row() for one in answer(student, cases, config)])
        served.check_answered(config, answers)
        scores: dict[str, float | None] = {id: row["p"] for id, row in answers.items()}
        fused, decisions = _fuse(desk, scores)
        probability = decisions[FUSED]
        decided = {id: probability[id] >= fused.threshold for id in explained}

        def write(cases: list[Case]) -> list[Row]:
            decisions = [decided[case.query.id] for case in cases]
            said = [Answer.of(answers[case.query.id]) for case in cases]
            return [to_row(text) for text in explain(student, cases, decisions, config, said)]

        texts = steps.do("write", explained, write)
        others = answers_of_baselines(desk, journal, steps.told)
        said = {method: steps.do(f"baseline/{method}", scored, partial(ask_model, desk, method)) for method in asked}
    others |= {method: _zero_shot(space, method, rows) for method, rows in said.items()}
    write_jsonl(desk.folder / "predict" / "explanations.jsonl", (texts[id] for id in explained))
    _write_predictions(desk, scores, decisions, others)
    served.note_spending(desk, student)
    return Outcome(
        {
            "scored": len(scored),
            "invalid": sum(value is None for value in scores.values()),
            **served.counts_of(answers.values()),
            **_zero_shot_counts(said.values()),
            "explained": len(explained),
            "explained_by_student": sum(texts[id]["origin"] == "student" for id in explained),
        }
    )


def _zero_shot(space: Workspace, method: str, rows: Mapping[str, Row]) -> Floats:
    """(N,) P(Yes) by a prompted method, rows as in the windows; nan where there is none. Raises as `check_said`."""
    check_said(method, rows.values())
    return student_answers(space.windows["id"].to_list(), {id: row["p"] for id, row in rows.items()})


def _zero_shot_counts(said: Iterable[Mapping[str, Row]]) -> dict[str, int]:
    """How many answers of the prompted methods have a note, by the note."""
    noted = served.counts_of(row for rows in said for row in rows.values())
    return {f"zero_shot_{note}": count for note, count in noted.items()}


class _Steps:
    """Work on queries in chunks of fixed members, each chunk kept in the journal whole."""

    def __init__(self, desk: Desk, journal: Journal, total: int) -> None:
        self._desk, self._journal, self._total = desk, journal, total

    def do(self, step: str, ids: Sequence[str], work: Callable[[list[Case]], list[Row]]) -> dict[str, Row]:
        """Query id -> what `work` found, from the journal where it stands there."""
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            if any(f"{step}/{id}" not in self._journal.done for id in chunk):
                found = work(self._desk.space.cases(chunk))
                self._journal.extend((f"{step}/{id}", row) for id, row in zip(chunk, found, strict=True))
            self.told()
        return {id: self._journal.done[f"{step}/{id}"] for id in ids}

    def told(self) -> None:
        """Tell how far it is."""
        self._desk.tell(len(self._journal.done), self._total)


def _fuse(desk: Desk, scores: dict[str, float | None]) -> tuple[fuse.Fused, dict[str, dict[str, float]]]:
    """Fit on train and valid, choose the threshold on valid, and answer valid (held out) and test, by method.

    `NO_STUDENT` is the same decision with the student left out.
    """
    space = desk.space
    ids = space.windows["id"].to_list()
    student = student_answers(ids, scores)
    numbers, labels, role = space.deciding
    unknown = np.full(len(numbers) - len(ids), np.nan)
    learned = fuse.learn(numbers, labels, role, space.config.seed)
    valid = (space.windows["role"] == "valid").to_numpy()
    answers = {}
    for method, said in ((NO_STUDENT, np.full_like(student, np.nan)), (FUSED, student)):
        fused, on_valid = learned.with_student(np.concatenate([said, unknown]))
        found = fused(numbers[: len(ids)], said)
        found[valid] = on_valid
        answers[method] = dict(zip(ids, found.tolist(), strict=True))
    fused = replace(fused, threshold=choose_threshold(space.labels[valid], on_valid))
    latent.save(latent.now(space.timeline, space.windows), desk.folder / latent.FILE)
    write_json(desk.folder / "predict" / "fuse.json", fused.to_json())
    return fused, answers


def student_answers(ids: Sequence[str], scores: Mapping[str, float | None]) -> Floats:
    """(N,) P(Yes) in the order of `ids`; nan where there is none."""
    found = (scores.get(id) for id in ids)
    return np.array([np.nan if value is None else value for value in found])


def _write_predictions(
    desk: Desk,
    scores: Mapping[str, float | None],
    fused: Mapping[str, Mapping[str, float]],
    others: Mapping[str, Floats],
) -> None:
    """Every method's answer to every valid and test query."""
    space = desk.space
    rows = []
    for place, (id, user, item) in enumerate(space.windows.select("id", "user", "item").iter_rows()):
        if id in scores:
            answers = {FUSED: fused[FUSED][id], STUDENT: scores[id], NO_STUDENT: fused[NO_STUDENT][id]}
            answers |= {method: _number(found[place]) for method, found in others.items()}
            rows += [to_row(Prediction(id, user, item, method, p)) for method, p in answers.items()]
    write_jsonl(desk.folder / "predict" / "predictions.jsonl", rows)


def _number(p: float) -> float | None:
    return None if np.isnan(p) else float(p)
