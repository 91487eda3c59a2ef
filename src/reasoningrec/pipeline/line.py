"""The line on one page: its stages in order, and how they are run and resumed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Final, Protocol

from reasoningrec import __version__
from reasoningrec.aside import ASIDE
from reasoningrec.config import Config
from reasoningrec.errors import ConfigError, DataError, NotInRunError, ReasoningRecError
from reasoningrec.llm.keys import Key
from reasoningrec.pipeline import baselines, learn, measure, predict, prepare, score, teach, zero_shot
from reasoningrec.pipeline.estimate import Estimate, estimates
from reasoningrec.pipeline.explain import writes
from reasoningrec.pipeline.stage import Desk, Stage
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import judge_of, wording
from reasoningrec.rows import Json
from reasoningrec.runs import MANIFEST, Run, StagePlan, StageRecord, State, fingerprint

STAGES: Final = (
    Stage("data", (), prepare.data_fields, prepare.read_data),
    Stage("split", ("data",), prepare.split_fields, prepare.make_split),
    Stage("evidence", ("split",), prepare.evidence_fields, prepare.make_evidence),
    Stage("describe", ("split",), teach.fields("describe"), teach.write_texts),
    Stage("profile", ("split",), teach.fields("profile"), teach.write_texts),
    Stage("reason", ("evidence", "describe", "profile"), teach.fields("reason"), teach.write_texts),
    Stage("verify", ("reason",), teach.verify_fields, teach.verify_rationales),
    Stage("train", ("verify",), learn.train_fields, learn.train_student),
    Stage("score", ("train",), score.score_fields, score.score_queries),
    Stage("predict", ("score",), predict.predict_fields, predict.predict),
    Stage("baselines", ("evidence",), baselines.baseline_fields, baselines.answer_by_baselines),
    Stage("evaluate", ("predict", "baselines"), measure.evaluate_fields, measure.measure),
    Stage("report", ("evaluate",), measure.report_fields, measure.write_reports),
)
NAMES: Final = tuple(stage.name for stage in STAGES)
LARGE: Final = ("train", "predict")
"""What a dry run looks at where it is."""
NOT_COPIED: Final = (".lock", ".tmp*", f"{ASIDE}*", *LARGE, "train-tracked", "evaluate*", "report*")


UNANSWERED: Final = ("failed", "judge_failed", "unanswered", "zero_shot_unanswered")
"""Counts of what may be asked again."""


class Listener(Protocol):
    """Whom a run tells how it goes."""

    def begun(self, plan: StagePlan) -> None:
        """A stage starts, or is found done."""

    def moved(self, done: int, total: int) -> None:
        """The stage that started last has done so much."""

    def ended(self, name: str, counts: dict[str, int | float]) -> None:
        """A stage is done."""


def run_line(
    folder: Path, config: Config, listener: Listener, until: str = NAMES[-1], *, retry_failed: bool = False
) -> None:
    """Run every stage up to `until` that is not done with this configuration; resume what was cut short.

    Args:
        folder: the run's; made where it does not exist.
        config: of the run; where it differs from the last time, the stages that depend on the difference are redone.
        listener: whom to tell.
        until: name of the last stage to run.
        retry_failed: whether stages in which texts failed are done again; what was answered comes from the cache.

    Raises:
        ReasoningRecError: the folder cannot be used, the data break a rule, or a stage failed; what is done is kept.
    """
    space = Workspace(folder, config)
    prepare.data_fields(space)  # missing files are told before anything is touched
    if NAMES.index(until) >= NAMES.index("train"):
        learn.check_base(space)  # and so is a base that cannot be learned from: texts are paid for
    if NAMES.index(until) >= NAMES.index("baselines"):
        baselines.check_baselines(space)
    with Run.open(folder, create=True) as run:
        _check_models(config, run, NAMES[: NAMES.index(until) + 1], _failed(run) if retry_failed else set())
        run.configure(config.model_dump(mode="json"), version=__version__)
        for stage in STAGES[: NAMES.index(until) + 1]:
            _run_stage(stage, Desk(run, space, listener.moved, stage.name), listener, retry_failed=retry_failed)


def estimate(folder: Path, config: Config, listener: Listener, stages: Sequence[str]) -> list[Estimate]:
    """What the teacher would be asked in these stages, asking nothing and changing nothing.

    Works in a copy of what the run has, where data, split and evidence are done first. Raises as `run_line` does.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "run"
        if (folder / MANIFEST).is_file():
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
            for name in LARGE:
                (copy / name).symlink_to((folder / name).resolve())
        run_line(copy, config, listener, "evidence")
        space = Workspace(copy, config)
        with Run.open(copy, create=False) as run:
            return list(estimates(space, run, states_of(run, space), stages))


def states_of(run: Run, space: Workspace) -> dict[str, State]:
    """How each stage stands with the settings of `space`; one that reads what is not done starts over.

    `data` is taken to be done: to see that its files are the same takes reading them.
    """
    states: dict[str, State] = {"data": "done"}
    for stage in STAGES[1:]:
        ready = all(states[name] == "done" for name in stage.reads)
        states[stage.name] = run.stage(stage.name, fields_of(stage, run, space)).state if ready else "fresh"
    return states


def _check_models(config: Config, run: Run, names: Sequence[str], again: Set[str]) -> None:
    """See that keys are there and prompts can be read, before the first request is paid for.

    `again`: stages that are done once more, and so may be those that read them. A run whose texts are all written needs
    neither, nor one whose queries are answered. Raises ConfigError.
    """
    again = {name for name in names if again & {name, *_read_by(name)}}
    left = {name for name in names if name in again or run.stages.get(name, StageRecord()).status != "done"}
    if "score" in left or ("predict" in left and writes(config)):
        Key.of(config.student.key_env, "student.key_env")
    if "predict" in left and zero_shot.prompted_of(config):
        Key.of(config.teacher.key_env, "teacher.key_env")
    if texts := left.intersection(teach.PROMPTS):
        wording(config).prompts.check()
        judge = judge_of(config) if "verify" in texts else None
        for model in (config.teacher if texts - {"verify"} else None, judge):
            if model is not None and model.endpoint:
                Key.of(model.key_env, f"{'teacher' if model is config.teacher else 'judge'}.key_env")


def _failed(run: Run) -> set[str]:
    """Every finished stage in which texts failed."""
    return {name for name, known in run.stages.items() if any(known.counts.get(count) for count in UNANSWERED)}


def check_finished(run: Run, space: Workspace, last: str) -> None:
    """See that the stages up to `last` are done, whole, and of the run's present configuration.

    Raises:
        NotInRunError: one is not done, or was done with other settings than the run's, or from something older.
        RunError: a file of one is damaged.
    """
    for stage in STAGES[: NAMES.index(last) + 1]:
        _check(stage, run, space, last)


def check_before(run: Run, space: Workspace, name: str) -> None:
    """See that all that stage `name` reads is done, as `check_finished` does, with the same errors."""
    needed = _read_by(name)
    for stage in STAGES:
        if stage.name in needed:
            if stage.name in run.stages:
                _check(stage, run, space, stage.name)
            else:
                command = "run" if stage.name in NAMES[:3] else stage.name
                hint = f"Run `reasoningrec {command} --run {run.folder} CONFIG.toml` first."
                raise NotInRunError(
                    f"{run.folder}: stage {name} needs stage {stage.name}, which is not begun", hint=hint
                )


def check_made_from(run: Run, last: str) -> None:
    """See that `last` and all that it reads are done, and that each was made from the others as they stand now.

    Unlike `check_finished` it does not ask whether this version of the package would make them alike, so that runs of
    older ones with the same stages can be read, and looks at no file.

    Raises:
        NotInRunError: one is not done, or was made from something older.
    """
    needed = {last, *_read_by(last)}
    since = out_of_date(run)
    for stage in STAGES:
        if stage.name in needed:
            run.require(stage.name)
            if stage.name in since:
                raise NotInRunError(
                    f"{run.folder}: stage {stage.name} is out of date: stage {since[stage.name]} was done again since",
                    hint=f"Run `reasoningrec {last} --run {run.folder}` first.",
                )


def out_of_date(run: Run) -> dict[str, str]:
    """Finished stages that were made from something older than what stands in the run -> the stage done again since."""
    since: dict[str, str] = {}
    for stage in STAGES:
        done = run.stages.get(stage.name, StageRecord())
        for name in stage.reads:
            again = done.fields.get(f"stage {name}") != run.stages.get(name, StageRecord()).outcome
            if done.status == "done" and (again or name in since):
                since.setdefault(stage.name, name if again else since[name])
    return since


def _read_by(name: str) -> set[str]:
    """Every stage that a stage reads, or that one of those reads."""
    wanted, needed = [name], set[str]()
    while wanted:
        reads = STAGES[NAMES.index(wanted.pop())].reads
        needed.update(reads)
        wanted += reads
    return needed


def _check(stage: Stage, run: Run, space: Workspace, last: str) -> None:
    done = run.require(stage.name).fields
    wanted = prepare.data_settings(space) if stage.name == "data" else fields_of(stage, run, space)
    if changed := [name for name, value in wanted.items() if done.get(name) != value]:
        raise NotInRunError(
            f"{run.folder}: stage {stage.name} is out of date: {', '.join(changed)} changed since",
            hint=f"Run `reasoningrec {last} --run {run.folder}` first.",
        )
    run.check(stage.name)


def fields_of(stage: Stage, run: Run, space: Workspace) -> dict[str, Json]:
    """All that the outcome of a stage depends on."""
    return {**stage.fields(space), **{f"stage {name}": run.stages[name].outcome for name in stage.reads}}


def _run_stage(stage: Stage, desk: Desk, listener: Listener, *, retry_failed: bool) -> None:
    run = desk.run
    fields = fields_of(stage, run, desk.space)
    if run.stage(stage.name, fields).state != "done":
        run.take_back(stage.name, fingerprint(fields))  # by these settings it was done before others were tried
    again = retry_failed and stage.name in _failed(run)
    plan = run.stage(stage.name, fields, again=again)
    listener.begun(plan)
    if plan.state != "done":
        run.begin(stage.name, fields, again=again)
        try:
            outcome = stage.work(desk)
        except ReasoningRecError as error:
            slip = isinstance(error, ConfigError | DataError) or run.is_untouched(stage.name)
            # A slip must not take away what a finished run has, nor what a sitting before this one has done.
            if plan.state == "resume" or not (slip and run.take_back(stage.name)):
                run.fail(stage.name, str(error))
            raise
        run.finish(stage.name, outcome.counts, outcome.notes)
    else:
        run.check(stage.name)
    listener.ended(stage.name, dict(run.stages[stage.name].counts))
