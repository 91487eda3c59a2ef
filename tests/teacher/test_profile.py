"""Requests for user profiles, and their answers."""

from __future__ import annotations

import pytest

from making import WORDING
from reasoningrec.errors import TeacherError
from reasoningrec.llm.client import Past, Reply, UserMaterial
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.records import Item
from reasoningrec.teacher import profile

PAST = (Past(Item("i1", "Lamp", "Alder"), True, "Great."), Past(Item("i2", "Clock"), False, ""))
MATERIAL = UserMaterial("u1", "product", PAST, 100)


def test_the_prompt_lists_the_past_in_order() -> None:
    asked = profile.request("u1@2", MATERIAL, WORDING)
    lines = [line for line in asked.messages[0].text.splitlines() if line.startswith("- ")]
    assert lines == ['- "Lamp" by Alder: liked; wrote: Great.', '- "Clock": did not like']
    assert "at most 100 words" in asked.messages[0].text
    assert (asked.id, asked.material) == ("u1@2", MATERIAL)


def test_an_answer_becomes_a_profile() -> None:
    found = profile.parse(Reply("u1@2", "Profile: Likes\nlamps."), "u1", "someone")
    assert (found.key, found.user, found.text, found.origin) == ("u1@2", "u1", "Likes lamps.", "someone")


@pytest.mark.parametrize("text", ["", "Likes lamps.", "Profile:", "Profile: a\nProfile: b"])
def test_an_answer_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(TeacherError):
        profile.parse(Reply("u1@2", text), "u1", "someone")


def test_the_offline_writer_answers_in_the_asked_form() -> None:
    reply = next(OfflineWriter().answer([profile.request("u1@2", MATERIAL, WORDING)]))
    text = profile.parse(reply, "u1", "offline").text
    assert text.startswith("Rated 2 products so far and liked 1.")
    assert 'Did not like "Clock".' in text
