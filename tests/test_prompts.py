"""Prompts: every name given or an error, and a digest that follows the wording."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jinja2
import pytest

from reasoningrec import prompts

FOLDER = Path(prompts.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.md"))
PROFILE = {"item_word": "film", "past": [], "words": 100}


def test_there_is_a_prompt_for_every_text() -> None:
    assert NAMES == ["describe", "profile", "reason", "recommend"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_not_given_is_an_error_and_never_a_blank(name: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        prompts.render(name)


def test_every_single_name_is_needed() -> None:
    assert "at most 100 words" in prompts.render("profile", **PROFILE)
    for gone in PROFILE:
        with pytest.raises(jinja2.UndefinedError, match=gone):
            prompts.render("profile", **{name: value for name, value in PROFILE.items() if name != gone})


def test_text_is_taken_as_it_is() -> None:
    shown = prompts.render("profile", **{**PROFILE, "item_word": "<b>{{ 1 }} & {% x %}"})
    assert "<b>{{ 1 }} & {% x %}" in shown


def test_an_unknown_prompt_is_an_error() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        prompts.render("nothing")


@pytest.mark.parametrize("name", NAMES)
def test_a_digest_is_that_of_the_file(name: str) -> None:
    assert prompts.digest(name) == hashlib.sha256((FOLDER / f"{name}.md").read_bytes()).hexdigest()
    assert len({prompts.digest(other) for other in NAMES}) == len(NAMES)
