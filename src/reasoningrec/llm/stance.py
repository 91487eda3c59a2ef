"""Read from a text whether its writer expects a like: by rule, so that a program can check it against the decision.

Only words about the *decision* count ("will enjoy", "a poor match"), never words about the past ("liked four of five"):
a good reason against an item may well speak of likes. How a text is read:

1. Quoted titles and citations ([H2]) are taken out: a film called "Not for You" is no opinion.
2. The text is cut into clauses: at sentence ends, semicolons, colons, commas, contrasts ("but"), "because", and "and"
   or "so" before a new subject.
3. A cue is a forecast (`FORECAST`, up to five `FILLER` words, then a word of `LIKE` or `DISLIKE`) or a phrase of
   `GOOD` or `BAD`. A hedged forecast ("may", "might", "could") weighs 1/2, any other cue 1.
4. Every `NEGATOR` inside the cue or among the six words before it in the clause turns its sign: "will not", "unlikely
   to", "no reason to think they would"; two cancel: "not unlikely to enjoy".
5. A clause after a contrast weighs 1.5 times, what follows "but" being what is meant; a conceding clause ("although",
   "despite", "even if") 1/2.
6. The sign of the sum is the stance. A sum of zero, or no cue at all, is no stance: None.
"""

from __future__ import annotations

import re
from typing import Final

SOMEONE: Final = r"(?:this|the|that) (?:user|person|customer|shopper|viewer|reader|buyer|one)"
PERSON: Final = rf"(?:you|they|them|he|him|she|her|we|{SOMEONE})"
THEIR: Final = rf"(?:your|their|his|her|our|the usual|(?:{SOMEONE})'s)"
HEDGED: Final = r"(?:may|might|could|can)"
FORECAST: Final = (
    rf"(?:will|would|\w+'ll|\w+'d|shall|should|ought|going|bound|sure|certain|set|apt|expect(?:ed)?|(?:un)?likely|"
    rf"cannot|(?:wo|would|should|could|might|ca)n't|{HEDGED})"
)
FILLER: Final = (
    rf"(?:not|never|hardly|scarcely|barely|to|be|that|a|an|the|this|it|item|one|{PERSON}|will|would|find|have|likely|also|"
    r"again|still|too|so|as|really|quite|very|most|more|less|rather|even|just|much|all|\w+ly)"
)
LIKE: Final = (
    r"(?:like|liked|enjoy|enjoyed|enjoyable|love|loved|appreciate|appreciated|welcome|favou?r|suit|please|pleased|"
    r"pleasing|appeal|appealing|delight|delighted|satisfy|satisfied|satisfying|fit|match|want|work|choose|recommend|happy|"
    r"glad|keen|fond|fan|hit|yes|right)"
)
DISLIKE: Final = (
    r"(?:dislike|disliked|hate|hated|skip|skipped|avoid|avoided|reject|rejected|regret|disappoint|disappointed|"
    r"disappointing|disappointment|unhappy|dissatisfied|displeased|unsatisfied|bored|lacking|miss|pass on|pass over|"
    r"fall flat|fall short|turn (?:it|this) down|put off|no)"
)
THING: Final = (
    r"(?:match|fit|choice|pick|bet|candidate|recommendation|buy|purchase|option|suggestion|prospect|idea|sell|shot)"
)
VERDICT: Final = r"(?:expect|predict|predicts|predicted|foresee|prediction|answer|verdict|decision)(?: is|:)?"
GOOD: Final = (
    rf"(?:good|great|strong|natural|safe|excellent|solid|promising|nice|perfect|clear|fine|close|sound|fair|ideal)"
    rf" {THING}"
    rf"|(?:match|choice|one|item|right|made) for {PERSON}"
    rf"|(?:suits?|fits?|match(?:es)?|pleases?|appeals? to|speaks? to|in line with|in tune with)"
    rf" (?:{PERSON}|{THEIR} \w+)"
    rf"|(?<=not )(?:(?:really|quite|one|something|meant) )?for {PERSON}"
    rf"|up {THEIR} (?:street|alley)"
    r"|worth (?:a (?:try|trying|look|go)|it|trying|buying|watching|reading|having|recommending)"
    r"|(?:chances?|odds) (?:of (?:a|it) like )?(?:is|are|looks?|seems?) (?:\w+ )?(?:good|high|strong)"
    r"|(?:like|yes) (?:is|seems|looks|appears) (?:\w+ )?(?:(?:un)?likely|probable|improbable|expected|doubtful)"
    rf"|{VERDICT} (?:a |an )?(?:like|yes)"
)
BAD: Final = (
    rf"(?:poor|bad|weak|risky|wrong|questionable|doubtful|dubious|hard|tough|awkward|long|unsafe) {THING}"
    rf"|mismatch|(?:best|better) (?:skipped|avoided|left)|wrong for|clash(?:es)? with (?:{PERSON}|{THEIR} \w+)"
    rf"|(?:outside|against|far from) {THEIR} (?:\w+ )?tastes?"
    r"|(?:chances?|odds) (?:of (?:a|it) like )?(?:is|are|looks?|seems?) (?:\w+ )?(?:slim|low|poor|small|weak)"
    r"|(?:dislike|no) (?:is|seems|looks|appears) (?:\w+ )?(?:(?:un)?likely|probable|improbable|expected)"
    rf"|{VERDICT} (?:a |an )?(?:dislike|no)"
    r"|one to (?:skip|avoid|miss)"
)
NEGATOR: Final = re.compile(
    r"\b(?:not|never|no|nothing|neither|nor|hardly|scarcely|barely|little|without|cannot|unlikely|improbable|"
    r"doubt|doubts|doubtful|fails?|\w+n't)\b"
)
CONTRAST: Final = r"but|however|yet|nevertheless|nonetheless|still,|on balance|overall|all in all"
CONCESSION: Final = re.compile(r"\s*(?:al)?though|\s*while|\s*even (?:if|though)|\s*despite|\s*in spite|\s*granted")

_REMOVED: Final = re.compile(r"\[[^\]\[]{1,40}\]|\"[^\"]{1,200}\"|“[^”]{1,200}”|«[^»]{1,200}»")
_CUT: Final = re.compile(
    rf"[.!?;,()\n]+|(?<!prediction)(?<!answer)(?<!verdict)(?<!decision):"
    rf"|\b(?=(?:{CONTRAST})\b)|\bbecause\b|\b(?:and|so)\b(?= (?:{PERSON}|it|this|that)\b)"
)
_CUES: Final = tuple(
    (re.compile(rf"(?<![\w'])(?:{pattern})(?![\w'])"), sign)
    for pattern, sign in (
        (rf"{FORECAST} (?:{FILLER} ){{0,5}}?(?P<opinion>{DISLIKE})", -1),
        (rf"{FORECAST} (?:{FILLER} ){{0,5}}?(?P<opinion>{LIKE})", 1),
        (rf"(?P<opinion>{BAD})", -1),
        (rf"(?P<opinion>{GOOD})", 1),
    )
)
_HEDGED: Final = re.compile(rf"{HEDGED}\b")


def stance(text: str) -> bool | None:
    """Whether `text` says the item will be liked (True), will not be (False), or takes no side (None)."""
    plain = re.sub(r"[^\S\n]+", " ", _REMOVED.sub(" ", text.replace("’", "'").lower()))
    total = 0.0
    for clause in _CUT.split(plain):
        total += _clause_weight(clause) * _clause_sum(clause.strip())
    return None if total == 0 else total > 0


def mask(text: str) -> str:
    """`text` with every saying of the decision blanked out as ____, the words that negate it as well.

    What is left are the reasons; a reader who recovers the decision from them did not read it off.
    """
    hidden = _REMOVED.sub(lambda match: "\0" * len(match[0]), text.replace("’", "'"))
    spans: list[tuple[int, int]] = []
    start = 0
    for cut in [*_CUT.finditer(hidden.lower()), None]:
        end = cut.start() if cut else len(hidden)
        spans += _sayings(hidden.lower(), start, end)
        start = cut.end() if cut else end
    for start, end in reversed(_merged(spans)):
        text = f"{text[:start]}____{text[end:]}"
    return text


def _sayings(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where a clause of `text` says the decision."""
    found = []
    clause = re.sub(r"\s", " ", text[start:end])
    for pattern, _ in _CUES:
        for match in pattern.finditer(clause):
            before = clause[: match.start()]
            near = len(before) - len(" ".join(before.split(" ")[-7:]))
            turned = NEGATOR.search(before, near)
            found.append((start + (turned.start() if turned else match.start()), start + match.end()))
    return found


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _clause_weight(clause: str) -> float:
    if re.match(rf"\s*(?:{CONTRAST})\b", clause):
        return 1.5
    return 0.5 if CONCESSION.match(clause) else 1.0


def _clause_sum(clause: str) -> float:
    """Signed weight of a clause's cues; of overlapping cues, the one that starts first (then the longer) counts."""
    found = [
        (match.start(), -match.end(), sign, match) for pattern, sign in _CUES for match in pattern.finditer(clause)
    ]
    total, end = 0.0, 0
    for start, _, sign, match in sorted(found, key=lambda cue: cue[:3]):
        if start < end:
            continue
        before = " ".join(clause[end:start].split()[-6:])
        inside = clause[start : match.start("opinion")]
        turns = len(NEGATOR.findall(before)) + len(NEGATOR.findall(inside))
        turns += len(re.findall(r"\b(?:unlikely|improbable|doubtful)$", match["opinion"]))
        weight = 0.5 if _HEDGED.match(match[0]) else 1.0
        total += sign * weight * (-1) ** turns
        end = match.end()
    return total
