"""User profiles, from rows that lie before the windows; none where nothing lies there (as in the paper)."""

from __future__ import annotations

from reasoningrec.llm.client import Reply, Request, UserMaterial
from reasoningrec.records import Profile
from reasoningrec.teacher.answers import read
from reasoningrec.teacher.conversation import Conversation, ask
from reasoningrec.teacher.wording import Wording

FIELDS = ("Profile",)


def request(key: str, material: UserMaterial, wording: Wording) -> Request:
    """Ask for the profile named `key`."""
    messages = wording.ask("profile", past=material.past, words=material.words)
    return Request(key, messages, FIELDS, material, material.words)


def parse(reply: Reply, user: str, origin: str) -> Profile:
    """The profile in `reply`. Raises TeacherError when it is not in the form asked for."""
    return Profile(reply.request_id, user, read(reply.text, FIELDS)["Profile"], origin)


def conversation(key: str, material: UserMaterial, wording: Wording, origin: str) -> Conversation[Profile]:
    """Ask until there is a profile that can be read."""
    return ask(request(key, material, wording), lambda reply: parse(reply, material.user, origin))
