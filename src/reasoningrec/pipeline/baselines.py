"""Stage baselines: what plain statistics and trained recommenders answer to the valid and test queries.

The prompted ones ask a model, as the student's scoring does, and belong to stage predict; what they are asked is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from reasoningrec.baselines import factors, prompted, sequential, statistics
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.config import BaselinesConfig, Config
from reasoningrec.data.timeline import Floats
from reasoningrec.errors import TeacherError
from reasoningrec.pipeline import predictions
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import opened_chooser, settings_of, wording
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row
from reasoningrec.runs import Journal

FACTORS: Final = tuple(factors.METHODS)


def baseline_fields(space: Workspace) -> dict[str, Json]:
    """The settings of those that ask no model. Without trained ones, threads and networks' settings change nothing."""
    config = space.config.baselines
    seed: dict[str, Json] = {"seed": space.config.seed, "shots": config.shots}
    if not (methods := trained_of(config)):
        return seed
    settings = {**config.model_dump(mode="json"), "methods": methods}
    return {**seed, **settings, "threads": space.config.threads}


def prompted_fields(config: Config) -> dict[str, Json]:
    """What the answers of the prompted ones depend on; nothing where there are none."""
    if not (methods := prompted_of(config)):
        return {}
    return {"prompted": {**settings_of(config.teacher), "methods": methods, "prompt": prompted.digest()}}


def trained_of(config: BaselinesConfig) -> list[str]:
    """The methods that are trained."""
    return [method for method in dict.fromkeys(config.methods) if method not in prompted.METHODS]


def prompted_of(config: Config) -> list[str]:
    """The methods that ask the teacher."""
    return [method for method in dict.fromkeys(config.baselines.methods) if method in prompted.METHODS]


def ask_model(desk: Desk, method: str, cases: Sequence[Case]) -> list[Row]:
    """What one of the prompted methods says to each case. Raises TeacherError where the model cannot go on."""
    config = desk.space.config
    with opened_chooser(config, desk.folder) as client:
        said = prompted.ask(client, cases, method, words_of(config))
    return [{"p": one.p, **({"note": one.note} if one.note else {})} for one in said]


def words_of(config: Config) -> prompted.Words:
    """What a prompted method calls things."""
    words = wording(config)
    return prompted.Words(words.item_word, words.items_word, words.user_word)


def check_said(method: str, rows: Collection[Row]) -> None:
    """Raises TeacherError where a model said Yes or No to nothing it was asked."""
    if rows and all(row["p"] is None for row in rows):
        notes = Counter(str(row["note"]) for row in rows)
        told = ", ".join(f"{note} {count:,}" for note, count in sorted(notes.items()))
        raise TeacherError(
            f"baselines.methods: {method}: not one of {len(rows):,} answers is Yes or No ({told})",
            hint="A model that thinks before it answers cannot be asked so; some servers have it switched off in "
            "[teacher] extra.",
        )


def check_baselines(space: Workspace) -> None:
    """Raises ConfigError where a package that a method needs is not installed."""
    if "als" in space.config.baselines.methods:
        factors.package()


def answer_by_baselines(desk: Desk) -> Outcome:
    """Answer by every statistic and every trained method that is named.

    A trained method's answers are kept in the journal as soon as they are there.
    """
    space = desk.space
    n = space.windows.height
    answers = {method: found[:n] for method, found in counted(space).items()}
    methods = trained_of(space.config.baselines)
    allowed = Allowed.of(space.timeline, space.windows, space.config.protocol, space.config.split.history)
    with Journal(desk.run.journal_path("baselines")) as journal:
        for done, method in enumerate(methods, 1):
            if method not in journal.done:
                found = trained(method, allowed, space.config.baselines, space.config.seed)
                journal.extend([(method, {"p": found.tolist()})])
            answers[method] = np.full(n, np.nan)
            answers[method][allowed.window] = journal.done[method]["p"]
            desk.tell(done, len(methods))
    predictions.write(space, "baselines", answers)
    return Outcome({"methods": len(answers), "trained": len(methods)})


def counted(space: Workspace) -> dict[str, Floats]:
    """(at least N,) P(like) by each method of plain statistics; shots are train windows, as they are the student's."""
    shots = space.config.baselines.shots
    known = (space.numbers, space.labels, space.windows["role"]) if shots else space.learning
    return statistics.predict(*known, space.config.seed, shots)


def trained(method: str, allowed: Allowed, config: BaselinesConfig, seed: int) -> Floats:
    """(Q,) P(like) of the valid and test queries by one trained method."""
    if method in FACTORS:
        return factors.predict(method, allowed, config, seed)
    return sequential.predict(method, allowed, config, seed)
