"""Item descriptions: a request for each (item, allowed reviews), and its answer (as in the paper)."""

from __future__ import annotations

from reasoningrec import prompts
from reasoningrec.llm.client import ItemMaterial, Reply, Request
from reasoningrec.records import Description
from reasoningrec.teacher.answers import labelled


def request(key: str, material: ItemMaterial) -> Request:
    """Ask for the description named `key`."""
    prompt = prompts.render(
        "describe",
        item=material.item,
        item_word=material.item_word,
        details=material.details,
        reviews=material.reviews,
        words=material.words,
    )
    return Request(key, prompt, material)


def parse(reply: Reply, item: str, origin: str) -> Description:
    """The description in `reply`. Raises TeacherError when it is not in the form asked for."""
    return Description(reply.request_id, item, labelled(reply.text, ["Description"])["Description"], origin)
