"""The prompts, one Markdown file per stage, rendered with jinja2: a name not given is an error, never a blank."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

import jinja2

_FOLDER: Final = Path(__file__).parent


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text for a model, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: object) -> str:
    """The text of prompt `name` ("reason" for reason.md) with `values` filled in.

    Raises:
        jinja2.UndefinedError: the file uses a name that is not among `values`.
    """
    return _environment().get_template(f"{name}.md").render(**values)


def digest(name: str) -> str:
    """SHA-256 of the prompt's file, in hex: changes whenever the wording does."""
    return hashlib.sha256((_FOLDER / f"{name}.md").read_bytes()).hexdigest()
