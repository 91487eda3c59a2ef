"""What a stage would ask the teacher, before it asks: calls, tokens, money, time. Asks nothing and pays nothing.

Conversations are played through the cache as far as its answers reach; what comes next is counted. What an answer that
is not there yet would lead to (a repair, a further try) is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from reasoningrec.baselines import prompted
from reasoningrec.config import Config, ModelConfig
from reasoningrec.llm import cache as caches
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Model, Request, Usage
from reasoningrec.llm.limits import MINUTE, cost_of, cost_of_bought
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.llm.tokens import of_words
from reasoningrec.pipeline import teach
from reasoningrec.pipeline.ask import Begun
from reasoningrec.pipeline.pending import follow, recalling, unwritten, work_of
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import buyer_of, judge_of, model_of, name_of
from reasoningrec.pipeline.zero_shot import asked_of, prompted_of, question_of, step_of
from reasoningrec.records import Rationale
from reasoningrec.runs import Run, State
from reasoningrec.teacher.conversation import Conversation, Result

GUESSED_START: Final = 1.0
"""Seconds until an answer begins, where nothing was measured."""
GUESSED_SPEED: Final = 40.0
"""Tokens a second of one answer, where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage would ask now."""

    stage: str
    model: str
    """"offline" where no model is asked."""
    texts: int
    done: int
    """Texts that are written or given already."""
    cached: int = 0
    """Answers that are in the cache."""
    out: int = 0
    """Texts whose next request is out in a batch file."""
    usage: Usage = field(default_factory=Usage)
    """Calls and their tokens; those of the answers are always an estimate."""
    exact: bool = False
    """Whether prompts were counted with the model's tokenizer."""
    cost: float | None = None
    """None where there is no price."""
    seconds: float = 0.0
    measured: bool = False
    """Whether the time is from earlier answers of the model, else it is a guess."""
    supposed: bool = False
    """Whether texts of earlier stages do not exist yet, and were supposed as long as they may be."""


def estimates(space: Workspace, run: Run, states: Mapping[str, State], stages: Sequence[str]) -> Iterator[Estimate]:
    """An estimate of each of these stages.

    Args:
        space: of the run; data, split and evidence have to be done.
        run: opened for writing, so that nobody else works in it.
        states: how its stages stand with the settings of `space`.
        stages: some of describe, profile, reason, verify, predict; the last asks where methods are prompted.
    """
    for stage in stages:
        if stage == "verify":
            yield _of_judge(space, run, states, stage)
        elif stage != "predict":
            yield _of_texts(space, run, states, stage)
        elif prompted_of(space.config):
            yield _of_prompted(space, run, states, stage)


def _of_texts(space: Workspace, run: Run, states: Mapping[str, State], stage: str) -> Estimate:
    config, chosen = space.config, space.config.teacher
    supposed = stage == "reason" and not states["describe"] == states["profile"] == "done"
    given = space.given_texts[stage]
    work = work_of(space.supposing() if supposed else space, stage)
    left = unwritten(run, stage, states[stage], work)
    texts = len(work) + len(given)
    found = Estimate(stage, OfflineWriter.name, texts, texts - len(left), supposed=supposed)
    return found if chosen.offline else _counted(found, config, chosen, left, partial(model_of, config, chosen), run)


def _of_judge(space: Workspace, run: Run, states: Mapping[str, State], stage: str) -> Estimate:
    config, chosen = space.config, judge_of(space.config)
    supposed = states["reason"] != "done"
    if supposed:
        begun = work_of(space.supposing(), "reason")
        texts = {id: _any_rationale(id, config) for id, _ in begun}
    else:
        texts = teach.by_rule(space)[1]
    if chosen is None:
        return Estimate(stage, OfflineWriter.name, len(texts), len(texts))
    left = unwritten(run, stage, states[stage], teach.judgements(space, texts))
    found = Estimate(stage, name_of(chosen), len(texts), len(texts) - len(left), supposed=supposed)
    return _counted(found, config, chosen, left, partial(model_of, config, chosen), run)


def _of_prompted(space: Workspace, run: Run, states: Mapping[str, State], stage: str) -> Estimate:
    """The zero-shot methods: one token, or one word, a method for each valid and test query."""
    config, asked = space.config, prompted_of(space.config)
    shows_texts = any(any(prompted.METHODS[method]) for method in asked)
    supposed = shows_texts and not states["describe"] == states["profile"] == "done"
    cases = (space.supposing() if supposed else space).cases(space.ids("valid", "test"))
    work = [
        (f"{step_of(method)}/{case.query.id}", partial(_once, question_of(config, case, method)))
        for method in asked
        for case in cases
    ]
    left = unwritten(run, stage, states[stage], work)
    found = Estimate(stage, name_of(config.teacher), len(work), len(work) - len(left), supposed=supposed)
    return _counted(found, config, config.teacher, left, partial(asked_of, config), run)


def _once(request: Request) -> Conversation[str]:
    """A question that takes any answer."""
    reply = yield request
    return Result(request, reply.text)


def _any_rationale(id: str, config: Config) -> Rationale:
    limits = config.reason
    why = f"{id} {'word ' * limits.why_words}"  # each is another request
    return Rationale(id, True, "word " * limits.taste_words, why, (), "supposed")


def _counted(
    found: Estimate,
    config: Config,
    chosen: ModelConfig,
    work: Sequence[Begun],
    open_model: Callable[..., Model],
    run: Run,
) -> Estimate:
    """`found` with what asking for `work` would take, of the model that `open_model` opens with a cache."""
    with _cache(config) as cache:
        model = open_model(cache, run.folder, asks=False)
        typical = cache.typical(model.name)
        usage, cached, exact, out = Usage(), 0, True, cache.batched()
        seen, waiting = set(out), 0
        for request, before in follow(work, recalling(model, cache)):
            cached += before
            if request is None:
                continue
            key = key_of(model.body(request))
            waiting += key in out
            if key in seen:
                continue
            seen.add(key)
            tokens, counted = model.count_tokens(request)
            exact = exact and counted
            answer = of_words(request.words + 4 * len(request.fields))
            usage += Usage(1, tokens, max(1, min(answer, chosen.max_new_tokens)))
    price = config.prices.get(chosen.model)
    return replace(
        found,
        model=model.name,
        cached=cached,
        out=waiting,
        usage=usage,
        exact=exact,
        cost=cost_of(usage, price) if price else None,
        seconds=_seconds(usage, chosen, typical),
        measured=typical is not None,
    )


def paid(config: Config, folder: Path) -> list[tuple[str, Usage, float | None]]:
    """(model, calls and tokens, cost) of all that the run in `folder` has asked and paid for, over all sittings.

    A cost is None where there is no price. Raises RunError where the cache is damaged.
    """
    with _cache(config) as cache:
        found = cache.bought(buyer_of(folder))
    return [
        (part.model, part.usage, cost_of_bought([part], config.prices) if part.model in config.prices else None)
        for part in found
    ]


@contextlib.contextmanager
def _cache(config: Config) -> Iterator[Cache]:
    """The cache, or an empty one in memory where there is none yet: a look makes no files."""
    path = caches.place(config.cache)
    with Cache(path, write=False) if path.is_file() else Cache(Path(":memory:")) as cache:
        yield cache


def _seconds(usage: Usage, chosen: ModelConfig, typical: tuple[float, float] | None) -> float:
    """How long the calls take: in flight together, and within the limits per minute."""
    tokens = usage.output_tokens / max(usage.calls, 1)
    one = typical[0] * tokens / max(typical[1], 1) if typical else GUESSED_START + tokens / GUESSED_SPEED
    limits = (
        (usage.calls, chosen.requests_per_minute),
        (usage.input_tokens + usage.output_tokens, chosen.tokens_per_minute),
    )
    together = chosen.concurrency if chosen.endpoint else 1  # a model on this machine says its share of a batch's time
    return max(usage.calls / together * one, *(units / most * MINUTE if most else 0.0 for units, most in limits))
