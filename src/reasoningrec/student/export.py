"""A trained student for other programs: an adapter as peft stores it, or a model that transformers and vLLM load."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from reasoningrec import prompts
from reasoningrec.config import NANO
from reasoningrec.errors import InputError
from reasoningrec.llm.checkpoint import quiet
from reasoningrec.student import bases, head, lora
from reasoningrec.student.bases import Student
from reasoningrec.student.form import CUE, WHY
from reasoningrec.student.sheet import published_sample
from reasoningrec.student.speech import SAMPLE, Speech
from reasoningrec.student.weights import mask

README: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run tells of a student in its model card."""

    dataset: str
    protocol: str
    published: bool = False
    """Whether it is asked in the words of the paper."""


def export(student: Student, base: str, folder: Path, origin: Origin, *, merge: bool) -> str:
    """Write `student` to the new folder `folder`, whole or not at all; returns what was written: "adapter" or "model".

    A student without an adapter is a whole model either way.

    Args:
        student: an opened student.
        base: where its base is: a folder or hub id.
        folder: does not exist yet.
        origin: for the model card.
        merge: whether to add the adapter to the base's weights.

    Raises:
        InputError: the folder exists, or cannot be written.
        ConfigError, StudentError: the base cannot be read.
    """
    adapter = bases.adapted(student) and not merge
    kind = "adapter" if adapter else "model"

    def fill(place: Path) -> None:
        if adapter:
            lora.save(student.model, student.card.base, student.card.revision or None, place)
        else:
            _write_model(student, base, place)
        _plain(student.tokenizer).save_pretrained(place)
        (place / README).write_text(card_text(student, origin, kind), "utf-8")

    _make(folder, fill)
    return kind


def check_new(folder: Path) -> None:
    """Raises InputError where `folder` is there already, or cannot be made."""
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: exists already", hint="Name a new folder.")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder.parent}: no such folder", hint="Make it first, or name another.")


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    """`folder`, filled by `fill`: it appears when it is whole."""
    check_new(folder)
    try:
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}", hint="Name another folder.") from None
    try:
        fill(place)
        for file in place.iterdir():  # temporary folders, and safetensors, are for their owner alone
            file.chmod(0o666 & ~mask())
        place.chmod(0o777 & ~mask())
        place.rename(folder)
    except SafetensorError as error:
        raise OSError(f"{folder}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write_model(student: Student, base: str, place: Path) -> None:
    model, settled = student.model, student.model.config
    if bases.adapted(student):
        model = lora.merged(bases.find(base), student.config, student.model)
    end = student.tokenizer.end if isinstance(student.tokenizer, Speech) else student.tokenizer.eos_token_id
    known = model.generation_config.eos_token_id
    others = [known] if isinstance(known, int) else list(known or ())
    model.generation_config.eos_token_id = [end, *(one for one in others if one != end)]
    try:
        model.config = head.native(model)
        with quiet():
            model.save_pretrained(place, max_shard_size="5GB")
    finally:
        model.config = settled


def _plain(tokenizer: Any) -> Any:
    return tokenizer.tokenizer if isinstance(tokenizer, Speech) else tokenizer


def card_text(student: Student, origin: Origin, kind: str) -> str:
    """The model card of an export of that `kind`."""
    card, speech = student.card, student.tokenizer
    adapter = kind == "adapter"
    speaks = isinstance(speech, Speech)
    sample = published_sample() if origin.published else SAMPLE
    asked = speech.shown(sample) if speaks else f"{sample}{CUE}"
    first = speaks and speech.reasons_first
    return (
        prompts.render(
            "model-card",
            adapter=adapter,
            base="" if card.base == NANO else card.base,
            hub=card.revision,
            dataset=origin.dataset,
            protocol=origin.protocol,
            data=card.data,
            trained=card.train,
            metrics={name: value for name, value in card.metrics.items() if value is not None},
            asked=asked,
            chats=speaks and speech.chats,
            opening=speech.opening if speaks else CUE[1:],
            decides_after=first,
            words=[speech.said(label).removeprefix(CUE[1:]) for label in (False, True)] if speaks else [" No", " Yes"],
            tokens=list(speech.decisions) if speaks else [],
            why=WHY[1:],
            writes=student.config.order != "decision-only",
            cites=not origin.published,
        ).strip()
        + "\n"
    )
