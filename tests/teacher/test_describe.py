"""Requests for item descriptions, and their answers."""

from __future__ import annotations

import pytest

from making import WORDING
from reasoningrec.errors import TeacherError
from reasoningrec.llm.client import ItemMaterial, Reply
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.records import Item
from reasoningrec.teacher import describe

LAMP = Item("i1", "Lamp", "Alder", 12.5, ("lamp", "quiet"))
MATERIAL = ItemMaterial(LAMP, "product", "A lamp of bamboo.", ("Great lamp.", "It broke."), 25)


def test_the_prompt_holds_what_the_description_may_be_written_from() -> None:
    asked = describe.request("i1@2", MATERIAL, WORDING)
    assert asked.id == "i1@2"
    assert asked.material is MATERIAL
    for part in ("this product in at most 25 words", "Title: Lamp", "Brand: Alder", "Price: $12.50", "lamp, quiet"):
        assert part in asked.messages[0].text
    assert "Details: A lamp of bamboo." in asked.messages[0].text
    assert asked.messages[0].text.index("Review 1: Great lamp.") < asked.messages[0].text.index("Review 2: It broke.")


def test_what_is_unknown_has_no_line() -> None:
    prompt = describe.request("i", ItemMaterial(Item("i", "Thing"), "item", "", (), 25), WORDING).messages[0].text
    for label in ("Brand:", "Price:", "Categories:", "Details:", "Review"):
        assert label not in prompt


def test_an_answer_becomes_a_description() -> None:
    found = describe.parse(Reply("i1@2", "Here:\nDescription: A quiet\n lamp.\n"), "i1", "someone")
    assert (found.key, found.item, found.text, found.origin) == ("i1@2", "i1", "A quiet lamp.", "someone")


@pytest.mark.parametrize("text", ["", "A quiet lamp.", "Description:", "Description: a\nDescription: b"])
def test_an_answer_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(TeacherError):
        describe.parse(Reply("i1@2", text), "i1", "someone")


def test_the_offline_writer_answers_in_the_asked_form() -> None:
    reply = next(OfflineWriter().answer([describe.request("i1@2", MATERIAL, WORDING)]))
    assert describe.parse(reply, "i1", "offline").text.startswith("A lamp quiet product by Alder for $12.50")
