"""A language model that was taught nothing, asked whether the user will like the item: the paper's zero-shot rows.

The prompt is the published one (arXiv 2410.23180) up to its question. We depart from the paper in the answer: P(Yes) is
read from the likelihoods of the first token, where the authors take the word that is written. The word can be taken,
too, of models that tell no likelihoods: then P(Yes) is 1 or 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from reasoningrec import prompts
from reasoningrec.errors import TeacherError
from reasoningrec.llm.choosing import chance
from reasoningrec.llm.client import Client, Message, Reply, Request
from reasoningrec.records import Case

PROMPTS: Final = ("zero-shot", "paper/history")
WORD: Final = ("Prediction",)
"""The one line of an answer whose word is taken."""


class Shown(NamedTuple):
    """What a prompt shows besides titles and reactions."""

    descriptions: bool
    profile: bool


METHODS: Final[Mapping[str, Shown]] = {
    "zero-shot": Shown(descriptions=False, profile=False),
    "zero-shot-description": Shown(descriptions=True, profile=False),
    "zero-shot-profile": Shown(descriptions=False, profile=True),
    "zero-shot-both": Shown(descriptions=True, profile=True),
}


class Words(NamedTuple):
    """What things are called."""

    item: str
    items: str
    user: str


def digest() -> str:
    """SHA-256 of the wording, in hex."""
    return hashlib.sha256("".join(prompts.digest(name) for name in PROMPTS).encode()).hexdigest()


def question(case: Case, shown: Shown, words: Words, fields: tuple[str, ...] = ()) -> Request:
    """What the model is asked, for one token or, as `WORD`, in writing. Another seed of the run asks the same."""
    texts = case.item_texts if shown.descriptions else {}
    text = prompts.render(
        PROMPTS[0],
        profile=case.profile if shown.profile else "",
        history=case.query.history,
        items=case.items,
        item_texts={item: texts.get(item, "") for item in case.items},
        target=case.target,
        description=case.description if shown.descriptions else "",
        item_word=words.item,
        items_word=words.items,
        user_word=words.user,
    )
    return Request(case.query.id, (Message("user", text.strip()),), fields, words=2 * len(fields))


class Said(NamedTuple):
    """What the model said to one query."""

    p: float | None
    """P(Yes); None where there is no number."""
    note: str = ""
    """"unanswered": no answer came; "unusable": none can, as to a prompt that is too long; "neither": it names neither
    word; "bounded": it names one of the two."""


def ask(
    client: Client, cases: Sequence[Case], method: str, words: Words, word: Callable[[str], bool] | None = None
) -> list[Said]:
    """What the model says to each case, in the order of `cases`.

    Args:
        client: over a model of `llm.choosing`; where there is `word`, over one that writes.
        cases: what may be shown.
        method: one of `METHODS`.
        words: of the domain.
        word: reads an answer of the form `WORD` as Yes or No, or raises TeacherError; None = likelihoods are read.

    Raises:
        TeacherError: the model cannot go on.
    """
    requests = [question(case, METHODS[method], words, WORD if word else ()) for case in cases]
    found = {reply.request_id: _said(reply, word) for reply in client.answer(requests)}
    return [found[request.id] for request in requests]


def _said(reply: Reply, word: Callable[[str], bool] | None) -> Said:
    if not reply.answered:
        return Said(None, "unanswered")
    if reply.error:
        return Said(None, "unusable")
    if word:
        try:
            return Said(float(word(reply.text)))
        except TeacherError:
            return Said(None, "neither")
    try:
        found = chance(reply.text)
    except (ValueError, TypeError):
        raise TeacherError(
            f"query {reply.request_id}: its answer in the cache is none", hint="`reasoningrec cache verify`."
        ) from None
    return Said(found.p, "neither" if found.p is None else "bounded" if found.bounded else "")
