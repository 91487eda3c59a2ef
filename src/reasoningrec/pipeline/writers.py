"""Who writes and who judges, as configured; opened once for a stage."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from reasoningrec.config import BudgetConfig, Config, ModelConfig
from reasoningrec.llm import cache as caches
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.choosing import ServedChooser
from reasoningrec.llm.client import Client, Model
from reasoningrec.llm.completions import Completions, Sample
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse, cost_of_bought
from reasoningrec.llm.local import Local
from reasoningrec.llm.local_choosing import LocalChooser
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.llm.remember import Remembering
from reasoningrec.llm.settings import answering
from reasoningrec.prompts import PromptSet
from reasoningrec.rows import Json
from reasoningrec.teacher.wording import Wording


def wording(config: Config) -> Wording:
    """In which words the teacher is asked."""
    items = config.items_word or f"{config.item_word}s"
    return Wording(PromptSet(config.texts.prompts), config.item_word, items, config.user_word)


def judge_of(config: Config) -> ModelConfig | None:
    """Who judges rationales; None where nobody does."""
    chosen = config.teacher if config.judge.offline else config.judge
    return None if chosen.offline or not config.verify.self_check else chosen


def settings_of(config: ModelConfig) -> dict[str, Json]:
    """What of a writer's settings its texts depend on, for the fingerprint; a model on this machine by its content."""
    settings = OfflineWriter.settings if config.offline else answering(config)
    if _is_local(config):
        settings = _on_this_machine(config.model_dump_json())[1]
    return {"writer": name_of(config), **settings}


def name_of(config: ModelConfig) -> str:
    """Who stands as `origin` on its texts."""
    if config.offline:
        return OfflineWriter.name
    return _on_this_machine(config.model_dump_json())[0] if _is_local(config) else config.model


def _is_local(config: ModelConfig) -> bool:
    return not config.endpoint and bool(config.model)


@functools.lru_cache(maxsize=4)
def _on_this_machine(settings: str) -> tuple[str, dict[str, Json]]:
    """Name and settings of a local model; reading them takes a while, and stages ask often."""
    found = Local(ModelConfig.model_validate_json(settings), Purse(BudgetConfig()))
    return found.name, dict(found.settings)


def buyer_of(folder: Path) -> str:
    """Who pays: the run, by its place; kept in the cache, where it names no folder."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]


@contextlib.contextmanager
def opened(config: Config, chosen: ModelConfig, folder: Path) -> Iterator[Client]:
    """The client for `chosen`, with the cache behind it where it is a model.

    Raises:
        ConfigError: its key is not in the environment, or a file it needs cannot be read.
        RunError: the cache cannot be used.
    """
    if chosen.offline:
        yield OfflineWriter()
        return
    with Cache(caches.place(config.cache)) as cache:
        yield Remembering(model_of(config, chosen, cache, folder), cache, buyer_of(folder))


@contextlib.contextmanager
def opened_student(config: Config, folder: Path, sample: Sample) -> Iterator[Client]:
    """The client for the served student (`config.student`), with the cache behind it. Raises as `opened` does."""
    with Cache(caches.place(config.cache)) as cache:
        settings = config.student.model_copy(update={"max_new_tokens": config.predict.max_new_tokens})
        purse = _purse(config, settings, cache, folder)
        model = Completions(settings, purse, cache, sample, seed=config.seed)
        yield Remembering(model, cache, buyer_of(folder))


@contextlib.contextmanager
def opened_chooser(config: Config, folder: Path) -> Iterator[Client]:
    """The client that asks the teacher how likely Yes and No are, with the cache behind it. Raises as `opened` does."""
    with Cache(caches.place(config.cache)) as cache:
        yield Remembering(chooser_of(config, cache, folder), cache, buyer_of(folder))


def chooser_of(config: Config, cache: Cache, folder: Path, *, asks: bool = True) -> Model:
    """The teacher as a chooser between Yes and No; otherwise as `model_of`."""
    purse = _purse(config, config.teacher, cache, folder)
    if _is_local(config.teacher):
        return LocalChooser(config.teacher, purse, seed=config.seed)
    return ServedChooser(config.teacher, purse, cache, seed=config.seed, asks=asks)


def model_of(config: Config, chosen: ModelConfig, cache: Cache, folder: Path, *, asks: bool = True) -> Model:
    """The model, with what is left of the run's budget; `asks`: False = only to say and count requests."""
    purse = _purse(config, chosen, cache, folder)
    if _is_local(chosen):
        return Local(chosen, purse, seed=config.seed)
    return Endpoint(chosen, purse, cache, seed=config.seed, asks=asks)


def _purse(config: Config, chosen: ModelConfig, cache: Cache, folder: Path) -> Purse:
    """What is left of the run's budget."""
    bought = cache.bought(buyer_of(folder))
    tokens = sum(part.usage.input_tokens + part.usage.output_tokens for part in bought)
    return Purse(config.budget, config.prices.get(chosen.model), tokens, cost_of_bought(bought, config.prices))
