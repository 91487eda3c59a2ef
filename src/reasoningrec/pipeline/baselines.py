"""The recommenders that ours is measured against: every method's answers to the valid and test queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np

from reasoningrec.baselines import factors, prompted, sequential, statistics
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.config import BaselinesConfig, Config
from reasoningrec.data.timeline import Floats
from reasoningrec.errors import TeacherError
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import opened_chooser, settings_of, wording
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row
from reasoningrec.runs import Journal

FACTORS: Final = tuple(factors.METHODS)


def baseline_fields(space: Workspace) -> dict[str, Json]:
    """The settings of the trained ones; nothing where there are none, so that runs from before them stay done."""
    config = space.config.baselines
    if config == BaselinesConfig():
        return {}
    asked: dict[str, Json] = {}
    if prompted_of(space.config):
        asked = {"prompted": {**settings_of(space.config.teacher), "prompt": prompted.digest()}}
    return {"baselines": config.model_dump(mode="json"), "baseline_threads": space.config.threads, **asked}


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


def answers_of_baselines(desk: Desk, journal: Journal, tell: Callable[[], None]) -> dict[str, Floats]:
    """(N,) P(like) by method, rows as in the windows; those of train windows are not to be measured.

    A trained method's answers are kept in the journal as soon as they are there.
    """
    space, config = desk.space, desk.space.config
    plain = counted(space)
    if not trained_of(config.baselines):
        return plain
    allowed = Allowed.of(space.timeline, space.windows, config.protocol, config.split.history)
    for method in trained_of(config.baselines):
        if f"baseline/{method}" not in journal.done:
            answers = trained(method, allowed, config.baselines, config.seed)
            journal.extend([(f"baseline/{method}", {"p": answers.tolist()})])
        tell()
        plain[method] = np.full(space.windows.height, np.nan)
        plain[method][allowed.window] = journal.done[f"baseline/{method}"]["p"]
    return plain


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
