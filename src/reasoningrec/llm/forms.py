"""How a model is asked to answer: in labelled lines, or as JSON by a schema; and thinking parted from the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from reasoningrec import prompts
from reasoningrec.llm.client import Message, Request
from reasoningrec.rows import Json

Form = Literal["schema", "lines"]
DECISION = "Prediction"
"""The field that is Yes or No."""
_TAGS = "think|thinking|thought|reasoning"
_THOUGHT = re.compile(rf"<({_TAGS})>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_OPENED = re.compile(rf"^\s*<({_TAGS})>", re.IGNORECASE)
_CLOSED = re.compile(rf"</({_TAGS})>", re.IGNORECASE)


def chat(request: Request, form: Form) -> list[dict[str, Json]]:
    """The messages to send: the request's, the form of the answer asked for at the end of the last."""
    *before, last = request.messages
    asked = prompts.render("answer", form=form, fields=request.fields).strip()
    messages = [*before, Message(last.role, f"{last.text}\n\n{asked}")]
    return [{"role": message.role, "content": message.text} for message in messages]


def schema(fields: Sequence[str]) -> dict[str, Json]:
    """The JSON schema of an answer with `fields`; keys in lower case, in this order."""
    kinds: dict[str, Json] = {
        name.lower(): {"type": "string", "enum": ["Yes", "No"]} if name == DECISION else {"type": "string"}
        for name in fields
    }
    return {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}


def part_thinking(text: str) -> tuple[str, str]:
    """(answer, thinking) of a model that thinks aloud between tags.

    A closing tag without an opening one belongs to a template that opened it in the prompt; an opening one that is
    never closed means that the model did not come to its answer.
    """
    thoughts = [match[2].strip() for match in _THOUGHT.finditer(text)]
    rest = _THOUGHT.sub("", text)
    if closed := list(_CLOSED.finditer(rest)):
        thoughts.append(rest[: closed[-1].start()].strip())
        rest = rest[closed[-1].end() :]
    if opened := _OPENED.match(rest):
        thoughts.append(rest[opened.end() :].strip())
        rest = ""
    return rest.strip(), "\n".join(filter(None, thoughts))
