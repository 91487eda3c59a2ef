"""Read what a writer was asked for, in labelled lines or as JSON, whoever wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from reasoningrec.errors import TeacherError
from reasoningrec.unseen import without_unseen

_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL | re.IGNORECASE)
CITATION = re.compile(r"\[(T|[HUC][1-9]\d{0,2})\]")
QUOTED_TITLE = re.compile(r'"[^"]*"|“[^”]*”')


def read(text: str, names: Sequence[str]) -> dict[str, str]:
    """The text of each field of an answer, in one line each; by JSON where the answer is an object, else by labels.

    Raises:
        TeacherError: a field is missing, stands twice, or has nothing in it.
    """
    found = _object(text)
    if found is None:
        return labelled(text, names)
    values = {str(key).strip().lower(): value for key, value in found.items()}
    texts = {}
    for name in names:
        value = values.get(name.lower())
        texts[name] = without_unseen(value) if isinstance(value, str) else ""
        if not texts[name]:
            raise TeacherError(f'the answer has no text under "{name.lower()}"')
    return texts


def _object(text: str) -> dict[str, object] | None:
    """The JSON object that `text` is, also within a code fence; None where it is none."""
    plain = _FENCE.sub(r"\1", text.strip())
    if not plain.startswith("{"):
        return None
    try:
        value = json.loads(plain)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def labelled(text: str, names: Sequence[str]) -> dict[str, str]:
    """The text after each `Name:` line start, up to the next label, in one line each.

    Raises:
        TeacherError: a label is missing, stands twice, or has nothing behind it.
    """
    found: dict[str, str] = {}
    parts = re.split(rf"^\s*\**({'|'.join(names)})\**\s*:\**", text, flags=re.MULTILINE | re.IGNORECASE)
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        label = next(known for known in names if known.lower() == name.lower())
        if label in found:
            raise TeacherError(f"the answer has two lines `{label}:`")
        found[label] = without_unseen(value)
    for name in names:
        if not found.get(name):
            raise TeacherError(f"the answer has no line `{name}: ...`")
    return found


def decision(text: str) -> bool:
    """Yes or No as a bool. Raises TeacherError for anything else."""
    word = text.strip().strip(".*").lower()
    if word not in ("yes", "no"):
        raise TeacherError(f"the prediction is {text[:40]!r}, neither Yes nor No")
    return word == "yes"


def citations(text: str) -> tuple[str, ...]:
    """The ids cited in `text`, in order, each once; one within a quoted title ("Vitamin [C] Cream") is none."""
    return tuple(dict.fromkeys(every_citation(text)))


def every_citation(text: str) -> list[str]:
    """The ids cited in `text`, as often as they are."""
    found: list[str] = CITATION.findall(QUOTED_TITLE.sub("", text))
    return found
