"""Explanations: batched decoding after a decision that is already made.

The decision (of the fused model, which may differ from the student's own), the lines to cite and "Why:" are forced;
what is cited are the lines that weigh most for the decision, strongest first, so a text rests on what decided. From
there the student writes. Only the next id of the plan can be cited, and nano can write a value only where that line has
it; what else holds for other bases stands in `cites` and `speak`.
"""

# Names end in their axes: B rows, T tokens so far, V vocabulary, H hidden, K keys in the cache.
# ruff: noqa: N803, N806

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache

from reasoningrec.llm.offline import Plan, plan
from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import (
    CITATIONS,
    CitationPlan,
    Prompt,
    continuation,
    encode_prompt,
    parse_reasons,
    plan_text,
)
from reasoningrec.student.form import DECISIONS, WHY
from reasoningrec.student.phrasing import Phrasing
from reasoningrec.student.score import Done, batches, pad
from reasoningrec.student.shorthand import AHEAD, BAD, BEHIND, GOOD, SLOTS, Shorthand
from reasoningrec.student.speak import Manners, Masks, Wanted, steps, write_on
from reasoningrec.student.speech import Speech

BARRED: Final = float("-inf")
NAMES: Final = frozenset((*GOOD, *BAD))
THIN: Final = 0.75
"""A batch drops its finished rows when fewer than this share of it is still being written."""


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """How much is written.

    Attributes:
        max_new_tokens: per text, after "Why:".
        batch_tokens: tokens of a batch's prompts, padding included.
        max_reasons: different citations in one text.
        temperature: 0 takes the likeliest token; above 0 draws, from a seed made of the query's id and `attempt` alone,
            so that the same query always gets the same text.
    """

    max_new_tokens: int = 160
    batch_tokens: int = 16384
    max_reasons: int = 3
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Draft:
    """What the student wrote on one query; `why` is empty where the text is not of the form that was asked for."""

    query_id: str
    decision: bool
    why: str
    taste: str
    raw: str
    """The text as decoded, from "Why:" on."""


def write(
    student: Student,
    cases: Sequence[Case],
    decisions: Sequence[bool],
    limits: WriteLimits,
    attempt: int = 0,
    progress: Done | None = None,
) -> list[Draft]:
    """A draft for each case that agrees with its decision, in the order of `cases`.

    The same cases in the same order give the same drafts; in other batches rounding may tip a near tie.

    Args:
        student: an opened student.
        cases: what may be shown of each query.
        decisions: whether each item will be liked, as decided.
        limits: lengths, the number of reasons, and how freely words are chosen.
        attempt: number of this try at the same cases; another number draws another text.
        progress: told how many drafts are written.

    Raises:
        StudentError: a prompt does not fit into `train.max_tokens`.
    """
    opened, plans = opened_texts(student, cases, decisions, limits)
    vocabulary = _vocabulary(student)
    found: dict[int, list[int]] = {}
    for batch in batches([len(tokens) for tokens in opened], limits.batch_tokens):
        chosen = [plans[n] for n in batch]
        choice = Choice(limits.temperature, [f"{cases[n].query.id}/{attempt}" for n in batch])
        prompts = [opened[n] for n in batch]
        if isinstance(vocabulary, Masks):
            manners = _manners(vocabulary, chosen)
            written = write_on(student.model, prompts, manners, choice, room_for(student, prompts, limits))
        else:
            phrasing = Phrasing(student.texts, vocabulary.cites) if student.texts else None
            texts = [_Text(cases[n], decisions[n], plans[n], phrasing) for n in batch]
            rules = _Rules(vocabulary, texts, student.model.device)
            written = _decode(student.model, prompts, rules, choice, limits.max_new_tokens)
        found.update(zip(batch, written, strict=True))
        if progress:
            progress(len(found), len(cases))
    return [
        _draft(case, decision, found[n], student)
        for n, (case, decision) in enumerate(zip(cases, decisions, strict=True))
    ]


def stream(
    student: Student, case: Case, decision: bool, limits: WriteLimits, attempt: int = 0
) -> Generator[str, None, Draft]:
    """Pieces of one text as they are written, all of them what follows "Why:" in `Draft.raw`; returns the draft.

    The draft is that of `write`. nano writes in short form, so its text comes in one piece. Raises as `write` does.
    """
    if not isinstance(student.tokenizer, Speech):
        (draft,) = write(student, [case], [decision], limits, attempt)
        yield draft.raw.removeprefix(WHY)
        return draft
    opened, plans = opened_texts(student, [case], [decision], limits)
    manners = _manners(masks_of(student), plans)
    choice = Choice(limits.temperature, [f"{case.query.id}/{attempt}"])
    tokens: list[int] = []
    shown = ""
    for _, token in steps(student.model, opened, manners, choice, room_for(student, opened, limits)):
        tokens.append(token)
        text = student.tokenizer.text([one for one in tokens if one != student.tokenizer.end])
        whole = text.rstrip("\ufffd")  # a sign of several bytes comes when it is whole
        if len(whole) > len(shown):
            yield whole[len(shown) :]
            shown = whole
    draft = _draft(case, decision, tokens, student)
    if rest := draft.raw.removeprefix(WHY)[len(shown) :]:
        yield rest
    return draft


def room_for(student: Student, prompts: Sequence[Sequence[int]], limits: WriteLimits) -> int:
    """Tokens that may be written after each of `prompts`: as many as allowed, and as the model has places for."""
    places = getattr(student.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    longest = max(map(len, prompts))
    return limits.max_new_tokens if places is None else max(0, min(limits.max_new_tokens, places - longest))


def opened_texts(
    student: Student, cases: Sequence[Case], decisions: Sequence[bool], limits: WriteLimits
) -> tuple[list[tuple[int, ...]], list[CitationPlan]]:
    """Each prompt with all that is forced, and what each text is to cite."""
    tokenizer = student.tokenizer
    prompts = [encode_prompt(case, tokenizer, student.config.max_tokens) for case in cases]
    plans = [
        _plan(case, prompt, decision, limits.max_reasons)
        for case, prompt, decision in zip(cases, prompts, decisions, strict=True)
    ]
    opened = [
        prompt.tokens + continuation(DECISIONS[decision] + plan_text(*plan) + WHY, tokenizer)
        for prompt, decision, plan in zip(prompts, decisions, plans, strict=True)
    ]
    return opened, plans


def masks_of(student: Student) -> Masks:
    """What a student that speaks (see `speech`) may write."""
    width = student.model.get_output_embeddings().weight.shape[0]
    return Masks(student.tokenizer.pieces, student.tokenizer.end, width)


def _vocabulary(student: Student) -> _Vocabulary | Masks:
    speaks = isinstance(student.tokenizer, Speech)
    return masks_of(student) if speaks else _Vocabulary.of(student.tokenizer)


def _manners(masks: Masks, plans: Sequence[CitationPlan]) -> Manners:
    def next_of(plan: CitationPlan) -> Wanted:
        return lambda cited: frozenset(plan.ids[len(cited) :][:1])

    return Manners(masks, [next_of(one) for one in plans], end_line=False)


def _plan(case: Case, prompt: Prompt, decision: bool, most: int) -> CitationPlan:
    """What the text cites: the lines of the prompt that weigh most for the decision, strongest first.

    Where none speaks for it, the line that speaks least against it.
    """
    shown = [fact for fact in case.evidence.facts if fact.id in prompt.citable]
    shown = [fact for fact in shown if "with" not in fact.values or fact.values["with"] in prompt.citable]
    chosen = plan(shown, decision, most)
    if not chosen.reasons:
        rest = [fact for fact in shown if fact.kind not in ("target", "history")] or shown
        return CitationPlan((min(rest, key=lambda fact: (abs(fact.weight), fact.id)).id,))
    return CitationPlan(Plan(chosen.reasons).ids, chosen.conceded.id if chosen.conceded else "")


def _draft(case: Case, decision: bool, tokens: list[int], student: Student) -> Draft:
    if isinstance(student.tokenizer, Speech):
        end = student.tokenizer.end
        raw = WHY + student.tokenizer.text([token for token in tokens if token != end])
    else:
        end = student.tokenizer.eos_token_id
        raw = WHY + str(student.tokenizer.decode([token for token in tokens if token != end]))
    return draft_of(case, decision, raw, student, whole=tokens[-1:] == [end])


def draft_of(case: Case, decision: bool, raw: str, student: Student, *, whole: bool) -> Draft:
    """What a text from "Why:" on says; `whole` = it came to its end."""
    short = None if isinstance(student.tokenizer, Speech) else case
    why, taste = (parse_reasons(raw, short) if whole else None) or ("", "")
    return Draft(case.query.id, decision, why, taste, raw)


@dataclass(frozen=True)
class _Vocabulary:
    """Which tokens cite or stand for a value, and which must not be written."""

    cites: dict[int, str]
    """Token id -> citation id."""
    slots: dict[int, str]
    """Token id -> slot without its brackets."""
    barred: list[int]
    """Tokens that hold "[" without being a citation: with them an id could be spelled out."""
    end: int

    @classmethod
    def of(cls, tokenizer: Any) -> _Vocabulary:
        cites = {tokenizer.convert_tokens_to_ids(f"[{id_}]"): id_ for id_ in CITATIONS}
        slots = {tokenizer.convert_tokens_to_ids(slot): slot[1:-1] for slot in SLOTS}
        pieces = enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
        barred = [token for token, piece in pieces if "[" in piece and token not in cites]
        return cls(cites, slots, barred, tokenizer.eos_token_id)


class _Text:
    """What one text may cite and fill in next: the lines of its plan in their order, and their values."""

    def __init__(self, case: Case, decision: bool, plan: CitationPlan, phrasing: Phrasing | None) -> None:
        self.short, self.plan, self.kinds = Shorthand.of(case), plan.ids, plan.kinds(case)
        self.decision, self.phrasing = decision, phrasing
        self.used: list[str] = []
        self.tokens: list[int] = []
        self.pending: set[str] = set()
        """Slots written since the last citation that they will be filled from."""

    def may_cite(self, id_: str) -> bool:
        """Whether `id_` comes next in the plan and can fill what is pending."""
        bears = self.short.bears(id_)
        return self.plan[len(self.used) :][:1] == (id_,) and (self.pending <= bears or not bears)

    def may_fill(self, slot: str) -> bool:
        """Whether a value for `slot` is there, or will be with the next citation that has values."""
        if slot in NAMES:
            return slot in self.short.names
        key = slot.lower()
        if key == BEHIND:
            return bool(self.used) and BEHIND in self.short.values.get(self.used[-1], ())
        coming = next(
            (self.short.bears(id_) for id_ in self.plan[len(self.used) :] if self.short.bears(id_)), frozenset()
        )
        return self.pending | {key} <= coming

    def attested(self) -> Iterator[frozenset[int]]:
        """Tokens that may come next by the wording of the texts the student learned from, the best attested first."""
        kind = self.kinds[len(self.used)] if len(self.used) < len(self.kinds) else ""
        return self.phrasing.after(self.decision, kind, self.tokens) if self.phrasing else iter(())

    def note_citation(self, id_: str) -> None:
        """`id_` has been cited."""
        self.used.append(id_)
        if self.short.bears(id_):
            self.pending.clear()

    def note_slot(self, slot: str) -> None:
        """`slot` has been written."""
        if slot.lower() in AHEAD:
            self.pending.add(slot.lower())


class _Rules:
    """What each row of a batch must not write next, as logits to add."""

    def __init__(self, vocabulary: _Vocabulary, texts: list[_Text], device: Any) -> None:
        self.vocabulary, self.texts = vocabulary, texts
        self.tokens = torch.tensor([*vocabulary.cites, *vocabulary.slots], device=device)
        self.allowed_BN = torch.stack([self._allowed(text) for text in texts]).to(device)

    def _allowed(self, text: _Text) -> torch.Tensor:
        cites = [text.may_cite(id_) for id_ in self.vocabulary.cites.values()]
        return torch.tensor([*cites, *(text.may_fill(slot) for slot in self.vocabulary.slots.values())])

    def apply(self, logits_BV: torch.Tensor, alive: Sequence[int]) -> torch.Tensor:
        """`logits_BV` of the rows `alive` with what they may not write barred, in place."""
        logits_BV[:, self.vocabulary.barred] = BARRED
        logits_BV[:, self.tokens] += torch.where(self.allowed_BN[alive], 0.0, BARRED)
        for place, row in enumerate(alive):
            if self.texts[row].phrasing:
                self._hold(logits_BV[place], self.texts[row])
        return logits_BV

    def _hold(self, logits_V: torch.Tensor, text: _Text) -> None:
        """Bar all but the best attested tokens that may be written; where there is none, the text ends here."""
        for attested in text.attested():
            index = sorted(attested)
            if index and not logits_V[index].isneginf().all():
                kept = logits_V[index]
                logits_V[:] = BARRED
                logits_V[index] = kept
                return
        logits_V[:] = BARRED
        logits_V[self.vocabulary.end] = 0.0

    def note(self, row: int, token: int) -> None:
        """Row `row` has written `token`."""
        text = self.texts[row]
        text.tokens.append(token)
        if token in self.vocabulary.cites:
            text.note_citation(self.vocabulary.cites[token])
        elif token in self.vocabulary.slots:
            text.note_slot(self.vocabulary.slots[token])
        else:
            return
        self.allowed_BN[row] = self._allowed(text).to(self.allowed_BN.device)


class Choice:
    """The next token of each row: the likeliest, or drawn by the Gumbel-max trick from the row's own generator."""

    def __init__(self, temperature: float, seeds: Sequence[str]) -> None:
        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(_seed(seed)) for seed in seeds]

    def __call__(self, logits_BV: torch.Tensor, alive: Sequence[int]) -> torch.Tensor:
        """The next token of each of the rows `alive`."""
        if not self._temperature:
            return logits_BV.argmax(-1)
        width = logits_BV.shape[1]
        noise_BV = torch.stack([torch.rand(width, generator=self._generators[row]) for row in alive])
        gumbel_BV = -torch.log(-torch.log(noise_BV.clamp(1e-9, 1 - 1e-7)))
        return (logits_BV.float() / self._temperature + gumbel_BV.to(logits_BV.device)).argmax(-1)


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@torch.inference_mode()
def _decode(model: Any, prompts: list[tuple[int, ...]], rules: _Rules, choose: Choice, most: int) -> list[list[int]]:
    """Tokens after each prompt, one at a time, up to and with the end token or `most`."""
    tokens_BT, lengths_B = pad(prompts, model.device)
    cache = DynamicCache()
    hidden_BTH = model.base_model(input_ids=tokens_BT, past_key_values=cache, use_cache=True).last_hidden_state
    last_BH = hidden_BTH[torch.arange(len(prompts), device=model.device), lengths_B - 1]
    # Keys of the padding stay in the cache, between prompt and text: this hides them.
    seen_BK = torch.arange(tokens_BT.shape[1], device=model.device) < lengths_B[:, None]
    texts: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for step in range(most):
        next_B = choose(rules.apply(model.get_output_embeddings()(last_BH), alive), alive)
        kept = []
        for place, (row, token) in enumerate(zip(alive, next_B.tolist(), strict=True)):
            ended = texts[row][-1:] == [rules.vocabulary.end]
            if not ended:
                texts[row].append(token)
                rules.note(row, token)
            if not ended and token != rules.vocabulary.end:
                kept.append(place)
        if not kept or step == most - 1:
            break
        if len(kept) < THIN * len(alive):
            index = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(index)
            alive = [alive[place] for place in kept]
            next_B, seen_BK, lengths_B = next_B[index], seen_BK[index], lengths_B[index]
        seen_BK = torch.nn.functional.pad(seen_BK, (0, 1), value=True)
        last_BH = model.base_model(
            input_ids=next_B[:, None],
            attention_mask=seen_BK[:, None, None, :],
            position_ids=(lengths_B + step)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    return texts
