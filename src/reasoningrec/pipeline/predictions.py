"""Every method's answers to the valid and test queries: how they are kept in a run, and read again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from reasoningrec.data.timeline import Floats
from reasoningrec.evaluation.evaluate import Answers
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.records import Prediction, Role
from reasoningrec.rows import read_records, to_row, write_jsonl

FILES: Final = {"predict": Path("predict", "predictions.jsonl"), "baselines": Path("baselines.jsonl")}
"""By stage: of the decision, the student, and a model that was taught nothing; of statistics and trained baselines."""


def write(space: Workspace, stage: str, answers: Mapping[str, Floats]) -> None:
    """Keep what a stage found: (N,) P(like) by method, rows as in the windows; nan is an invalid answer."""
    windows = enumerate(space.windows.select("id", "user", "item", "role").iter_rows())
    write_jsonl(
        space.folder / FILES[stage],
        (
            to_row(Prediction(id, user, item, method, None if np.isnan(found[at]) else float(found[at])))
            for at, (id, user, item, role) in windows
            if role != "train"
            for method, found in answers.items()
        ),
    )


def answers(space: Workspace, role: Role) -> Answers:
    """Labels of one role and every method's predictions on it."""
    labels = {id: space.label_of[id] for id in space.ids(role)}
    by_method: dict[str, list[Prediction]] = defaultdict(list)
    for file in FILES.values():
        for prediction in read_records(Prediction, space.folder / file):
            if prediction.query_id in labels:
                by_method[prediction.method].append(prediction)
    return Answers(labels, by_method)
