"""Whether what a text says beside a citation is what the cited line says: by rule, clause by clause.

A clause runs from the last citation, or the last cut between clauses, to the citation it ends in. It may not say
"below the usual" of a line that speaks for the item, nor the reverse; speak of others where the line is about the
person; or name the brand, category or price band of another line. Of a relative clause behind a citation ("[H1], which
you did not like") the first is asked, and that it does not turn the reaction round. Wording outside the lexicon is not
judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from reasoningrec.records import Fact
from reasoningrec.teacher.answers import CITATION, QUOTED_TITLE

CLEAR = 0.05
"""Nats from which a line takes a side."""
WELL = re.compile(
    r"\b(?:above the (?:usual|average)|more (?:often )?than (?:usual|people)|easier to please|easy to win over|"
    r"better than|kinder|(?<!not )on its side|fond of|(?<!less )pleased with|happiest|(?<!not )served you well|"
    r"works for you|(?<!not )get along|were kind|gone well|stands well|better mood|go down well)\b",
    re.IGNORECASE,
)
BADLY = re.compile(
    r"\b(?:below (?:the (?:usual|average)|your average)|(?:less|fewer) (?:often )?than (?:usual|people)|"
    r"harder to (?:please|win)|"
    r"worse than|stricter|cool(?:er)? on it|had their doubts|let (?:you|it) down|left you cold|not on its side|"
    r"works less well|not served|do not get along|more critical|were harsh|gone badly|less well|less pleased|"
    r"few things win)\b",
    re.IGNORECASE,
)
OTHERS = re.compile(r"(?<!at )(?<!as )\bothers\b|\bpeople who\b|\bthe crowd\b|\bthose who\b|\d people\b", re.IGNORECASE)
_REACTION = re.compile(r"\b(did not like|liked)\s+\[(H\d+)\]", re.IGNORECASE)
DISLIKED = re.compile(r"\b(?:not|\w+n't|never|hardly|disliked?|hated?)\b", re.IGNORECASE)
_CUT = re.compile(r"[.!?:;] |\bbecause\b|\bbut\b")
_RELATIVE = re.compile(
    rf"{CITATION.pattern}(?P<said>,? \(?(?:which|that|(?:well |far )?(?:above|below|better|worse|more|less|fewer))\b"
    r"[^.!?:;,\[]*?)(?=[.!?:;,)]|$| and (?!did )| but | because | that )"
)
"""A citation and what is said of it behind it, which ends before the next line's own clause begins."""
_REACTS = re.compile(
    r"\b(?:which|that) (?:you|they|he|she|the (?:user|person))\s+(?:\w+ and )?"
    r"(?P<not>(?:(?:did not|didn't|do not|don't|never|hardly|could not|couldn't|failed to)\s+(?:really |much )?)?)"
    r"(?P<how>liked?|enjoy(?:ed)?|loved?|dislik(?:e|ed)|hated?)\b(?! to\b)",
    re.IGNORECASE,
)
"""What the person did, told in a relative clause whose object the cited item is."""


def hold(why: str, facts: Mapping[str, Fact]) -> bool:
    """Whether every clause of `why` fits the line it cites, and no reaction is turned round."""
    plain = QUOTED_TITLE.sub("", why)
    behind = [(match["said"], match[1]) for match in _RELATIVE.finditer(plain)]
    said = [(id, told.lower() == "liked") for told, id in _REACTION.findall(plain)]
    told = ((id, _REACTS.search(clause)) for clause, id in behind)
    said += [
        (id, not (match["not"] or match["how"].lower().startswith(("dis", "hate")))) for id, match in told if match
    ]
    known = {id: fact.values.get("liked") for id, fact in facts.items() if fact.kind == "history"}
    if any(known.get(id) not in (None, liked) for id, liked in said):
        return False
    if any(_turns_round(clause, facts[id]) for clause, id in behind if id in facts):
        return False
    return all(_fits(clause, facts[id], facts) for clause, id in _clauses(plain, facts) if id in facts)


def _clauses(plain: str, facts: Mapping[str, Fact]) -> Iterator[tuple[str, str]]:
    """(clause, id it ends in); an item named within another line's clause ("of 5 who liked [H2] ... [C2]") has none.

    What an item shares with the target (", also by Alder") is said behind its citation, as relative clauses are: it
    belongs to no later clause.
    """
    for shared in sorted({str(fact.values.get("shared", "")) for fact in facts.values()} - {""}, key=len, reverse=True):
        plain = plain.replace(f", {shared}", "")
    plain = _RELATIVE.sub(r"[\1]", plain)
    start = 0
    for match in CITATION.finditer(plain):
        if match[1].startswith("H") and re.match(r"[^.!?\[]*\[C2\]", plain[match.end() :]):
            continue
        yield _CUT.split(plain[start : match.start()])[-1], match[1]
        start = match.end()


def _turns_round(clause: str, fact: Fact) -> bool:
    """Whether it says of a line that it speaks against the item where it speaks for it, or the reverse."""
    badly = BADLY.search(clause)
    return bool(badly if fact.weight >= CLEAR else fact.weight <= -CLEAR and WELL.search(clause) and not badly)


def _fits(clause: str, fact: Fact, facts: Mapping[str, Fact]) -> bool:
    if _turns_round(clause, fact):
        return False
    if OTHERS.search(clause) and not fact.id.startswith("C"):
        return False
    own = str(fact.values.get("which", ""))
    names = {str(other.values["which"]) for other in facts.values() if "which" in other.values} - {own}
    return not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", clause, re.IGNORECASE) for name in names)
