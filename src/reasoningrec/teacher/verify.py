"""Gates that a text must pass before it is trained on or shown: each by rule, each counted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reasoningrec.config import ReasonConfig
from reasoningrec.llm.stance import stance
from reasoningrec.records import Evidence, Explanation, Fact, Rationale, Verdict
from reasoningrec.teacher.answers import citations

GATES: Mapping[str, str] = {
    "form": "taste and why are there, and why ends a sentence",
    "length": "taste and why keep to their words",
    "stance": "the text takes the side of the decision",
    "citations": "at least one id is cited, at most `max_reasons`, and every cited id stands in the evidence",
    "titles": "a quoted title stands before the id of the item that has it",
    "numbers": "every number stands in a line cited in the same sentence",
    "leak": "nothing hints that the answer was known, and no stars are named",
}
LIMITS = {"taste_words", "why_words", "max_reasons"}
"""The settings of `[reason]` that gates read."""
LEAKS = re.compile(
    r"\b(?:we know|it is known|as (?:we|you) know|the label|ground truth|the (?:correct |given )?answer is|was given|"
    r"actually (?:liked|disliked|did)|turned out|stars?|rated it|rating of|gave it|already (?:liked|disliked) \[T\])\b",
    re.IGNORECASE,
)
QUOTED = re.compile(r'"([^"]*)"\s*(?:\[(T|[HUC][1-9]\d{0,2})\])?')
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def verify(text: Rationale | Explanation, decision: bool, evidence: Evidence, limits: ReasonConfig) -> Verdict:
    """Every gate that `text` fails, in the order of `GATES`.

    Args:
        text: the taste and why to judge.
        decision: the side it must take: the label of a rationale, the fused decision of an explanation.
        evidence: the lines it may cite.
        limits: words and reasons.
    """
    claimed = text.label if isinstance(text, Rationale) else text.decision
    facts = evidence.by_id()
    cited = citations(text.why)
    passed = {
        "form": bool(text.taste and text.why) and text.why.rstrip().endswith((".", "!")),
        "length": len(text.taste.split()) <= limits.taste_words and len(text.why.split()) <= limits.why_words,
        "stance": claimed is decision and stance(text.why) is decision,
        "citations": 1 <= len(cited) <= limits.max_reasons and all(id in facts for id in cited),
        "titles": _titles_hold(text.why, facts),
        "numbers": _numbers_hold(text.why, facts),
        "leak": LEAKS.search(QUOTED.sub("", text.why)) is None,
    }
    return Verdict(text.query_id, tuple(gate for gate in GATES if not passed[gate]))


def _titles_hold(why: str, facts: Mapping[str, Fact]) -> bool:
    for title, id in QUOTED.findall(why):
        if id not in facts or facts[id].values.get("title") != title:
            return False
    return True


def _numbers_hold(why: str, facts: Mapping[str, Fact]) -> bool:
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"])", why):
        known = {number for id in citations(sentence) if id in facts for number in NUMBER.findall(facts[id].text)}
        plain = re.sub(r"\[[A-Z]\d*\]", "", QUOTED.sub("", sentence))
        if not set(NUMBER.findall(plain)) <= known:
            return False
    return True
