"""What a student grows from, and how it is stored: weights as safetensors, the tokenizer, and a card that ties them.

`nano` is made from scratch. Any other base is a causal LM of transformers, in a folder or on a hub. What was not
trained is not stored: a student with an adapter is stored as that, and finds its base by the run's configuration.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from reasoningrec import prompts
from reasoningrec.config import NANO, TrainConfig
from reasoningrec.errors import ConfigError, RunError, StudentError, TeacherError
from reasoningrec.llm import checkpoint
from reasoningrec.llm.checkpoint import Checkpoint
from reasoningrec.student import head, lora, nano
from reasoningrec.student.encode import REASONS_FIRST, decision_ids
from reasoningrec.student.phrasing import Wording
from reasoningrec.student.sheet import PROMPT
from reasoningrec.student.speech import Speech
from reasoningrec.student.weights import write

CARD: Final = "card.json"
TEXTS: Final = "texts.json"
WEIGHTS: Final = "model.safetensors"
FORMAT: Final = 1
"""Raised when the stored form changes; other formats are refused."""
FIELD: Final = "train.base"
UNFIT: Final = "Name another base: its tokenizer cannot write what a student says."
AGAIN: Final = "Train again: `reasoningrec train --run DIR`."
Tokenizer: TypeAlias = PreTrainedTokenizerFast | Speech
"""nano's, or another base's."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a stored student was made of and how well it did. Empty texts are not stored."""

    base: str
    """ "nano", a hub id, or the name of a folder without the path to it."""
    tokenizer: str
    """SHA-256 of the tokenizer's own JSON."""
    prompt: str
    """SHA-256 of the prompt's template."""
    data: str
    """Fingerprint of the training data."""
    train: Mapping[str, Any]
    """The `[train]` section, options that are off left out."""
    metrics: Mapping[str, float | int | None]
    format: int = FORMAT
    weights: str = ""
    """Digest of the base's weights; nano has none."""
    template: str = ""
    """SHA-256 of the chat template; "" = there is none."""
    revision: str = ""
    """Commit of the base on the hub; "" = it is no hub's."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a card says of the base."""

    name: str
    weights: str
    revision: str

    @classmethod
    def of(cls, config: TrainConfig) -> Base | None:
        """The base as it is now; None = nano. Raises as `find` does."""
        if config.base == NANO:
            return None
        found = find(config.base)
        return cls(found.name, checkpoint.digest_of_weights(found), found.revision or "")


@dataclass(frozen=True, eq=False)
class Student:
    """A model with the tokenizer and settings it was trained with."""

    model: Any
    """A causal LM of `transformers`, in evaluation mode; None where a server has it."""
    tokenizer: Any
    """A `Tokenizer`."""
    config: TrainConfig
    card: Card
    texts: tuple[Wording, ...] = ()
    """The texts it learned from; what it writes stays within their wording (see `phrasing`). Empty: it is free."""

    @classmethod
    def open(cls, folder: Path, base: str = "") -> Student:
        """The student stored in `folder`. Raises as `load` does."""
        return load(folder, base)


def identity(config: TrainConfig) -> dict[str, str]:
    """What names the base in fingerprints: nano, or name and digest of the files, and no path.

    Raises ConfigError or StudentError where there is no such base.
    """
    if config.base == NANO:
        return {"base": NANO}
    try:
        name, digest = checkpoint.identity(config.base, FIELD)
    except TeacherError as error:
        raise StudentError(str(error)) from None
    return {"base": name, "base_digest": digest}


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """What of `config` shapes a student, options that are off left out: newer ones then change no older student.

    Whom a training is told to shapes none.
    """
    off = {name for name in LATER if getattr(config, name) == TrainConfig.model_fields[name].default}
    unused = ADAPTER if config.base == NANO else frozenset(("hidden", "layers", "heads", "vocabulary"))
    return config.model_dump(mode="json", exclude=off | unused | {"trackers"})


ADAPTER: Final = frozenset(("lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "rslora", "dora"))
LATER: Final = frozenset(("rslora", "dora", "precision", "gradient_checkpointing", "accumulate", "order", "shots"))
"""Options that came after the first version, off by default."""


def build(config: TrainConfig, texts: Sequence[str], seed: int) -> tuple[Any, Any]:
    """An untrained model of `config.base` and its tokenizer.

    Args:
        config: base, sizes and adapter.
        texts: prompts with completions of the training rows; `nano` trains its tokenizer on them.
        seed: of the random weights.

    Raises:
        StudentError: the tokenizer has no single, distinct tokens for the decisions, the base cannot be fetched, or its
            architecture is unknown.
        ConfigError: there is no such base, or the configuration does not fit it.
    """
    if config.base == NANO:
        model, tokenizer = nano.make(config, texts, seed)
        decision_ids(tokenizer)
        return model, tokenizer
    found, speech = look(config)
    return _grown(found, config, seed), speech


def look(config: TrainConfig) -> tuple[Checkpoint, Speech]:
    """A base other than nano, without its weights, and its tokenizer. Raises as `build` does."""
    found = find(config.base)
    try:
        speech = Speech(found.tokenizer, config.order)
    except (StudentError, ConfigError) as error:
        raise ConfigError(f"{FIELD}: {found.name}: {error.args[0]}", hint=error.hint or UNFIT) from None
    if found.context is not None and found.context < config.max_tokens:
        hint = f"Set train.max_tokens to {found.context} at most."
        raise ConfigError(f"train.max_tokens: {found.name} has room for {found.context} tokens", hint=hint)
    lora.check(found, config)
    return found, speech


def find(base: str) -> Checkpoint:
    """The base of that name. Raises ConfigError where there is none, StudentError where it cannot be fetched."""
    try:
        return checkpoint.find(base, FIELD)
    except TeacherError as error:
        raise StudentError(str(error)) from None


def _grown(found: Checkpoint, config: TrainConfig, seed: int) -> Any:
    try:
        return lora.grow(found, config, seed)
    except TeacherError as error:
        raise StudentError(str(error)) from None


def save(student: Student, folder: Path) -> None:
    """Write `student` under `folder`; the card comes last, so a folder with a card is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    tokenizer = student.tokenizer.tokenizer if isinstance(student.tokenizer, Speech) else student.tokenizer
    if adapted(student):
        lora.save(student.model, student.card.base, student.card.revision or None, folder)
    else:
        head.native(student.model).save_pretrained(folder)
        # Tied weights appear once among the named parameters.
        write({name: weight.detach() for name, weight in student.model.named_parameters()}, folder / WEIGHTS)
    tokenizer.save_pretrained(folder)
    texts = [[text.label, text.cites, text.tokens] for text in student.texts]
    (folder / TEXTS).write_text(json.dumps(texts, separators=(",", ":")) + "\n", "utf-8")
    fresh = folder / f"{CARD}.new"
    card = {name: value for name, value in dataclasses.asdict(student.card).items() if value != ""}
    fresh.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", "utf-8")
    fresh.replace(folder / CARD)


def adapted(student: Student) -> bool:
    """Whether what was trained is an adapter, and the rest the base's."""
    return student.card.base != NANO and student.config.lora_rank > 0


def load(folder: Path, base: str = "") -> Student:
    """Read what `save` wrote.

    Args:
        folder: of the student.
        base: where the base of an adapter is: a folder or hub id; "" = as the card names it, which a folder's name is
            not enough for.

    Raises:
        RunError: the folder holds no whole student, or one of another format, tokenizer, prompt, chat template or base
            than its card names, or one whose base was a folder and `base` does not say where it is.
        ConfigError: there is no such base.
        StudentError: it cannot be fetched.
    """
    card = _read_card(folder)
    config = _settings(folder, card)
    _check_prompt(folder, card, config)
    whole = card.base == NANO or not config.lora_rank
    tokenizer = _read_tokenizer(folder)
    try:
        model = _read_model(folder) if whole else None
        rows = json.loads((folder / TEXTS).read_text("utf-8"))
        texts = tuple(Wording(label, tuple(cites), tuple(tokens)) for label, cites, tokens in rows)
    except checkpoint.CAUSES as error:
        raise _damaged(folder, error) from None
    _check_tokenizer(folder, tokenizer, card)
    if model is None:
        model = _read_adapted(folder, base, card, config)
    elif card.base != NANO:
        model = head.settle(lora.placed(model))
    spare = model.get_input_embeddings().num_embeddings - len(tokenizer)
    if spare < 0 or (spare and card.base == NANO):
        raise RunError(f"{folder}: the model and its tokenizer have different vocabularies", hint=AGAIN)
    spoken = tokenizer if card.base == NANO else Speech(tokenizer, config.order)
    decision_ids(spoken)
    return Student(model.eval(), spoken, config, card, texts)


def without_weights(folder: Path) -> Student:
    """The student that `save` wrote, with all but a model: for a server that has it. Raises as `load` does."""
    card = _read_card(folder)
    config = _settings(folder, card)
    _check_prompt(folder, card, config)
    tokenizer = _read_tokenizer(folder)
    _check_tokenizer(folder, tokenizer, card)
    return Student(None, tokenizer if card.base == NANO else Speech(tokenizer, config.order), config, card)


def card_of(
    tokenizer: Tokenizer,
    config: TrainConfig,
    data: str,
    metrics: Mapping[str, float | int | None],
    base: Base | None = None,
) -> Card:
    """The card of a student trained with `config`, from `base` (None = nano), on data of fingerprint `data`."""
    known = (tokenizer_digest(tokenizer), prompt_digest(config), data)
    if base is None:
        return Card(NANO, *known, settings_of(config), dict(metrics))
    return Card(
        base.name,
        *known,
        {**settings_of(config), "base": base.name},
        dict(metrics),
        weights=base.weights,
        template=template_digest(tokenizer),
        revision=base.revision,
    )


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer's vocabulary, merges and rules, in hex."""
    plain = tokenizer.tokenizer if isinstance(tokenizer, Speech) else tokenizer
    return hashlib.sha256(plain.backend_tokenizer.to_str().encode()).hexdigest()


def template_digest(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer's chat template, in hex; "" = it has none."""
    plain = tokenizer.tokenizer if isinstance(tokenizer, Speech) else tokenizer
    template = plain.chat_template
    return hashlib.sha256(str(plain.get_chat_template()).encode()).hexdigest() if template else ""


def prompt_digest(config: TrainConfig) -> str:
    """SHA-256 of the wording a student is asked in, in hex."""
    if config.order != "reason-first":
        return prompts.digest(PROMPT)
    return hashlib.sha256((prompts.digest(PROMPT) + prompts.digest(REASONS_FIRST)).encode()).hexdigest()


def _read_card(folder: Path) -> Card:
    path = folder / CARD
    try:
        raw = json.loads(path.read_text("utf-8"))
        card = Card(**raw)
    except FileNotFoundError:
        raise RunError(f"{folder}: holds no trained student", hint="`reasoningrec train --run DIR`.") from None
    except (ValueError, TypeError, OSError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    if card.format != FORMAT:
        raise RunError(f"{path}: has format {card.format}, this version reads {FORMAT}", hint="Train again.")
    return card


def _settings(folder: Path, card: Card) -> TrainConfig:
    try:
        return TrainConfig.model_validate(card.train, strict=False)
    except (ValidationError, ValueError, TypeError) as error:
        what = " ".join(str(error).split())[:300]
        raise RunError(f"{folder / CARD}: its settings are not of this version: {what}", hint=AGAIN) from None


def _check_prompt(folder: Path, card: Card, config: TrainConfig) -> None:
    if card.prompt != prompt_digest(config):
        raise RunError(f"{folder}: the student was trained with another version of the prompt {PROMPT}.md", hint=AGAIN)


def _read_tokenizer(folder: Path) -> Any:
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception
        raise _damaged(folder, error) from None


def _check_tokenizer(folder: Path, tokenizer: Any, card: Card) -> None:
    if tokenizer_digest(tokenizer) != card.tokenizer:
        raise RunError(f"{folder}: tokenizer.json is not the one the student was trained with", hint=AGAIN)
    if card.base != NANO and template_digest(tokenizer) != card.template:
        raise RunError(f"{folder}: the chat template is not the one the student was trained with", hint=AGAIN)


def _read_model(folder: Path) -> Any:
    shape = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.random.fork_rng(devices=()):
        model: Any = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)  # type: ignore[no-untyped-call]
    lora.fill(dict(model.named_parameters()), folder / WEIGHTS)
    return model


def _read_adapted(folder: Path, base: str, card: Card, config: TrainConfig) -> Any:
    if not base and not card.revision:
        hint = "Open it with the base's folder, as the run's configuration names it."
        raise RunError(f"{folder}: its base, {card.base}, was a folder, which it does not know the way to", hint=hint)
    found = find(base or card.base)
    if checkpoint.digest_of_weights(found) != card.weights:
        raise RunError(
            f"{folder}: {found.name} is not the base the student was trained on: its weights differ", hint=AGAIN
        )
    model = _grown(found, config, seed=0)
    try:
        lora.read(model, folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(folder, error) from None
    return model


def _damaged(folder: Path, error: Exception) -> RunError:
    return RunError(f"{folder}: the student is damaged: {error}", hint=AGAIN)
