"""Messages as a model on this machine reads them: tokens, by the chat template that came with its tokenizer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import TemplateError

from reasoningrec.errors import ConfigError
from reasoningrec.llm.forms import left_open
from reasoningrec.rows import Json

GAP: Final = "\n\n"
DAY: Final = {"%d": "01", "%m": "01", "%b": "Jan", "%B": "January", "%Y": "2025", "%y": "25"}
"""What templates that tell the date are given as today: a prompt is the same on every day, and so is its answer."""
CLOCK: Final = "strftime_now"
_STOPPED_CLOCK: Final = (
    f"{{% macro {CLOCK}(form) %}}{{{{ form"
    + "".join(f" | replace('{part}', '{text}')" for part, text in DAY.items())
    + " }}{% endmacro %}"
)

Turns = Sequence[Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is shown."""

    tokens: tuple[int, ...]
    opened: str = ""
    """A tag that the template opened for thoughts, and that the model is to close."""


class Template:
    """Renders messages with a tokenizer of transformers.

    A tokenizer with a chat template is asked for the turn of the assistant. Where the template refuses the system role,
    or leaves it out, the system's text stands at the head of the first user message. Without a template, the texts of
    all messages follow each other, a blank line after each, and nothing says who spoke.

    What reads like a control token in a message (a review may hold anything) is encoded as plain text.
    """

    def __init__(self, tokenizer: Any, variables: Mapping[str, Json]) -> None:
        """`variables` are handed to the template, as `enable_thinking` of Qwen3.

        Raises ConfigError where one has the name of something that is set here.
        """
        if taken := sorted(variables.keys() & inspect.signature(tokenizer.apply_chat_template).parameters.keys()):
            hint = "Name variables of the model's own template only."
            raise ConfigError(f"chat_template_kwargs.{taken[0]}: is set by the package", hint=hint)
        self._tokenizer, self._variables = tokenizer, variables
        self._text = str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""
        if CLOCK in self._text:
            self._text = _STOPPED_CLOCK + self._text

    def prompt(self, turns: Turns) -> Prompt:
        """The tokens of a chat. Raises ConfigError where the template cannot render it."""
        if not self._text:
            text = "".join(f"{turn['content']}{GAP}" for turn in turns)
            return Prompt(tuple(self._tokenizer(text, split_special_tokens=True)["input_ids"]))
        turns, text = self._accepted(turns)
        tokens = self._apply(turns, tokenize=True, return_dict=False, sanitize_control_tokens=True)
        return Prompt(tuple(tokens), left_open(text))

    def begun(self, turns: Turns) -> tuple[int, ...]:
        """The tokens of a chat whose last turn, the assistant's, is to be gone on with.

        Raises ConfigError where the template cannot render it, or there is none.
        """
        if not self._text:
            raise ConfigError("the model has no chat template")
        try:
            how = {"tokenize": True, "return_dict": False, "sanitize_control_tokens": True}
            return tuple(self._apply(turns, continue_final_message=True, **how))
        except (TemplateError, ValueError) as error:
            raise self._refused(error) from None

    def ended(self, turns: Turns) -> tuple[int, ...]:
        """The tokens of a chat with all of its last turn. Raises ConfigError where the template cannot render it."""
        try:
            return tuple(self._apply(turns, add_generation_prompt=False, tokenize=True, return_dict=False))
        except TemplateError as error:
            raise self._refused(error) from None

    def _accepted(self, turns: Turns) -> tuple[Turns, str]:
        """The turns in a form that the template takes, and their text."""
        folded = _fold(turns)
        try:
            text = self._apply(turns, tokenize=False)
            if len(folded) == len(turns) or str(turns[0]["content"]).strip() in text:
                return turns, text
        except TemplateError as error:
            if len(folded) == len(turns):
                raise self._refused(error) from None
        try:
            return folded, self._apply(folded, tokenize=False)
        except TemplateError as error:
            raise self._refused(error) from None

    def _apply(self, turns: Turns, **how: Any) -> Any:
        chat = [dict(turn) for turn in turns]
        how = {"add_generation_prompt": "continue_final_message" not in how, **how, "chat_template": self._text}
        return self._tokenizer.apply_chat_template(chat, **how, **self._variables)

    def _refused(self, error: Exception) -> ConfigError:
        hint = "Name a model whose template takes turns of user and assistant, or serve it and name its `endpoint`."
        return ConfigError(f"the model's chat template cannot be used: {error}", hint=hint)


def _fold(turns: Turns) -> Turns:
    """The system's text at the head of the first user message; as they are where there is no such pair."""
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":
        return turns
    system, first, *rest = turns
    return [{"role": "user", "content": f"{system['content']}{GAP}{first['content']}"}, *rest]
