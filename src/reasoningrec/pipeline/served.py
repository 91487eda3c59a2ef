"""The run's student, on this machine or on a server."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from reasoningrec.config import Config
from reasoningrec.errors import StudentError
from reasoningrec.llm.checkpoint import digest_of
from reasoningrec.llm.completions import Sample
from reasoningrec.llm.settings import answering
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.writers import opened_student
from reasoningrec.rows import Json, Row
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.local import Local
from reasoningrec.student.served import Served, sample

SETTINGS: Final = {"temperature", "top_p", "max_new_tokens", "answer_form"}
"""Of a model's settings, those that mean nothing for a student."""


def student_of(folder: Path, config: Config) -> Local | Served:
    """The student of the run in `folder`, or the server that answers for it. Raises as `bases.load` does."""
    if not config.student.endpoint:
        return Local(Student.open(folder / "train", config.train.base), config.predict.batch_tokens)
    return served_student(folder, config)


def served_student(folder: Path, config: Config) -> Served:
    """The student of the run in `folder`, as the server in its configuration has it. Raises as `bases.load` does."""
    student = bases.without_weights(folder / "train")
    probe = Sample(sample(student), digest_of(folder / "train"))
    return Served(student, functools.partial(opened_student, config, folder, probe))


def fields(config: Config) -> dict[str, Json]:
    """What answers depend on where a server gives them."""
    if not config.student.endpoint:
        return {}
    return {"student": {name: value for name, value in answering(config.student).items() if name not in SETTINGS}}


def counts_of(answers: Iterable[Row]) -> dict[str, int]:
    """How many answers a server gave with a note, or not at all (see `Scored.note`)."""
    found = Counter(str(row["note"]) for row in answers if row.get("note"))
    return dict(sorted(found.items()))


def check_answered(config: Config, answers: Mapping[str, Row]) -> None:
    """Raises StudentError where a server said Yes or No to nothing it was asked."""
    if config.student.endpoint and answers and all(row["p"] is None for row in answers.values()):
        forget = f"reasoningrec cache prune --model {config.student.model}"
        forget += f" --cache {config.cache}" if config.cache else ""
        raise StudentError(
            f"[student]: {config.student.endpoint}: not one of {len(answers):,} answers is Yes or No",
            hint=f"Does it serve this run's student? `reasoningrec student check` compares them. Its answers are kept: "
            f"`{forget}` forgets them.",
        )


def note_spending(desk: Desk, student: Local | Served | None) -> None:
    """What this sitting asked of a server, beside the stage's times."""
    if isinstance(student, Served):
        spent = student.spent
        asked = {"asked": spent.calls, "cached": student.cached}
        used = {"input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens}
        desk.run.note_sitting(desk.stage, {**asked, **used})
