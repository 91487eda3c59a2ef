"""`reasoningrec audit`: the checks of `data.audit` on a run, and the measures of `evaluation.leak` on one or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reasoningrec.config import Config, Protocol
from reasoningrec.data import evidence
from reasoningrec.data.audit import Audited, Check, audit
from reasoningrec.data.timeline import Timeline
from reasoningrec.errors import InputError, RunError
from reasoningrec.evaluation import decisions, leak, uncertainty
from reasoningrec.evaluation.decisions import Bools, Floats
from reasoningrec.pipeline import looks, predictions
from reasoningrec.pipeline.compare import PLACES
from reasoningrec.pipeline.given import GIVEN
from reasoningrec.pipeline.line import check_finished, check_made_from
from reasoningrec.pipeline.measure import sequences
from reasoningrec.pipeline.workspace import Workspace, check_named_once, config_of
from reasoningrec.ranking.fuse import with_latent
from reasoningrec.records import Case
from reasoningrec.runs import Run

NEEDED = "profile"
"""The last stage an audit reads: texts must be written; a student need not be trained."""
TITLE, DESCRIBED = "title, brand, categories", "the same and the description"


@dataclass(frozen=True)
class Gain:
    """A method's AUC in another run minus its AUC in this one, on the same test queries, paired."""

    method: str
    here: float | None
    there: float | None
    figure: leak.Figure


@dataclass(frozen=True)
class Against:
    """Another run of the same data, and what each method gains there."""

    run: str
    protocol: Protocol
    text: tuple[leak.Figure, ...]
    """Of the target-text classifier there."""
    gains: tuple[Gain, ...]
    note: str = ""
    """Why there are no gains."""
    differs: tuple[str, ...] = ()
    """Sections and settings in which the runs differ besides the protocol: a gain is of all of them together."""


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit."""

    run: str
    dataset: str
    protocol: Protocol
    checks: tuple[Check, ...]
    settings: str
    """Of the target-text classifier, in words."""
    text: tuple[leak.Figure, ...]
    """AUC of the classifier that sees the target's text alone, without and with the description, and the difference."""
    against: tuple[Against, ...] = ()
    notes: tuple[str, ...] = ()
    """Looks at a test set that could not be noted."""

    @property
    def found(self) -> bool:
        """Whether a check found something."""
        return any(check.ruling == "found" for check in self.checks)


def opened(folder: Path) -> tuple[Run, Workspace]:
    """A run whose texts are written. Raises RunError or NotInRunError where that is not so, or out of date."""
    run = Run.read(folder)
    run.require("data")
    space = Workspace(folder, config_of(run))
    check_finished(run, space, NEEDED)
    return run, space


def audit_run(folder: Path, others: Sequence[Path] = (), *, sample: int = 64) -> Audit:
    """Check a run, measure what its targets' texts tell, and what methods gain in `others`.

    Args:
        folder: the run's; stages up to `profile` must be done.
        others: runs of the same data under other protocols.
        sample: how many questions have all their numbers worked out anew.

    Raises:
        InputError: one of `others` is the run itself, or is named twice.
        RunError: a folder is no run, is damaged, or is a run of other data.
        NotInRunError: a stage is not done, or is out of date.
    """
    check_named_once(others, "--against: ")
    _, space = opened(folder)
    config = space.config
    checks = audit(_audited(space, sample))
    side = _Side.of(space)
    text = text_figures(space, side)
    spaces = [opened(other)[1] for other in others]
    compared = tuple(_against(space, side, other, folder) for other, folder in zip(spaces, others, strict=True))
    labels = dict(zip(side.ids, side.labels.tolist(), strict=True))
    methods = 2 + max((len(one.gains) for one in compared), default=0)
    return Audit(
        run=str(folder),
        dataset=config.name,
        protocol=config.protocol,
        checks=checks,
        settings=leak.SETTINGS,
        text=text,
        against=compared,
        notes=tuple(said for one in (space, *spaces) for said in looks.note_or_tell(one, "audit", labels, methods)),
    )


def _audited(space: Workspace, sample: int) -> Audited:
    config, texts = space.config, space.texts
    cases = space.cases(space.windows["id"])
    elsewhere = {id for found in (texts.of_target, texts.of_user) for id, key in found.items() if _is_given(key)}
    items = {item for item, key in texts.of_item.items() if _is_given(key)}
    elsewhere |= {case.query.id for case in cases if any(case.item_texts.get(item) for item in items)}
    return Audited(
        corpus=space.corpus,
        timeline=space.timeline,
        windows=space.windows,
        protocol=config.protocol,
        train_targets=space.train_targets,
        numbers=with_latent(space.numbers, space.timeline, space.windows),
        work_out=partial(_worked_out, space),
        history=config.split.history,
        cases=cases,
        text_keys={id: key for id, key in space.description_keys.items() if not _is_given(texts.of_target[id])},
        profile_keys={id: key for id, key in space.profile_keys.items() if not _is_given(texts.of_user[id])},
        item_keys={item: space.review_counts[item] for item in texts.of_item if item not in items},
        given=frozenset(elsewhere),
        reviews=space.reviews,
        sample=sample,
        seed=config.seed,
        repeats=config.data.repeats,
    )


def _is_given(key: str) -> bool:
    return key.endswith(f"@{GIVEN}")


def _worked_out(space: Workspace, timeline: Timeline, windows: pl.DataFrame) -> pl.DataFrame:
    """All numbers that the decision reads of these windows: those that are counted, and the one that is fitted."""
    config = space.config
    counted = evidence.numbers(timeline, space.attributes, windows, config.evidence, config.split.history)
    return with_latent(counted, timeline, windows)


@dataclass(frozen=True)
class _Side:
    """The test queries of a run: ids in order, labels, clusters of twins, and what their prompts show."""

    ids: list[str]
    labels: Bools
    cluster: NDArray[np.int64]
    cases: list[Case]

    @classmethod
    def of(cls, space: Workspace) -> _Side:
        ids = space.ids("test")
        clusters = uncertainty.clusters(sequences(space))
        cases = space.cases(ids)
        labels = np.array([space.label_of[id] for id in ids], dtype=np.bool_)
        return cls(ids, labels, np.array([clusters[case.query.user] for case in cases], dtype=np.int64), cases)

    def same_questions(self, other: _Side) -> bool:
        """Whether users, items and answers agree, query by query."""
        mine, theirs = ([(case.query.user, case.query.item) for case in side.cases] for side in (self, other))
        return self.ids == other.ids and mine == theirs and bool((self.labels == other.labels).all())


def text_figures(space: Workspace, side: _Side | None = None) -> tuple[leak.Figure, ...]:
    """AUC on the test queries of what reads the target's text alone, without and with the description."""
    side = side or _Side.of(space)
    seed, settings = space.config.seed, space.config.evaluate
    bare = [_plain(case) for case in side.cases]
    full = [f"{text}. {case.description}" for text, case in zip(bare, side.cases, strict=True)]
    scores = {
        name: leak.text_scores(texts, side.labels, side.cluster, seed)
        for name, texts in ((TITLE, bare), (DESCRIBED, full))
    }
    return leak.figures(
        side.labels, scores, side.cluster, leak.Sampling(settings.resamples, settings.level, space.config.seed)
    )


def _plain(case: Case) -> str:
    target = case.target
    return ". ".join([target.title, target.brand, *target.categories])


def _against(space: Workspace, side: _Side, other: Workspace, folder: Path) -> Against:
    config = other.config
    if config.name != space.config.name:
        raise RunError(
            f"{folder}: is a run of {config.name}, not of {space.config.name}",
            hint="--against takes runs of the same data under another protocol.",
        )
    if folder.resolve() == space.folder.resolve():
        raise InputError(f"--against: {folder} is the run itself", hint="Name a run under another protocol.")
    theirs = _Side.of(other)
    if not side.same_questions(theirs):
        raise RunError(
            f"{folder}: asks other test questions, or has other answers to them, than {space.folder}",
            hint="Give both runs the same [data] and split.tests_per_user.",
        )
    differs = _differing(space.config, config)
    found = Against(str(folder), config.protocol, text_figures(other, theirs), (), differs=differs)
    for run, stage in product((Run.read(space.folder), Run.read(folder)), predictions.FILES):
        if stage not in run.stages or run.stages[stage].status != "done":
            return replace(found, note=f"{run.folder} has no predictions of {stage}")
        check_made_from(run, stage)
        run.check(stage)
    return replace(found, gains=_gains(space, other, side))


def _differing(here: Config, there: Config) -> tuple[str, ...]:
    """What of two configurations differs and can move a prediction, the protocol apart."""
    apart = ("protocol", "cache", "prices", "budget", "evaluate", "report")
    quiet: dict[str, Any] = {**dict.fromkeys(apart, True), **PLACES}
    mine, theirs = (config.model_dump(exclude=quiet) for config in (here, there))
    return tuple(name for name, value in mine.items() if value != theirs[name])


def _gains(space: Workspace, other: Workspace, side: _Side) -> tuple[Gain, ...]:
    here, there = (predictions.answers(one, "test").predictions for one in (space, other))
    settings = space.config.evaluate
    sampling = leak.Sampling(settings.resamples, settings.level, space.config.seed)
    gains = []
    for method in (method for method in here if method in there):
        rows: Mapping[str, Floats] = {
            "here": decisions.align(here[method], side.ids),
            "there": decisions.align(there[method], side.ids),
        }
        mine, theirs, difference = leak.figures(side.labels, rows, side.cluster, sampling)
        gains.append(Gain(method, mine.value, theirs.value, difference))
    return tuple(gains)
