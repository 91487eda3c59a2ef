"""What a stage would ask next, found out without asking: kept answers lead every conversation on as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Model, Reply, Request
from reasoningrec.llm.remember import reply_of
from reasoningrec.pipeline.ask import Begun
from reasoningrec.pipeline.teach import WORK, by_rule, judgements, stays_blank
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import judge_of
from reasoningrec.rows import parse_line
from reasoningrec.runs import Run, State
from reasoningrec.teacher.conversation import finished

Recall = Callable[[Request], Reply | None]
"""The kept reply to a request; None where there is none."""


def follow(work: Iterable[Begun], recall: Recall) -> Iterator[tuple[Request | None, int]]:
    """For each conversation the request it would put next (None = it is at its end), and how many are answered."""
    for _, begin in work:
        conversation = begin()
        state, answered = finished(conversation), 0
        while isinstance(state, Request) and (reply := recall(state)) is not None:
            answered += 1
            state = finished(conversation, reply)
        yield (state if isinstance(state, Request) else None), answered


def pending(work: Iterable[Begun], recall: Recall) -> Iterator[Request]:
    """The requests that would be put next; further ones may follow on their answers."""
    return (request for request, _ in follow(work, recall) if request is not None)


def recalling(model: Model, cache: Cache) -> Recall:
    """What the cache knows; nobody is asked, and nothing is taken on."""

    def recall(request: Request) -> Reply | None:
        found = cache.get(key_of(model.body(request)))
        return None if found is None else reply_of(request, found)

    return recall


def work_of(space: Workspace, name: str) -> list[Begun]:
    """The conversations that stage `name` holds with a model or the offline writer; what it reads is done."""
    if name == "verify":
        return judgements(space, by_rule(space)[1]) if judge_of(space.config) else []
    return [] if stays_blank(space.config, name) else WORK[name](space)


def unwritten(run: Run, name: str, state: State, work: Iterable[Begun]) -> list[Begun]:
    """Of the conversations of a stage those that have come to no text yet. Changes nothing.

    Args:
        run: where the stage may have begun.
        name: of the stage.
        state: how it stands, as `Run.stage` finds it: what was done under other settings counts for nothing.
        work: all of its conversations.
    """
    if state == "done" or (state == "resume" and (run.folder / f"{name}.jsonl").exists()):
        return []
    done = _in_journal(run, name) if state == "resume" else set()
    return [begun for begun in work if begun[0] not in done]


def _in_journal(run: Run, name: str) -> set[str]:
    """Ids of the texts that a stage which did not finish has already."""
    path = run.journal_path(name)
    if not path.exists():
        return set()
    whole = path.read_bytes().split(b"\n")[:-1]
    return {str(parse_line(path, number, line).get("id")) for number, line in enumerate(whole, start=1)}
