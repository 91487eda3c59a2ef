from __future__ import annotations

from typing import Any

import pytest
import torch

from reasoningrec.records import Case, Evidence, Fact, Item, Query
from reasoningrec.student import write as module
from reasoningrec.student.encode import CitationPlan, Prompt, encode_prompt
from reasoningrec.student.shorthand import CITATION
from reasoningrec.student.train import TrainingResult
from reasoningrec.student.write import Draft, WriteLimits, write


@pytest.fixture(scope="module")
def drafts(trained: TrainingResult, shop: Any) -> list[tuple[Any, Draft]]:
    rows = shop(4).rows(40)
    limits = WriteLimits(max_new_tokens=90, batch_tokens=4096)
    return list(zip(rows, write(trained.student, [r.case for r in rows], [r.label for r in rows], limits), strict=True))


def test_a_trained_student_writes_in_the_asked_form(drafts: list[tuple[Any, Draft]]) -> None:
    whole = [draft for _, draft in drafts if draft.why and draft.taste]
    assert len(whole) >= 36
    assert all(draft.query_id == row.case.query.id for row, draft in drafts)


def test_every_citation_stands_in_the_prompt(drafts: list[tuple[Any, Draft]], trained: TrainingResult) -> None:
    for row, draft in drafts:
        prompt = encode_prompt(row.case, trained.student.tokenizer, trained.student.config.max_tokens)
        assert set(CITATION.findall(draft.raw)) <= prompt.citable
    assert sum(CITATION.search(draft.why) is not None for _, draft in drafts) >= 36


def test_titles_come_back(drafts: list[tuple[Any, Draft]]) -> None:
    shown = 0
    for row, draft in drafts:
        by_id = row.case.evidence.by_id()
        for id_ in CITATION.findall(draft.why):
            if "title" in by_id[id_].values:
                assert f'"{by_id[id_].values["title"]}" [{id_}]' in draft.why
                shown += 1
    assert shown


def test_the_text_follows_the_decision(trained: TrainingResult, shop: Any) -> None:
    cases = [row.case for row in shop(4).rows(20)]
    limits = WriteLimits(max_new_tokens=110, batch_tokens=4096)
    yes, no = (write(trained.student, cases, [decision] * len(cases), limits) for decision in (True, False))
    assert all(draft.decision for draft in yes)
    for drafts, words in ((yes, "they will enjoy it"), (no, "they will not enjoy it")):
        written = [draft for draft in drafts if draft.why]
        assert len(written) >= 15
        assert all(words in draft.why for draft in written)


def reference(student: Any, tokens: list[int], count: int) -> list[int]:
    """Greedy decoding the slow way: the whole text anew for each token."""
    found: list[int] = []
    for _ in range(count):
        logits = student.model(torch.tensor([[*tokens, *found]])).logits[0, -1]
        found.append(int(logits.argmax()))
        if found[-1] == student.tokenizer.eos_token_id:
            break
    return found


def test_cached_decoding_is_plain_decoding(trained: TrainingResult) -> None:
    prompts = [tuple(range(20, 20 + n)) for n in (3, 17, 9, 30)]

    class Free:
        vocabulary = type("V", (), {"end": trained.student.tokenizer.eos_token_id})

        def apply(self, logits: torch.Tensor, alive: Any) -> torch.Tensor:
            return logits

        def note(self, row: int, token: int) -> None:
            pass

    likeliest = module.Choice(0.0, [""] * len(prompts))
    found = module._decode(trained.student.model, prompts, Free(), likeliest, 25)  # type: ignore[arg-type]
    assert found == [reference(trained.student, list(prompt), 25) for prompt in prompts]


def test_finished_rows_change_nothing_for_the_others(
    trained: TrainingResult, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [row.case for row in shop(6).rows(12)]
    decisions = [n % 2 == 0 for n in range(12)]
    limits = WriteLimits(max_new_tokens=90)
    found = write(trained.student, cases, decisions, limits)
    for thin in (0.0, 2.0):
        monkeypatch.setattr(module, "THIN", thin)
        assert write(trained.student, cases, decisions, limits) == found
    assert len({len(draft.raw) for draft in found}) > 1


def test_no_more_than_the_allowed_reasons(trained: TrainingResult, shop: Any) -> None:
    rows = shop(4).rows(12)
    drafts = write(trained.student, [r.case for r in rows], [r.label for r in rows], WriteLimits(90, 4096, 1))
    assert max(len(set(CITATION.findall(draft.raw))) for draft in drafts) == 1


def test_an_unlikely_world_cannot_make_it_cite_what_is_not_there(trained: TrainingResult, shop: Any) -> None:
    """All weight on citations, slots and brackets: the rules alone must hold."""
    student, rows = trained.student, shop(4).rows(12)
    vocabulary = module._Vocabulary.of(student.tokenizer)
    prompts = [encode_prompt(row.case, student.tokenizer, 384) for row in rows]
    plans = [module._plan(row.case, p, row.label, 2) for p, row in zip(prompts, rows, strict=True)]
    texts = [module._Text(row.case, row.label, one, None) for one, row in zip(plans, rows, strict=True)]
    rules = module._Rules(vocabulary, texts, torch.device("cpu"))
    luck = torch.Generator().manual_seed(0)
    written: list[list[int]] = [[] for _ in rows]
    for _ in range(30):
        logits = torch.randn((12, len(student.tokenizer)), generator=luck)
        logits[:, [*vocabulary.cites, *vocabulary.slots]] += 4.0
        logits[:, vocabulary.barred] += 99.0
        for row, token in enumerate(rules.apply(logits, list(range(12))).argmax(-1).tolist()):
            assert token not in vocabulary.barred
            rules.note(row, token)
            written[row].append(token)
    for prompt, one, row, tokens in zip(prompts, plans, rows, written, strict=True):
        ids = [vocabulary.cites[token] for token in tokens if token in vocabulary.cites]
        assert 1 <= len(ids) <= 2
        assert tuple(ids) == one.ids[: len(ids)], "only what is planned, in its order"
        assert set(ids) <= prompt.citable
        first = row.case.evidence.by_id()[ids[0]]
        assert first.weight * (1 if row.label else -1) >= 0, "the first reason speaks for the decision"
    assert "[" in {student.tokenizer.decode([token]) for token in vocabulary.barred}


def text_of(*facts: Fact, plan: tuple[str, ...]) -> Any:
    history = [Fact(f"H{n}", "history", "text", 0.1, {"title": "Mug", "liked": True}, True) for n in (1, 2)]
    case = Case(Query("q", "u", "i", 0, ()), Item("i", "T"), {}, Evidence("q", (*history, *facts), {}))
    return module._Text(case, True, CitationPlan(plan), None)


def test_a_value_can_be_written_only_where_the_next_line_will_fill_it() -> None:
    brand = Fact("U3", "b", "", 0.5, {"n": 9, "which": "Acme"})
    text = text_of(brand, Fact("C1", "c", "", 0.4, {"n": 9, "usual": 50}), plan=("H1", "U3", "C1"))
    slots = ("n", "which", "Which", "usual", "liked", "shared", "good1")
    assert [slot for slot in slots if text.may_fill(slot)] == ["n", "which", "Which"]
    text.note_slot("n")
    assert text.may_cite("H1"), "it takes no slot"
    assert not text.may_cite("U3"), "it is not its turn"
    text.note_citation("H1")
    assert text.may_cite("U3")
    text.note_citation("U3")
    assert [slot for slot in slots if text.may_fill(slot)] == ["n", "usual"]
    text.note_slot("usual")
    assert text.may_cite("C1")
    text.note_citation("C1")
    assert not text.may_fill("n"), "no citation is left to fill it"


def test_a_line_without_a_pending_value_cannot_be_cited() -> None:
    text = text_of(Fact("U3", "b", "", 0.5, {"n": 9}), Fact("C1", "c", "", 0.4, {"usual": 5}), plan=("C1", "U3"))
    text.pending.add("n")
    assert not text.may_cite("C1")


def test_the_plan_takes_the_strongest_and_concedes_at_most_one() -> None:
    facts = (Fact("C1", "c", "", -0.5), Fact("U1", "d", "", 0.9), Fact("U3", "e", "", 0.7), Fact("U4", "f", "", -0.4))
    case = Case(Query("q", "u", "i", 0, ()), Item("i", "T"), {}, Evidence("q", facts, {}))
    prompt = Prompt("q", (), frozenset(("C1", "U1", "U3", "U4")))
    assert module._plan(case, prompt, True, 3) == CitationPlan(("U1", "U3"), "C1")
    assert module._plan(case, prompt, False, 2) == CitationPlan(("C1", "U4"))
    assert module._plan(case, Prompt("q", (), frozenset(("U3",))), True, 3) == CitationPlan(("U3",))
    assert module._plan(case, Prompt("q", (), frozenset(("U3",))), False, 3) == CitationPlan(("U3",))


def test_drawn_texts_depend_on_query_and_attempt_alone(trained: TrainingResult, shop: Any) -> None:
    rows = shop(4).rows(8)
    cases, labels = [row.case for row in rows], [row.label for row in rows]
    limits = WriteLimits(60, 4096, 3, temperature=1.0)
    first, again, other = (write(trained.student, cases, labels, limits, attempt) for attempt in (0, 0, 1))
    assert first == again
    assert first != other
    assert write(trained.student, cases[::-1], labels[::-1], limits)[::-1] == first


def test_a_text_cut_short_is_kept_raw_only(trained: TrainingResult, shop: Any) -> None:
    row = shop(4).rows(1)[0]
    (draft,) = write(trained.student, [row.case], [row.label], WriteLimits(max_new_tokens=4))
    assert (draft.why, draft.taste) == ("", "")
    assert draft.raw.startswith("\nWhy:")
    assert len(draft.raw) > len("\nWhy:")


def test_nothing_asked_nothing_written(trained: TrainingResult) -> None:
    assert write(trained.student, [], [], WriteLimits()) == []


def test_decisions_must_match_cases(trained: TrainingResult, shop: Any) -> None:
    with pytest.raises(ValueError, match="zip"):
        write(trained.student, [shop(1).rows(1)[0].case], [], WriteLimits())
