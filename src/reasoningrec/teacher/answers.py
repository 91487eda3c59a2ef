"""Read the labelled lines a writer was asked for, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoningrec.errors import TeacherError

CITATION = re.compile(r"\[(T|[HUC][1-9]\d{0,2})\]")


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
        found[label] = " ".join(value.split())
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
    """The ids cited in `text`, in order, each once."""
    return tuple(dict.fromkeys(CITATION.findall(text)))
