"""Checks a program can make of explanations, each against the evidence it was written from.

The text read is `taste` and `why`, whoever wrote them; the stance is read from `why` alone, because `taste` speaks of
what the user likes in general. Cited ids are those of `citations` followed by any other "[id]" found in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reasoningrec.llm.stance import stance
from reasoningrec.records import Evidence, Explanation

MAX_REASONS: Final = 3
CITATION: Final = re.compile(r"\[([A-Z]\d{0,3}(?:\s*[,;]\s*[A-Z]\d{0,3})*)\]")
_QUOTED: Final = re.compile(r"\"[^\"]{1,300}\"|“[^”]{1,300}”|«[^»]{1,300}»|\*[^*\n]{1,300}\*")
_NUMBER: Final = re.compile(r"[$€£¥]?\d+(?:,\d{3})*(?:\.\d+)?%?")
_NUMBER_WORD: Final = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|once|twice|half|both|none|all|no)\b"
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Check:
    """One measured property of a set of explanations: `value` over `n` cases, in `unit`s."""

    measure: str
    value: float | None
    """None where `n` is 0."""
    n: int
    unit: str
    """"share" or "words"."""
    says: str
    """What was measured, in words for the report."""


@dataclass(frozen=True, slots=True)
class TrueReasons:
    """Why a made user likes a made item (demo only)."""

    kinds: tuple[str, ...]
    """Kinds of reason, the largest share of the utility first."""
    accepted: Mapping[str, Collection[str]]
    """Kind -> the evidence ids that speak of it."""


@dataclass(frozen=True, slots=True)
class Frames:
    """How alike the sentences are once what varies by itself is taken out."""

    sentences: int
    top: str
    """The most frequent sentence frame."""
    top_count: int
    distinct_texts: int
    """Distinct frames of whole texts."""


def text_of(explanation: Explanation) -> str:
    """The whole text: taste, then why."""
    return f"{explanation.taste} {explanation.why}".strip()


def cited_ids(explanation: Explanation) -> tuple[str, ...]:
    """Ids cited, each once: those of `citations` in their order, then others that stand in the text in brackets."""
    text = text_of(explanation)
    return tuple(dict.fromkeys((*explanation.citations, *(text[start:end] for start, end in citation_spans(text)))))


def citation_spans(text: str) -> list[tuple[int, int]]:
    """Where ids stand in brackets, as (start, end) of each id; not inside quoted titles ("Vitamin [C] Cream")."""
    plain = _QUOTED.sub(lambda match: " " * len(match[0]), text)
    return [
        (match.start(1) + part.start(), match.start(1) + part.end())
        for match in CITATION.finditer(plain)
        for part in re.finditer(r"[A-Z]\d*", match[1])
    ]


def check_explanations(
    explanations: Sequence[Explanation],
    evidence: Mapping[str, Evidence],
    names: Mapping[str, Collection[str]] | None = None,
) -> tuple[Check, ...]:
    """Measure every check of this module that needs no truth.

    Args:
        explanations: of any queries.
        evidence: by query id; an explanation without evidence has no valid citation.
        names: by query id, names to take out of sentence frames besides quoted titles (brands, titles in plain text).
    """
    n = len(explanations)
    cited = [cited_ids(explanation) for explanation in explanations]
    known = [_known_ids(evidence.get(explanation.query_id)) for explanation in explanations]
    exists = [cite in ids for row, ids in zip(cited, known, strict=True) for cite in row]
    agrees = [stance(explanation.why) is explanation.decision for explanation in explanations]
    words = [len(text_of(explanation).split()) for explanation in explanations]
    frames = count_frames(explanations, names or {})
    texts = len({text_of(explanation) for explanation in explanations})
    return (
        _share("citations_exist", sum(exists), len(exists), "citations that name a line of evidence that exists"),
        _share("cited", sum(map(bool, cited)), n, "explanations that cite at least one line"),
        _share("stance_agreement", sum(agrees), n, "explanations whose words take the side of the decision"),
        _share(
            "at_most_three", sum(len(row) <= MAX_REASONS for row in cited), n, "explanations of at most three reasons"
        ),
        _words("words_mean", sum(words) / n if n else None, n, "length, mean"),
        _words("words_most", max(words, default=None), n, "length, longest"),
        _share("distinct_texts", texts, n, "texts that differ, of all"),
        _share("top_frame", frames.top_count, frames.sentences, "sentences of the most frequent frame"),
        _share("distinct_frames", frames.distinct_texts, n, "texts that differ once names, ids and numbers are out"),
        *_origins(explanations),
    )


def count_frames(explanations: Sequence[Explanation], names: Mapping[str, Collection[str]]) -> Frames:
    """Count sentence frames; arguments as in `check_explanations`."""
    sentences: Counter[str] = Counter()
    texts = set()
    for explanation in explanations:
        framed = [frame(part, names.get(explanation.query_id, ())) for part in split_sentences(text_of(explanation))]
        sentences.update(framed)
        texts.add(tuple(framed))
    top, count = sentences.most_common(1)[0] if sentences else ("", 0)
    return Frames(sentences.total(), top, count, len(texts))


def split_sentences(text: str) -> list[str]:
    """Sentences of `text`, cut at line ends and after . ! ? before a space, but not inside quoted titles."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\x00{len(held) - 1}\x00"

    parts = _SENTENCE_END.split(_QUOTED.sub(hold, text))
    whole = [re.sub(r"\x00(\d+)\x00", lambda match: held[int(match[1])], part).strip() for part in parts]
    return [part for part in whole if part]


def frame(sentence: str, names: Collection[str] = ()) -> str:
    """`sentence` with what varies by itself taken out, in lower case.

    Citations vanish; quoted titles, and any of `names` as whole words, become "_"; numbers, prices, percentages and
    the small number words become "#"; neighbouring marks fold into one, as lists of titles are of any length.
    """
    plain = _QUOTED.sub("_", CITATION.sub("", sentence))
    longest_first = sorted((name for name in names if name.strip()), key=lambda name: (-len(name), name))
    if longest_first:
        plain = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", "_", plain, flags=re.IGNORECASE)
    plain = _NUMBER_WORD.sub("#", _NUMBER.sub("#", plain.lower()))
    plain = re.sub(r"\s+", " ", plain)
    plain = re.sub(r"_(?:,? (?:and )?_)+", "_", plain)
    return re.sub(r"\s+([.,;:!?])", r"\1", plain).strip()


def true_reason_hits(explanations: Sequence[Explanation], truth: Mapping[str, TrueReasons]) -> tuple[Check, ...]:
    """Whether the true main reason is cited: first, and at all (demo only, where true reasons are known).

    Only explanations whose query has an entry with at least one kind in `truth` count (the caller hands in the liked
    queries). A main kind that no line of evidence speaks of is a miss, not left out.
    """
    judged = [
        (cited_ids(explanation), truth[explanation.query_id])
        for explanation in explanations
        if explanation.query_id in truth and truth[explanation.query_id].kinds
    ]
    wanted = [(cited, frozenset(reasons.accepted.get(reasons.kinds[0], ()))) for cited, reasons in judged]
    first = sum(bool(cited) and cited[0] in ids for cited, ids in wanted)
    among = sum(not ids.isdisjoint(cited) for cited, ids in wanted)
    return (
        _share("true_reason_first", first, len(wanted), "liked items whose true main reason is cited first"),
        _share("true_reason_among", among, len(wanted), "liked items whose true main reason is among the cited"),
    )


def _known_ids(evidence: Evidence | None) -> frozenset[str]:
    return frozenset(fact.id for fact in evidence.facts) if evidence else frozenset()


def _origins(explanations: Sequence[Explanation]) -> list[Check]:
    counts = Counter(explanation.origin for explanation in explanations)
    n = len(explanations)
    return [_share(f"from_{origin}", counts[origin], n, f"written by: {origin}") for origin in sorted(counts)]


def _share(measure: str, count: int, n: int, says: str) -> Check:
    return Check(measure, count / n if n else None, n, "share", says)


def _words(measure: str, value: float | None, n: int, says: str) -> Check:
    return Check(measure, None if value is None else float(value), n, "words", says)
