"""Gates that a text must pass before it is trained on or shown: each by rule, each counted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from reasoningrec.config import Gate, ReasonConfig
from reasoningrec.llm.offline import SPEAKS
from reasoningrec.llm.stance import stance
from reasoningrec.records import Evidence, Explanation, Fact, Rationale, Verdict
from reasoningrec.teacher import claims
from reasoningrec.teacher.answers import CITATION, citations, every_citation

GATES: Mapping[Gate, str] = {
    "form": "taste and why are whole sentences, and no sentence is a bare citation",
    "length": "taste and why keep to their words",
    "stance": "the text takes the side of the decision, and no sentence of it the other",
    "citations": "at least one id is cited outside titles, at most `max_reasons`, and every one stands in the evidence",
    "repeats": "no line is cited twice outside titles",
    "support": "the first cited line speaks for the decision, and at most one of the others against it",
    "titles": "a quoted title stands before the id of the item that has it",
    "history": "what the text says they liked or not, by its quoted title, stands in the history so",
    "numbers": "every number stands in a line cited in the same sentence",
    "claims": "what is said before a citation, or relatively behind it, fits the cited line (see `teacher.claims`)",
    "leak": "nothing hints that the answer was known, and no stars are named",
}
PLAIN: Sequence[Gate] = ("form", "length", "stance", "history", "leak")
"""The gates for texts that were not asked to cite."""
LIMITS = {"taste_words", "why_words", "max_reasons"}
"""The settings of `[reason]` that gates read."""
LEAKS = re.compile(
    r"\b(?:we know|it is known|as (?:we|you) know|the label|ground truth|the (?:correct |given )?answer is|was given|"
    r"actually (?:liked|disliked|did)|turned out|stars?|rated it|rating of|gave it|already (?:liked|disliked) \[T\])\b",
    re.IGNORECASE,
)
QUOTED = re.compile(r'"([^"]*)"\s*(?:\[(T|[HUC][1-9]\d{0,2})\])?')
SAID_OF_TITLE = re.compile(
    r"((?:\b(?:did not|didn't|never|not)\s+)?\b(?:liked?|enjoy(?:ed)?|loved?|disliked?|hated?))?"
    r"\s*(?:the\s+)?[\"“]([^\"“”]{2,200})[\"”]",
    re.IGNORECASE,
)
"""(what the text says they did, or nothing; a quoted title)."""
BARE = re.compile(r"(?:^|[.!?]\s)\s*\[[A-Z]\d*\]\s*[.!?]")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def verify(
    text: Rationale | Explanation,
    decision: bool,
    evidence: Evidence,
    limits: ReasonConfig,
    gates: Collection[Gate] = tuple(GATES),
) -> Verdict:
    """Every gate of `gates` that `text` fails, in the order of `GATES`.

    Args:
        text: the taste and why to judge.
        decision: the side it must take: the label of a rationale, the fused decision of an explanation.
        evidence: the lines it may cite.
        limits: words and reasons.
        gates: those to pass.
    """
    claimed = text.label if isinstance(text, Rationale) else text.decision
    facts = evidence.by_id()
    cited = citations(text.why)
    passed: Mapping[Gate, bool] = {
        "form": _is_formed(text, facts),
        "length": len(text.taste.split()) <= limits.taste_words and len(text.why.split()) <= limits.why_words,
        "stance": claimed is decision and stance(text.why) is decision and not _wavers(text.why, decision),
        "citations": 1 <= len(cited) <= limits.max_reasons and all(id in facts for id in cited),
        "repeats": len(every_citation(text.why)) == len(cited),
        "support": _supports(cited, decision, facts),
        "titles": _titles_hold(text.why, facts),
        "history": _history_holds(text.why, facts),
        "numbers": _numbers_hold(text.why, facts),
        "claims": claims.hold(text.why, facts),
        "leak": LEAKS.search(QUOTED.sub("", text.why)) is None,
    }
    return Verdict(text.query_id, tuple(gate for gate in GATES if gate in gates and not passed[gate]))


def _wavers(why: str, decision: bool) -> bool:
    return any(stance(sentence) is (not decision) for sentence in SENTENCE.split(why))


def _is_formed(text: Rationale | Explanation, facts: Mapping[str, Fact]) -> bool:
    whole = text.taste.rstrip().endswith((".", "!", "…")) and text.why.rstrip().endswith((".", "!"))
    plain = text.why
    for name in _names_with_stops(facts):  # "e.l.f. [C3]" is no sentence and a bare citation
        plain = plain.replace(name, name.rstrip("."))
    return whole and BARE.search(plain) is None


def _supports(cited: Sequence[str], decision: bool, facts: Mapping[str, Fact]) -> bool:
    """Whether the reasons side with the decision, where some line does; an item named within another's line is none."""
    sign = 1.0 if decision else -1.0
    if not any(sign * fact.weight >= SPEAKS for fact in facts.values()):
        return True
    named = {facts[id].values.get("with") for id in cited if id in facts}  # "of 5 who liked [H2], 4 ... [C2]"
    reasons = [id for id in cited if id in facts and id not in named]
    against = [id for id in reasons if sign * facts[id].weight < 0]
    return len(against) <= 1 and reasons[:1] != against[:1]


def _titles_hold(why: str, facts: Mapping[str, Fact]) -> bool:
    return all(id in facts and facts[id].values.get("title") == title for title, id in QUOTED.findall(why))


def _history_holds(why: str, facts: Mapping[str, Fact]) -> bool:
    reactions: dict[str, set[object]] = defaultdict(set)  # items may share a title
    for fact in facts.values():
        if fact.values.get("title"):
            reactions[_folded(str(fact.values["title"]))].add(fact.values.get("liked"))
    made = ((_folded(title), not claims.DISLIKED.search(said)) for said, title in SAID_OF_TITLE.findall(why) if said)
    return all({liked, None} & reactions.get(title, set()) for title, liked in made)


def _folded(title: str) -> str:
    """A title without what writers change in it: case, punctuation, spaces."""
    return " ".join(re.sub(r"[^\w\s]", " ", title.casefold()).split()) or title


def _numbers_hold(why: str, facts: Mapping[str, Fact]) -> bool:
    plain = re.sub(r'"[^"]*"', '""', why)
    for name in _names_with_stops(facts):  # "Dr. Martens" ends no sentence
        plain = plain.replace(name, name.replace(". ", " "))
    for sentence in SENTENCE.split(plain):
        known = {number for id in citations(sentence) if id in facts for number in NUMBER.findall(facts[id].text)}
        if not set(NUMBER.findall(CITATION.sub("", sentence))) <= known:
            return False
    return True


def _names_with_stops(facts: Mapping[str, Fact]) -> set[str]:
    values = {value for fact in facts.values() for value in fact.values.values()}
    return {value for value in values if isinstance(value, str) and ". " in f"{value} "}
