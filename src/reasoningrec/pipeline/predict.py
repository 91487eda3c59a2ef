"""Stage predict: the fused decision and its explanations, and what a model says that was taught nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.decisions import choose_threshold
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT
from reasoningrec.journal import Journal
from reasoningrec.pipeline import predictions, score, served
from reasoningrec.pipeline.chunks import Chunks, refusing
from reasoningrec.pipeline.explain import Answer, explain, writes
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace, without
from reasoningrec.pipeline.zero_shot import ask_model, check_said, prompted_fields, prompted_of, step_of
from reasoningrec.ranking import fuse, latent
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row, to_row, write_json, write_jsonl
from reasoningrec.student.score import use_threads
from reasoningrec.teacher import verify


def predict_fields(space: Workspace) -> dict[str, Json]:
    """How decisions are made and explained, and what a model is asked beside them."""
    config = space.config
    return {
        **config.predict.model_dump(mode="json"),
        **prompted_fields(config),
        **served.fields(config),
        **without(config),
        **({"fused": False} if "fusion" in config.without else {}),
        "seed": config.seed,
        "max_reasons": config.reason.max_reasons,
        "gates": list(verify.GATES.values()),
        "decision": fuse.settings(),
    }


def predict(desk: Desk) -> Outcome:
    """Fuse what the student said with the evidence, decide, and explain the decisions on test."""
    space, config = desk.space, desk.space.config
    student = served.student_of(desk.folder, config) if writes(config) else None
    use_threads(config.threads)
    answers = score.answers(desk.folder)
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

    with Journal(desk.run.journal_path(desk.stage)) as journal:
        chunks = Chunks(desk, journal, len(explained) + len(scored) * len(asked))
        others = {method: chunks.do(step_of(method), scored, partial(ask_model, desk, method)) for method in asked}
        with refusing(journal):
            for method, rows in others.items():
                check_said(method, rows.values())
        texts = chunks.do("write", explained, write)
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
    Without fusion, the decision is the student's own.
    """
    space = desk.space
    numbers, labels, role = space.deciding
    unknown = np.full(len(numbers) - len(student), np.nan)
    learned = fuse.learn(numbers, labels, role, space.config.seed)
    valid = (space.windows["role"] == "valid").to_numpy()
    answers = {}
    weighed = learned.student_alone if "fusion" in space.config.without else learned.with_student
    nobody = np.full_like(student, np.nan)
    for method, said, fitted in ((NO_STUDENT, nobody, learned.with_student), (FUSED, student, weighed)):
        fused, on_valid = fitted(np.concatenate([said, unknown]))
        answers[method] = fused(numbers[: len(student)], said)
        answers[method][valid] = on_valid
    fused = replace(fused, threshold=choose_threshold(space.labels[valid], on_valid))
    latent.save(latent.now(space.timeline, space.windows), desk.folder / latent.FILE)
    write_json(desk.folder / "predict" / "fuse.json", fused.to_json())
    return fused, answers


def probabilities(ids: Sequence[str], rows: Mapping[str, Row]) -> Floats:
    """(N,) P(Yes) in the order of `ids`; nan where there is none."""
    return np.array([rows[id]["p"] if id in rows else None for id in ids], dtype=np.float64)  # None becomes nan
