"""Explanations: batched decoding after a decision that is already made.

The decision (of the fused model, which may differ from the student's own) and "Why:" are forced; from there the
likeliest token is taken. Only ids whose line stands in the prompt can be cited, no more than `max_reasons` of them, and
first one that does not speak against the decision. A value can be written only where a citable fact has it.
"""

# Names end in their axes: B rows, T tokens so far, V vocabulary, H hidden, K keys in the cache.
# ruff: noqa: N803, N806

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache

from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import (
    CITATIONS,
    DECISIONS,
    WHY,
    Prompt,
    continuation,
    encode_prompt,
    parse_reasons,
)
from reasoningrec.student.score import Done, batches, pad
from reasoningrec.student.shorthand import AHEAD, BAD, BEHIND, CITATION, GOOD, SLOTS, Shorthand

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
    citations: tuple[str, ...]
    """Ids cited in `why`, in order, each once."""
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
    tokenizer = student.tokenizer
    prompts = [encode_prompt(case, tokenizer, student.config.max_tokens) for case in cases]
    opened = [
        prompt.tokens + continuation(DECISIONS[decision] + WHY, tokenizer)
        for prompt, decision in zip(prompts, decisions, strict=True)
    ]
    vocabulary = _Vocabulary.of(tokenizer)
    found: dict[int, list[int]] = {}
    for batch in batches([len(tokens) for tokens in opened], limits.batch_tokens):
        texts = [_Text(prompts[n], cases[n], decisions[n], limits.max_reasons) for n in batch]
        rules = _Rules(vocabulary, texts, student.model.device)
        seeds = [f"{cases[n].query.id}/{attempt}" for n in batch]
        choice = _Choice(limits.temperature, seeds)
        written = _decode(student.model, [opened[n] for n in batch], rules, choice, limits.max_new_tokens)
        found.update(zip(batch, written, strict=True))
        if progress:
            progress(len(found), len(cases))
    return [
        _draft(case, decision, found[n], student)
        for n, (case, decision) in enumerate(zip(cases, decisions, strict=True))
    ]


def _draft(case: Case, decision: bool, tokens: list[int], student: Student) -> Draft:
    end = student.tokenizer.eos_token_id
    raw = WHY + str(student.tokenizer.decode([token for token in tokens if token != end]))
    found = parse_reasons(raw, case) if tokens[-1:] == [end] else None
    why, taste = found or ("", "")
    return Draft(case.query.id, decision, why, taste, tuple(dict.fromkeys(CITATION.findall(why))), raw)


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
    """What one text may cite and fill in next."""

    def __init__(self, prompt: Prompt, case: Case, decision: bool, max_reasons: int) -> None:
        self.short, self.max_reasons = Shorthand.of(case), max_reasons
        self.citable = prompt.citable
        side = 1 if decision else -1
        self.against = {fact.id for fact in case.evidence.facts if side * fact.weight < 0}
        named = {str(fact.values["with"]) for fact in case.evidence.facts if "with" in fact.values} & self.against
        self.openers = (prompt.citable - self.against) or prompt.citable
        if self.openers.isdisjoint(self.against):  # an item that a line names is no reason of its own
            self.against -= named
            self.openers |= named & prompt.citable
        self.used: list[str] = []
        self.pending: set[str] = set()
        """Slots written since the fact was last cited that they will be filled from."""

    def may_cite(self, id_: str) -> bool:
        """Whether `id_` stands in the prompt, can fill what is pending, and is neither cited yet nor a reason too many.

        The first citation must not speak against the decision where there is another; of the rest, one may.
        """
        known = id_ in (self.citable if self.used else self.openers)
        left = self.max_reasons - len(self.used) - 1
        bears = self.short.bears(id_)
        fills = self.pending <= bears or (not bears and left > 0)
        conceded = not self.openers & self.against and self.against.intersection(self.used)
        return known and id_ not in self.used and fills and left >= 0 and not (conceded and id_ in self.against)

    def may_fill(self, slot: str) -> bool:
        """Whether a value for `slot` is there, or will be with some citation that is still allowed."""
        if slot in NAMES:
            return slot in self.short.names
        key = slot.lower()
        if key == BEHIND:
            return bool(self.used) and BEHIND in self.short.values.get(self.used[-1], ())
        wanted = self.pending | {key}
        return any(wanted <= self.short.bears(id_) and self.may_cite(id_) for id_ in self.citable)

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
        return logits_BV

    def note(self, row: int, token: int) -> None:
        """Row `row` has written `token`."""
        text = self.texts[row]
        if token in self.vocabulary.cites:
            text.note_citation(self.vocabulary.cites[token])
        elif token in self.vocabulary.slots:
            text.note_slot(self.vocabulary.slots[token])
        else:
            return
        self.allowed_BN[row] = self._allowed(text).to(self.allowed_BN.device)


class _Choice:
    """The next token of each row: the likeliest, or drawn by the Gumbel-max trick from the row's own generator."""

    def __init__(self, temperature: float, seeds: Sequence[str]) -> None:
        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(_seed(seed)) for seed in seeds]

    def __call__(self, logits_BV: torch.Tensor, alive: Sequence[int]) -> torch.Tensor:
        if not self._temperature:
            return logits_BV.argmax(-1)
        width = logits_BV.shape[1]
        noise_BV = torch.stack([torch.rand(width, generator=self._generators[row]) for row in alive])
        gumbel_BV = -torch.log(-torch.log(noise_BV.clamp(1e-9, 1 - 1e-7)))
        return (logits_BV.float() / self._temperature + gumbel_BV.to(logits_BV.device)).argmax(-1)


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@torch.inference_mode()
def _decode(model: Any, prompts: list[tuple[int, ...]], rules: _Rules, choose: _Choice, most: int) -> list[list[int]]:
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
