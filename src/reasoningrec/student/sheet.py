"""What a student's prompt shows of a case, and how it is made shorter.

Two wordings: ours, in which lines have ids that a text can cite, and what speaks for and against is said; and the
paper's (`Case.published`), a numbered list of titles and reactions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from reasoningrec import prompts
from reasoningrec.data.facts import short_title
from reasoningrec.records import Case, Fact
from reasoningrec.student.form import CUE
from reasoningrec.student.shorthand import CITATION, leanings
from reasoningrec.unseen import without_unseen

PROMPT: Final = "recommend"
PUBLISHED: Final = "as-published"
"""The prompt of a case that is `published`."""
STRENGTHS: Final = ((1.4, "very strongly "), (0.7, "strongly "), (0.25, ""), (0.05, "slightly "))
"""Least |weight| in nats of each word: from 0.05 (odds times 1.05) a fact speaks slightly, from 0.25 (1.3) plainly,
from 0.7 (2) strongly, from 1.4 (4) very strongly; below 0.05 it is neutral."""
MENTIONED: Final = 4
"""Facts at most on each of the lines "For" and "Against"."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a prompt shows of a case; shortening makes a smaller one."""

    profile: str
    description: str
    target: str
    history: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    good: str
    bad: str
    brief: bool = False
    """Whether history lines show title and reaction only."""
    weighs: bool = True
    """Whether there are facts besides history and target; else nothing is said to speak for or against."""
    published: bool = False

    @classmethod
    def of(cls, case: Case) -> Sheet:
        """All of it."""
        by_kind: dict[bool, list[Fact]] = {True: [], False: []}
        target = f'"{case.target.title}"'
        for fact in case.evidence.facts:
            if fact.kind == "target":
                target = fact.text
            else:
                by_kind[fact.kind == "history"].append(fact)
        history, facts = tuple(by_kind[True]), tuple(by_kind[False])
        texts = _prose(case.profile), _prose(case.description)
        if case.published:
            history = tuple(_as_published(fact, case) for fact in history)
            target = f'"{clean(short_title(case.target.title))}"'
            return cls(*texts, target, history, (), "", "", weighs=False, published=True)
        good, bad = (_prose(", ".join(names)) for names in leanings(case))
        return cls(*texts, clean(target), history, facts, good, bad, weighs=bool(facts))

    def mentioned(self, side: int) -> list[Fact]:
        """At most `MENTIONED` facts for (1) or against (-1) a like, the weightiest first."""
        if not self.weighs:
            return []
        speaking = [fact for fact in (*self.history, *self.facts) if side * fact.weight >= STRENGTHS[-1][0]]
        return sorted(speaking, key=lambda fact: (-abs(fact.weight), fact.id))[:MENTIONED]

    def render(self) -> str:
        """The prompt's text."""
        if self.published:
            lines = [str(fact.values["said"]) if self.brief else fact.text for fact in self.history]
            return prompts.render(
                PUBLISHED, profile=self.profile, history=lines, target=self.target, description=self.description
            ).rstrip("\n")
        return prompts.render(
            PROMPT,
            profile=self.profile,
            person=[_weighed(fact) for fact in self.facts if fact.shared],
            # A history line's weight depends on the target, so its tag would part the prefix candidates share.
            history=[_brief(fact) if self.brief else _line(fact) for fact in self.history],
            good=self.good,
            bad=self.bad,
            target=f"[T] {self.target}",
            description=self.description,
            facts=[_weighed(fact) for fact in self.facts if not fact.shared],
            sides=[[_mention(fact) for fact in self.mentioned(side)] for side in (1, -1)] if self.weighs else [],
        ).rstrip("\n")

    def shorter(self) -> Iterator[Sheet]:
        """This sheet, then ever smaller ones, in the order in which parts are given up.

        Long texts are cut first, then history lines to title and reaction. Then go the oldest lines that weigh little
        (nor stand beside a fact that weighs), the profile, the rest of the history from its oldest line, the
        description, and last the facts from the lightest. Where nothing is weighed, no line goes before the profile.
        """
        sheet = self
        mentioned = [fact for side in (1, -1) for fact in self.mentioned(side)]
        heavy = {fact.id for fact in mentioned} | {str(fact.values.get("with")) for fact in mentioned}
        yield sheet
        yield (sheet := sheet.cut(40, 25))
        yield (sheet := dataclasses.replace(sheet, brief=True))
        for fact in self.history:
            if self.weighs and fact.id not in heavy:
                yield (sheet := sheet.without(fact))
        yield (sheet := sheet.cut(20, 12))
        yield (sheet := sheet.cut(0, 12))
        for fact in sheet.history:
            yield (sheet := sheet.without(fact))
        yield (sheet := sheet.cut(0, 0))
        for fact in sorted(sheet.facts, key=lambda fact: abs(fact.weight)):
            yield (sheet := sheet.without(fact))

    def cut(self, profile: int, description: int) -> Sheet:
        """With at most so many words of the profile and the description."""
        return dataclasses.replace(
            self, profile=_words(self.profile, profile), description=_words(self.description, description)
        )

    def without(self, gone: Fact) -> Sheet:
        """This sheet but for one line."""
        return dataclasses.replace(
            self,
            history=tuple(fact for fact in self.history if fact is not gone),
            facts=tuple(fact for fact in self.facts if fact is not gone),
        )


def strength(weight: float) -> str:
    """A weight of evidence in nats as words (see `STRENGTHS`): "strongly for", "against", "neutral"."""
    side = "for" if weight > 0 else "against"
    return next((word + side for least, word in STRENGTHS if abs(weight) >= least), "neutral")


def published_sample() -> str:
    """A prompt of a published case, without its last line."""
    shown = {"profile": "", "history": ["Mug: LIKED"], "target": '"Lamp"', "description": ""}
    return prompts.render(PUBLISHED, **shown).strip().removesuffix(CUE)


def _mention(fact: Fact) -> str:
    """A fact on the line "For" or "Against": its id, how strongly, and what a history item shares with the target."""
    shared = fact.values.get("shared")
    words = [f"[{fact.id}]", *strength(fact.weight).split()[:-1], *([f"({clean(str(shared))})"] if shared else [])]
    return " ".join(words)


def _as_published(fact: Fact, case: Case) -> Fact:
    """A line of the history in the paper's words: title and reaction, then the item's description, if any."""
    reaction = case.query.history[int(fact.id.removeprefix("H")) - 1]
    said = f"{clean(short_title(case.items[reaction.item].title))}: {'LIKED' if reaction.liked else 'DISLIKED'}"
    text = _prose(case.item_texts.get(reaction.item, ""))
    return dataclasses.replace(fact, text=f"{said}. {text}" if text else said, values={**fact.values, "said": said})


def _line(fact: Fact) -> str:
    return f"[{fact.id}] {clean(fact.text)}"


def _brief(fact: Fact) -> str:
    if not fact.values.get("title"):
        return _line(fact)
    return (
        f'[{fact.id}] "{clean(str(fact.values["title"]))}": {"liked" if fact.values.get("liked") else "did not like"}'
    )


def _weighed(fact: Fact) -> str:
    tagged = not fact.shared or fact.weight != 0
    return f"{_line(fact)} ({strength(fact.weight)})" if tagged else _line(fact)


def clean(text: str) -> str:
    """On one line, and without what a tokenizer could take for its end token."""
    return without_unseen(text.replace("<|", "<"))


def _prose(text: str) -> str:
    """A text that cites nothing: what looks like a citation in it loses its brackets."""
    return CITATION.sub(r"(\1)", clean(text))


def _words(text: str, most: int) -> str:
    words = text.split()
    return text if len(words) <= most else " ".join(words[:most]).rstrip(",;:.") + "..." * (most > 0)
