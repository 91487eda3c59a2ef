"""Who writes and who judges, as configured; opened once for a stage."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from reasoningrec.config import Config, ModelConfig
from reasoningrec.llm import cache as caches
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Client, Model
from reasoningrec.llm.endpoint import Endpoint
from reasoningrec.llm.limits import Purse, cost_of_bought
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


def settings_of(config: ModelConfig) -> Mapping[str, Json]:
    """What of a writer's settings its texts depend on, for the fingerprint."""
    return {"writer": OfflineWriter.name} if config.offline else {"writer": config.model, **answering(config)}


def name_of(config: ModelConfig) -> str:
    """Who stands as `origin` on its texts."""
    return OfflineWriter.name if config.offline else Path(config.model).name if not config.endpoint else config.model


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


def model_of(config: Config, chosen: ModelConfig, cache: Cache, folder: Path, *, asks: bool = True) -> Model:
    """The model, with what is left of the run's budget; `asks`: False = only to say and count requests."""
    bought = cache.bought(buyer_of(folder))
    tokens = sum(part.usage.input_tokens + part.usage.output_tokens for part in bought)
    price = config.prices.get(chosen.model)
    purse = Purse(config.budget, price, tokens, cost_of_bought(bought, config.prices))
    return Endpoint(chosen, purse, cache, seed=config.seed, asks=asks)
