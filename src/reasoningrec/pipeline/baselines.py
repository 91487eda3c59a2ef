"""The recommenders that ours is measured against: every method's answers to the valid and test queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from reasoningrec.baselines import factors, sequential, statistics
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.config import BaselinesConfig
from reasoningrec.data.timeline import Floats
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Json
from reasoningrec.runs import Journal

FACTORS: Final = tuple(factors.METHODS)


def baseline_fields(space: Workspace) -> dict[str, Json]:
    """The settings of the trained ones; nothing where there are none, so that runs from before them stay done."""
    config = space.config.baselines
    if config == BaselinesConfig():
        return {}
    return {"baselines": config.model_dump(mode="json"), "baseline_threads": space.config.threads}


def check_baselines(space: Workspace) -> None:
    """Raises ConfigError where a package that a method needs is not installed."""
    if "als" in space.config.baselines.methods:
        factors.package()


def answers_of_baselines(desk: Desk, journal: Journal, tell: Callable[[], None]) -> dict[str, Floats]:
    """(N,) P(like) by method, rows as in the windows; those of train windows are not to be measured.

    A trained method's answers are kept in the journal as soon as they are there.
    """
    space, config = desk.space, desk.space.config
    plain = statistics.predict(*space.learning, config.seed, config.baselines.shots)
    if not config.baselines.methods:
        return plain
    allowed = Allowed.of(space.timeline, space.windows, config.protocol, config.split.history)
    for method in dict.fromkeys(config.baselines.methods):
        if f"baseline/{method}" not in journal.done:
            answers = trained(method, allowed, config.baselines, config.seed)
            journal.extend([(f"baseline/{method}", {"p": answers.tolist()})])
        tell()
        plain[method] = np.full(space.windows.height, np.nan)
        plain[method][allowed.window] = journal.done[f"baseline/{method}"]["p"]
    return plain


def trained(method: str, allowed: Allowed, config: BaselinesConfig, seed: int) -> Floats:
    """(Q,) P(like) of the valid and test queries by one trained method."""
    if method in FACTORS:
        return factors.predict(method, allowed, config, seed)
    return sequential.predict(method, allowed, config, seed)
