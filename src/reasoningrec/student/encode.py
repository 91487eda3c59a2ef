"""The only place that builds student tokens: one rendering of a case for training, scoring and writing.

A prompt holds first what is the same for every candidate of a user (instruction, profile, shared facts, history), then
the target, its description and its own facts, then which facts weigh most, and ends in "Prediction:". The completion
is the decision, " Yes" or " No", and, where there is a rationale, the text after it:

    Prediction: Yes
    Cites: [H2] [U1]
    Why: You liked [H2] ...
    Taste: ...<|end|>

nano's texts are read and written in the short form of `shorthand`; other bases' are plain, and in tokens by `speech`.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from reasoningrec import prompts
from reasoningrec.errors import StudentError
from reasoningrec.records import Case, Rationale
from reasoningrec.student.form import CUE, DECISIONS, PLAN, TASTE, WHY
from reasoningrec.student.phrasing import Wording, kinds
from reasoningrec.student.sheet import Sheet, clean
from reasoningrec.student.shorthand import CITATION, Shorthand
from reasoningrec.student.speech import Speech

REASONS_FIRST: Final = "reason-first"
"""The first line of the prompt where reasons come before the decision."""
CITATIONS: Final = (
    "T",
    *(f"H{n}" for n in range(1, 101)),
    *(f"U{n}" for n in range(1, 13)),
    *(f"C{n}" for n in range(1, 13)),
)
COMPLETION_SHARE: Final = 4
"""One part in four of `max_tokens` is kept free for the completion, in training as in prediction."""


class Tokenizer(Protocol):
    """What encoding needs of nano's tokenizer; those of `transformers` have it."""

    eos_token: str

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens the model expects at the start."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A case with its answer and, for some, the teacher's reasons for it.

    Raises:
        StudentError: the rationale belongs to another query or to the other label.
    """

    case: Case
    label: bool
    rationale: Rationale | None = None

    def __post_init__(self) -> None:
        reasons = self.rationale
        if reasons is not None and (reasons.query_id, reasons.label) != (self.case.query.id, self.label):
            raise StudentError(
                f"query {self.case.query.id} with label {self.label} was given the rationale of "
                f"query {reasons.query_id} with label {reasons.label}"
            )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A case as tokens, the last of which end "Prediction:"."""

    query_id: str
    tokens: tuple[int, ...]
    citable: frozenset[str]
    """Ids of the lines that stand in the prompt."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A training row as tokens: a prompt and its completion."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    label: bool
    decision: int = dataclasses.field(default=0, repr=False)
    """Place of the decision in the completion; no part of the text that data are fingerprinted by, which implies it."""


def encode_prompt(case: Case, tokenizer: Tokenizer | Speech, max_tokens: int) -> Prompt:
    """`case` as a prompt that leaves a quarter of `max_tokens` free for the completion.

    Args:
        case: what may be shown.
        tokenizer: the student's.
        max_tokens: prompt and completion together.

    Raises:
        StudentError: not even the target's line alone fits.
    """
    room = max_tokens - max_tokens // COMPLETION_SHARE
    prompt = _fit(case, tokenizer, room)
    if prompt is None:
        raise StudentError(
            f"query {case.query.id}: its shortest prompt does not fit into {room} tokens",
            hint="Raise train.max_tokens: three quarters of it are for the prompt.",
        )
    return prompt


def _tokens(sheet: Sheet, tokenizer: Tokenizer | Speech) -> tuple[int, ...]:
    text = sheet.render()
    if not isinstance(tokenizer, Speech):
        return tuple(tokenizer.encode(text))
    if tokenizer.reasons_first:
        text = f"{prompts.render(REASONS_FIRST).strip()}\n{text.partition(chr(10))[2]}"
    return tokenizer.prompt(text)


def _fit(case: Case, tokenizer: Tokenizer | Speech, room: int) -> Prompt | None:
    """The longest prompt of at most `room` tokens; None where there is none."""
    sheets = list(Sheet.of(case).shorter())

    def fits(n: int) -> bool:
        return len(_tokens(sheets[n], tokenizer)) <= room

    found = 0 if fits(0) else bisect.bisect_left(range(len(sheets)), True, key=fits)
    if found == len(sheets):
        return None
    sheet = sheets[found]
    citable = frozenset(("T", *(fact.id for fact in (*sheet.history, *sheet.facts))))
    return Prompt(case.query.id, _tokens(sheet, tokenizer), citable)


def encode_row(row: TrainingRow, tokenizer: Tokenizer | Speech, max_tokens: int) -> TokenRow:
    """`row` as tokens, prompt and completion at most `max_tokens` together.

    A rationale trains the decision only where it leaves no room for a prompt, or cites a line that did not fit into it.
    Raises StudentError as `encode_prompt` does.
    """
    if row.rationale is not None:
        completion = _completion(row, tokenizer)
        prompt = _prompt_before(row, completion, tokenizer, max_tokens)
        if prompt:
            return TokenRow(prompt.tokens, completion, row.label)
    prompt = encode_prompt(row.case, tokenizer, max_tokens)
    return TokenRow(prompt.tokens, continuation(DECISIONS[row.label], tokenizer), row.label)


def encode_reasons(row: TrainingRow, tokenizer: Speech, max_tokens: int) -> TokenRow | None:
    """`row` as tokens, its reasons first, as `encode_row`; None where there are none, or they do not fit."""
    if row.rationale is None:
        return None
    text = f"{_plain_text(row.rationale, row.case)}\n{tokenizer.said(row.label)}".removeprefix(WHY)
    completion = (*tokenizer.after(tokenizer.opening, text), tokenizer.end)
    assert completion[-2] == tokenizer.decisions[row.label]
    prompt = _prompt_before(row, completion, tokenizer, max_tokens)
    return TokenRow(prompt.tokens, completion, row.label, len(completion) - 2) if prompt else None


def _prompt_before(
    row: TrainingRow, completion: tuple[int, ...], tokenizer: Tokenizer | Speech, max_tokens: int
) -> Prompt | None:
    """The prompt that fits before a completion with reasons and shows all they cite; None where there is none."""
    assert row.rationale is not None
    room = max_tokens - max(len(completion), max_tokens // COMPLETION_SHARE)
    prompt = _fit(row.case, tokenizer, room)
    cited = CITATION.findall(reasons_text(row.rationale, row.case))
    return prompt if prompt and prompt.citable.issuperset(cited) else None


def _completion(row: TrainingRow, tokenizer: Tokenizer | Speech) -> tuple[int, ...]:
    """The decision, the reasons, and the end."""
    assert row.rationale is not None
    decision = DECISIONS[row.label]
    if isinstance(tokenizer, Speech):
        plan = "" if row.case.published else plan_text(*plan_of(row.rationale, row.case))
        return (*continuation(f"{decision}{plan}{_plain_text(row.rationale, row.case)}", tokenizer), tokenizer.end)
    return continuation(f"{decision}{reasons_text(row.rationale, row.case)}{tokenizer.eos_token}", tokenizer)


def _plain_text(rationale: Rationale, case: Case) -> str:
    why, taste = (_uncited(text, case) if case.published else text for text in (rationale.why, rationale.taste))
    return f"{WHY} {clean(why)}{TASTE} {clean(taste)}"


def _uncited(text: str, case: Case) -> str:
    """`text` without citations, which name nothing in a published prompt; a title stands in where none is said."""
    titles = {fact.id: f'"{fact.values["title"]}"' for fact in case.evidence.facts if "title" in fact.values}

    def instead(match: re.Match[str]) -> str:
        title = titles.get(match["id"], "")
        return "" if text[: match.start()].rstrip().endswith(title) else f"{match['space']}{title}"

    return re.sub(rf"(?P<space>\s*){CITATION.pattern}", instead, text)


def continuation(text: str, tokenizer: Tokenizer | Speech) -> tuple[int, ...]:
    """Token ids of `text`, which begins with a decision, after "Prediction:".

    Raises StudentError where the two would melt into one token.
    """
    if isinstance(tokenizer, Speech):
        label = text.startswith(DECISIONS[True])
        rest = text.removeprefix(DECISIONS[label])
        return (tokenizer.decisions[label], *(tokenizer.after(tokenizer.said(label), rest) if rest else ()))
    before, whole = tokenizer.encode(CUE), tokenizer.encode(CUE + text)
    if whole[: len(before)] != before:
        raise StudentError(f"the tokenizer joins {CUE!r} and {text[:20]!r}, so a prompt cannot end there")
    return tuple(whole[len(before) :])


def decision_ids(tokenizer: Tokenizer | Speech) -> tuple[int, int]:
    """Token ids of " No" and " Yes" after "Prediction:".

    Raises:
        StudentError: either is not one token there, changes with what follows, or both are the same token.
    """
    if isinstance(tokenizer, Speech):
        return tokenizer.decisions
    no, yes = (continuation(word, tokenizer) for word in DECISIONS)
    for word, ids in zip(DECISIONS, (no, yes), strict=True):
        if len(ids) != 1 or continuation(word + PLAN, tokenizer)[:1] != ids:
            raise StudentError(
                f"the tokenizer writes {word!r} after {CUE!r} as {len(ids)} tokens, or differently before text",
                hint="A base is needed whose tokenizer has one token for each decision.",
            )
    if no == yes:
        raise StudentError("the tokenizer has the same token for Yes and No")
    return no[0], yes[0]


def row_text(row: TrainingRow) -> str:
    """The full text of a training row, nothing shortened: what a tokenizer is trained on."""
    return "".join(row_parts(row))


def row_parts(row: TrainingRow) -> tuple[str, str]:
    """(prompt, completion) of a training row as text, nothing shortened."""
    text = reasons_text(row.rationale, row.case) if row.rationale else ""
    return Sheet.of(row.case).render(), f"{DECISIONS[row.label]}{text}"


def reasons_text(rationale: Rationale, case: Case) -> str:
    """What follows the decision, in short form (plain where published), without the end token."""
    if case.published:
        return _plain_text(rationale, case)
    short = Shorthand.of(case)
    why, taste = (short.compact(clean(part)) for part in (rationale.why, rationale.taste))
    return f"{plan_text(*plan_of(rationale, case))}{WHY} {why}{TASTE} {taste}"


class CitationPlan(NamedTuple):
    """Ids to cite in order, and the one to concede at the end ("" = none)."""

    reasons: tuple[str, ...]
    conceded: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (*self.reasons, *filter(None, [self.conceded]))

    def kinds(self, case: Case) -> tuple[str, ...]:
        """The kind of each (see `phrasing.kinds`)."""
        named = {fact.id: str(fact.values["with"]) for fact in case.evidence.facts if "with" in fact.values}
        return kinds(self.ids, self.conceded, named)


def plan_of(rationale: Rationale, case: Case) -> CitationPlan:
    """What a rationale cites; the last is conceded where it speaks against the label."""
    cited = rationale.citations
    against = {fact.id for fact in case.evidence.facts if fact.weight and (fact.weight < 0) is rationale.label}
    named = {str(fact.values["with"]) for fact in case.evidence.facts if "with" in fact.values}
    if len(cited) > 1 and cited[-1] in against - named:
        return CitationPlan(cited[:-1], cited[-1])
    return CitationPlan(cited)


def wording(row: TrainingRow, tokenizer: Tokenizer) -> Wording:
    """A row's rationale as `Phrasing` learns it."""
    assert row.rationale is not None
    planned = plan_of(row.rationale, row.case)
    opening = continuation(DECISIONS[row.label] + plan_text(*planned) + WHY, tokenizer)
    whole = continuation(
        f"{DECISIONS[row.label]}{reasons_text(row.rationale, row.case)}{tokenizer.eos_token}", tokenizer
    )
    return Wording(row.label, planned.kinds(row.case), whole[len(opening) :])


def plan_text(reasons: Sequence[str], conceded: str = "") -> str:
    """What a text will cite, said before it, so that the words for a line can be chosen before its id comes."""
    return PLAN + "".join(f" [{id_}]" for id_ in reasons) + (f" but [{conceded}]" if conceded else "")


def parse_reasons(text: str, case: Case | None) -> tuple[str, str] | None:
    """The why and the taste, in full, of a text as `reasons_text` writes it; None for any other text.

    `case` is whose short form the text is in; None = it is plain.
    """
    if not text.startswith(WHY) or text.count(TASTE) != 1:
        return None
    parts = text.removeprefix(WHY).split(TASTE)
    try:
        why, taste = (clean(Shorthand.of(case).expand(part) if case else part) for part in parts)
    except StudentError:
        return None
    return (why, taste) if why else None
