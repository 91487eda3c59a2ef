"""How a model is asked to answer: in labelled lines, or as JSON by a schema; and thinking parted from the answer."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Literal

from reasoningrec import prompts
from reasoningrec.llm.client import Message, Request
from reasoningrec.rows import Json

Form = Literal["schema", "lines"]
DECISION = "Prediction"
"""The field that is Yes or No."""
_TAG = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_LEFT_OPEN = re.compile(r"<(?:think|thinking|thought|reasoning)>\s*\Z", re.IGNORECASE)


def chat(request: Request, form: Form) -> list[dict[str, Json]]:
    """The messages to send: the request's, the form of the answer asked for at the end of the last."""
    *before, last = request.messages
    messages = [*before, Message(last.role, f"{last.text}\n\n{_asked(form, request.fields)}")]
    return [{"role": message.role, "content": message.text} for message in messages]


@functools.lru_cache(maxsize=64)
def _asked(form: Form, fields: tuple[str, ...]) -> str:
    return prompts.render("answer", form=form, fields=fields).strip()


def schema(fields: Sequence[str]) -> dict[str, Json]:
    """The JSON schema of an answer with `fields`; keys in lower case, in this order."""
    kinds: dict[str, Json] = {
        name.lower(): {"type": "string", "enum": ["Yes", "No"]} if name == DECISION else {"type": "string"}
        for name in fields
    }
    return {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}


def part_thinking(text: str) -> tuple[str, str]:
    """(answer, thinking) of a model that thinks aloud between tags.

    A closing tag without an opening one belongs to a template that opened it in the prompt: all before it was thought.
    An opening one that is never closed means that the model did not come to an answer, or went on after it.
    """
    said: list[str] = []
    thoughts: list[str] = []
    inside, start = False, 0
    for tag in _TAG.finditer(text):
        closes = bool(tag[1])
        if inside and not closes:
            continue  # opened once more: still the same thought
        part = text[start : tag.start()]
        if closes and not inside:
            thoughts.append("".join((*said, part)))
            said = []
        elif closes:
            thoughts.append(part)
        else:
            said.append(part)
        inside, start = not closes, tag.end()
    (thoughts if inside else said).append(text[start:])
    return "".join(said).strip(), "\n".join(filter(None, (thought.strip() for thought in thoughts)))


def left_open(prompt: str) -> str:
    """The tag that a prompt ends with, having opened the model's thoughts for it; "" = none."""
    found = _LEFT_OPEN.search(prompt)
    return found[0] if found else ""


def is_tag(token: str) -> bool:
    """Whether a token is a tag around thoughts."""
    return _TAG.fullmatch(token) is not None


def problem(said: str, refusal: object, finish: str, thinking: str) -> tuple[str, str]:
    """(what is wrong with an answer that came whole, its text)."""
    if isinstance(refusal, str) and refusal and not said:
        return "the model refuses", refusal
    if finish == "content_filter":
        return "the server's filter held the answer back", said
    if not said and finish == "length":
        return "the answer ran out of tokens" + (" while thinking" if thinking else "") + ": raise max_new_tokens", said
    if not said:
        return "the answer is empty", said
    return "", said
