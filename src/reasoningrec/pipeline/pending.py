"""What a stage would ask next, found out without asking: kept answers lead every conversation on as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

from reasoningrec.config import Config, ModelConfig
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Reply, Request
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse
from reasoningrec.pipeline.ask import Begun
from reasoningrec.pipeline.line import NAMES, STAGES, fields_of
from reasoningrec.pipeline.teach import WORK, by_rule, judgements, stays_blank
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import judge_of
from reasoningrec.rows import parse_line
from reasoningrec.runs import Run
from reasoningrec.teacher.conversation import finished

Recall = Callable[[Request], Reply | None]
"""The kept reply to a request; None where there is none."""


def pending(run: Run, space: Workspace, name: str, recall: Recall) -> Iterator[Request]:
    """The requests that stage `name` would put next; further ones may follow on their answers. Changes nothing.

    Args:
        run: where the stage may have begun; what it reads is done.
        space: of the run.
        name: describe, profile, reason or verify.
        recall: see there.
    """
    stage = STAGES[NAMES.index(name)]
    state = run.stage(name, fields_of(stage, run, space)).state
    if state != "done" and not (state == "resume" and (run.folder / f"{name}.jsonl").exists()):
        done = _in_journal(run, name) if state == "resume" else set()
        yield from follow(work_of(space, name), done, recall)


def follow(work: Iterable[Begun], done: Container[str], recall: Recall) -> Iterator[Request]:
    """The next request of each conversation that is neither `done` nor brought to its end by what `recall` knows."""
    for id, begin in work:
        if id in done:
            continue
        conversation = begin()
        state = finished(conversation)
        while isinstance(state, Request) and (reply := recall(state)) is not None:
            state = finished(conversation, reply)
        if isinstance(state, Request):
            yield state


def work_of(space: Workspace, name: str) -> list[Begun]:
    """The conversations that stage `name` holds with a model or the offline writer."""
    if name == "verify":
        return judgements(space, by_rule(space)[1]) if judge_of(space.config) else []
    return [] if stays_blank(space.config, name) else WORK[name](space)


def writer_of(config: Config, name: str) -> ModelConfig | None:
    """Who answers in stage `name`; None where nobody judges."""
    return judge_of(config) if name == "verify" else config.teacher


def silent(config: Config, chosen: ModelConfig, cache: Cache) -> Endpoint:
    """The model on a server as one that says its requests whole, but is not to be asked: it needs no key.

    How answers are asked for is what the cache knows of the server, or by schema.
    """
    quiet = chosen.model_copy(update={"key_env": ""})
    form = Endpoint(quiet, Purse(config.budget), cache).form(ask=False)
    return Endpoint(quiet.model_copy(update={"answer_form": form}), Purse(config.budget), cache)


def _in_journal(run: Run, name: str) -> set[str]:
    """Ids of the texts that a stage which did not finish has already."""
    path = run.journal_path(name)
    if not path.exists():
        return set()
    whole = path.read_bytes().split(b"\n")[:-1]
    return {str(parse_line(path, number, line).get("id")) for number, line in enumerate(whole, start=1)}
