"""Stage baselines: what plain statistics and trained recommenders answer to the valid and test queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from reasoningrec.baselines import factors, prompted, regression, sequential, statistics
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.config import BaselinesConfig
from reasoningrec.data.timeline import Floats
from reasoningrec.journal import Journal
from reasoningrec.pipeline import predictions
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Json
from reasoningrec.student.score import use_threads

FACTORS: Final = tuple(factors.METHODS)
RULE: Final = 4
"""Of how the trained ones learn: raised with every change of the code that moves their answers."""
OF_FEW: Final = 2
"""The same, of how all of them learn from few shots."""


def baseline_fields(space: Workspace) -> dict[str, Json]:
    """What answers depend on besides the evidence; of what is trained, nothing where nothing is."""
    config = space.config.baselines
    fields: dict[str, Json] = {"seed": space.config.seed, "regression": regression.settings()}
    if methods := trained_of(config):
        settings = config.model_dump(mode="json", exclude={"zero_shot"})
        fields |= {**settings, "methods": methods, "threads": space.config.threads, "rule": RULE}
    return fields | {"shots": [config.shots, OF_FEW] if config.shots else 0}


def trained_of(config: BaselinesConfig) -> list[str]:
    """The methods that are trained; the others ask a model (see `zero_shot`)."""
    return [method for method in dict.fromkeys(config.methods) if method not in prompted.METHODS]


def check_baselines(space: Workspace) -> None:
    """Raises ConfigError where a package that a method needs is not installed."""
    if "als" in space.config.baselines.methods:
        factors.package()


def answer_by_baselines(desk: Desk) -> Outcome:
    """Answer by every statistic and every trained method that is named."""
    space = desk.space
    use_threads(space.config.threads)
    methods = trained_of(space.config.baselines)
    answers = {method: found[: space.windows.height] for method, found in counted(space).items()}
    answers |= _by_training(desk, methods) if methods else {}
    predictions.write(space, "baselines", answers)
    counts = {"methods": len(answers), "trained": len(methods)}
    shots, windows = space.config.baselines.shots, int((space.windows["role"] == "train").sum())
    return Outcome(counts | ({"shots": min(shots, windows)} if shots else {}))


def _by_training(desk: Desk, methods: Sequence[str]) -> dict[str, Floats]:
    """(N,) P(like) by each trained method, nan for train windows; the journal keeps each as soon as it is there."""
    space, answers = desk.space, dict[str, Floats]()
    allowed = Allowed.of(space.timeline, space.windows, space.config.protocol, space.config.split.history)
    with Journal(desk.run.journal_path("baselines")) as journal:
        for done, method in enumerate(methods, 1):
            if method not in journal.done:
                found = trained(method, allowed, space.config.baselines, space.config.seed)
                journal.extend([(method, {"p": found.tolist()})])
            answers[method] = np.full(space.windows.height, np.nan)
            answers[method][allowed.window] = journal.done[method]["p"]
            desk.tell(done, len(methods))
    return answers


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
