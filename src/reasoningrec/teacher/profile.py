"""User profiles, from rows that lie before the windows; none where nothing lies there (as in the paper)."""

from __future__ import annotations

from reasoningrec import prompts
from reasoningrec.llm.client import Reply, Request, UserMaterial
from reasoningrec.records import Profile
from reasoningrec.teacher.answers import labelled


def request(key: str, material: UserMaterial) -> Request:
    """Ask for the profile named `key`."""
    prompt = prompts.render("profile", item_word=material.item_word, past=material.past, words=material.words)
    return Request(key, prompt, material)


def parse(reply: Reply, user: str, origin: str) -> Profile:
    """The profile in `reply`. Raises TeacherError when it is not in the form asked for."""
    return Profile(reply.request_id, user, labelled(reply.text, ["Profile"])["Profile"], origin)
