"""Item descriptions: a conversation for each (item, allowed reviews) (as in the paper)."""

from __future__ import annotations

from reasoningrec.llm.client import ItemMaterial, Reply, Request
from reasoningrec.records import Description
from reasoningrec.teacher.answers import read
from reasoningrec.teacher.conversation import Conversation, ask
from reasoningrec.teacher.wording import Wording

FIELDS = ("Description",)


def request(key: str, material: ItemMaterial, wording: Wording) -> Request:
    """Ask for the description named `key`."""
    messages = wording.ask(
        "describe", item=material.item, details=material.details, reviews=material.reviews, words=material.words
    )
    return Request(key, messages, FIELDS, material, material.words)


def parse(reply: Reply, item: str, origin: str) -> Description:
    """The description in `reply`. Raises TeacherError when it is not in the form asked for."""
    return Description(reply.request_id, item, read(reply.text, FIELDS)["Description"], origin)


def conversation(key: str, material: ItemMaterial, wording: Wording, origin: str) -> Conversation[Description]:
    """Ask until there is a description that can be read."""
    return ask(request(key, material, wording), lambda reply: parse(reply, material.item.id, origin))
