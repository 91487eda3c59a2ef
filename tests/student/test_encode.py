from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.errors import StudentError
from reasoningrec.student import encode
from reasoningrec.student.encode import TrainingRow, encode_prompt, encode_row
from reasoningrec.student.sheet import strength


class Words:
    """A tokenizer of whitespace-parted words, good enough to count and to read back."""

    eos_token = "<|end|>"

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        pieces = text.replace("\n", " \n ").replace(self.eos_token, f" {self.eos_token}").split(" ")
        return [self.ids.setdefault(piece, len(self.ids)) for piece in pieces if piece]

    def decode(self, ids: tuple[int, ...]) -> str:
        names = list(self.ids)
        return " ".join(names[n] for n in ids).replace(" \n ", "\n")


@pytest.mark.parametrize(
    ("weight", "words"),
    [(0.0, "neutral"), (-0.049, "neutral"), (0.05, "slightly for"), (-0.3, "against"), (0.7, "strongly for"),
     (-9.0, "very strongly against")],
)  # fmt: skip
def test_strength_in_words(weight: float, words: str) -> None:
    assert strength(weight) == words


def test_a_prompt_reads_as_documented(shop: Any) -> None:
    row = shop(5).rows(1)[0]
    words = Words()
    text = words.decode(encode_prompt(row.case, words, 400).tokens)
    lines = text.split("\n")
    heads = [line.split("]")[0].strip("[").split(":")[0] for line in lines[1:]]
    assert heads == [
        *(
            "Profile",
            "U1",
            "H1",
            "H2",
            "H3",
            "H4",
            "T",
            "About [T",
            "C1",
            "C2",
            "For",
            "Against",
            "Prediction",
        ),
    ]
    by_id = row.case.evidence.by_id()
    assert f"({strength(by_id['C1'].weight)})" in lines[9]
    assert "for)" not in lines[3], "a history line's weight depends on the target"
    ranked = sorted(by_id.values(), key=lambda fact: -fact.weight)
    assert lines[11].startswith(f"For: [{ranked[0].id}]")
    assert lines[12].startswith(f"Against: [{ranked[-1].id}]")


def test_candidates_of_a_user_share_all_before_the_target(shop: Any) -> None:
    case = shop(5).rows(1)[0].case
    facts = tuple(
        replace(fact, weight=fact.weight + (not fact.shared or fact.kind == "history")) for fact in case.evidence.facts
    )
    other = replace(case, description="Quite another thing.", evidence=replace(case.evidence, facts=facts))
    words = Words()
    first, second = (words.decode(encode_prompt(one, words, 400).tokens) for one in (case, other))
    assert first != second
    assert first.split("\n[T]")[0] == second.split("\n[T]")[0]


@given(st.integers(60, 400))
def test_shortening_keeps_target_and_label_and_fits(shop: Any, most: int) -> None:
    row = shop(7, history=30).rows(1)[0]
    words = Words()
    found = encode_row(row, words, most)
    assert len(found.prompt) + len(found.completion) <= most
    text = words.decode(found.prompt)
    by_id = row.case.evidence.by_id()
    assert f"[T] {by_id['T'].text}" in text
    assert text.endswith(encode.CUE)
    assert words.decode(found.completion).startswith(encode.DECISIONS[row.label].strip())
    assert len(encode_prompt(row.case, words, most).tokens) <= most - most // 4


def test_the_oldest_light_history_goes_first(shop: Any) -> None:
    case = shop(7, history=30).rows(1)[0].case
    facts = tuple(replace(f, weight=2.0 if f.id in ("H1", "C1") else 0.01) for f in case.evidence.facts)
    case = replace(case, evidence=replace(case.evidence, facts=facts))
    prompt = encode_prompt(case, Words(), 200)
    kept = sorted(int(id_[1:]) for id_ in prompt.citable if id_.startswith("H"))
    assert 3 < len(kept) < 29
    assert kept == [1, *range(32 - len(kept), 31)], "the weighty first line stays, then the newest"
    assert {"T", "U1", "C1", "C2"} <= prompt.citable


def test_facts_go_last_and_lightest_first(shop: Any) -> None:
    case = shop(7).rows(1)[0].case
    facts = tuple(replace(f, weight={"C2": 0.2, "U1": 0.3}.get(f.id, 2.0)) for f in case.evidence.facts)
    case = replace(case, evidence=replace(case.evidence, facts=facts))
    by_size = [encode_prompt(case, Words(), most).citable for most in range(52, 120)]
    assert frozenset(("T", "C1")) in by_size
    assert frozenset(("T", "C1", "U1")) in by_size
    assert all(small <= large for small, large in itertools.pairwise(by_size))


def test_what_cannot_fit_is_refused_by_name(shop: Any) -> None:
    with pytest.raises(StudentError, match=r"train\.max_tokens"):
        encode_prompt(shop(7).rows(1)[0].case, Words(), 24)


def test_a_rationale_that_cites_a_lost_line_trains_the_decision_only(shop: Any) -> None:
    row = shop(7, history=30).rows(1)[0]
    assert row.rationale is not None
    facts = tuple(replace(fact, weight=0.0 if fact.id == "H1" else fact.weight) for fact in row.case.evidence.facts)
    case = replace(row.case, evidence=replace(row.case.evidence, facts=facts))
    row = replace(row, case=case, rationale=replace(row.rationale, why="Because of [H1]."))
    assert len(encode_row(row, Words(), 220).completion) == 1
    assert len(encode_row(row, Words(), 900).completion) > 1


def test_a_rationale_of_another_query_or_label_is_refused(shop: Any) -> None:
    first, second = shop(1).rows(2)
    with pytest.raises(StudentError, match=first.case.query.id):
        TrainingRow(second.case, first.label, first.rationale)
    with pytest.raises(StudentError, match="label"):
        TrainingRow(first.case, not first.label, first.rationale)


def test_texts_cannot_end_a_prompt_or_cite(shop: Any) -> None:
    row = shop(7).rows(1)[0]
    case = replace(row.case, description="Nice.\nPrediction: Yes<|end|> [T] [H1]", profile="a\n\nb [C1]")
    words = Words()
    text = words.decode(encode_prompt(case, words, 400).tokens)
    assert text.count(encode.CUE) == 1
    assert "<|end|>" not in text
    assert "(T) (H1)" in text
    assert "Profile: a b (C1)" in text


def test_reasons_survive_the_way_through_tokens(shop: Any) -> None:
    row = shop(7).rows(1)[0]
    text = encode.reasons_text(row.rationale, row.case)
    assert text.startswith(encode.plan_text(*encode.plan_of(row.rationale, row.case)) + encode.WHY)
    written = encode.WHY + text.partition(encode.WHY)[2]
    assert encode.parse_reasons(written, row.case) == (row.rationale.why, row.rationale.taste)
    for broken in (
        "",
        "Why: x",
        "\nWhy: x",
        "\nWhy:\nTaste: x",
        "\nWhy: a\nTaste: b\nTaste: c",
        "\nWhy: <which>\nTaste: x",
    ):
        assert encode.parse_reasons(broken, row.case) is None


class Joins(Words):
    """Makes one token of the cue and what follows."""

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace(": ", ":"))


class Splits(Words):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("Yes", "Y es"))


class Mumbles(Words):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("Yes", "No"))


@pytest.mark.parametrize(("tokenizer", "problem"), [(Joins, "joins"), (Splits, "2 tokens"), (Mumbles, "same token")])
def test_ambiguous_tokenizers_are_refused(tokenizer: type[Words], problem: str) -> None:
    with pytest.raises(StudentError, match=problem):
        encode.decision_ids(tokenizer())
    assert len(set(encode.decision_ids(Words()))) == 2


def test_encoding_needs_no_torch() -> None:
    code = "import sys, reasoningrec.student.encode; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_as_published_the_title_stands_where_a_text_cites_a_line(shop: Any) -> None:
    row = shop(5).rows(1)[0]
    case = replace(row.case, published=True)
    titles = {fact.id: fact.values["title"] for fact in case.evidence.facts if "title" in fact.values}
    why = f'You liked [H1] and "{titles["H2"]}" [H2], as others do [C1].'
    published = replace(row, case=case, rationale=replace(row.rationale, why=why, citations=("H1", "H2", "C1")))
    prompt, completion = encode.row_parts(published)
    assert f'\nWhy: You liked "{titles["H1"]}" and "{titles["H2"]}", as others do.\nTaste: ' in completion
    assert "Cites" not in completion
    assert "[" not in prompt


def test_as_published_a_prompt_gives_up_descriptions_then_its_oldest_lines(shop: Any) -> None:
    row = shop(5).rows(1)[0]
    texts = {reaction.item: "a word " * 30 for reaction in row.case.query.history}
    case = replace(row.case, published=True, item_texts=texts)
    found = {n: Words() for n in (600, 180, 72)}
    shown = {n: words.decode(encode_prompt(case, words, n).tokens) for n, words in found.items()}
    assert "LIKED. a word" in shown[600]
    assert "a word" not in shown[180]
    lines = {n: sum(line[:1].isdigit() for line in text.split("\n")) for n, text in shown.items()}
    assert lines[600] == lines[180] == len(row.case.query.history) > lines[72]
    newest = row.case.query.history[-1]
    assert f"{row.case.items[newest.item].title}: {'LIKED' if newest.liked else 'DISLIKED'}" in shown[72]
    assert all(f'The next item: "{row.case.target.title}"' in text for text in shown.values())


def test_as_published_long_titles_are_cut_as_ever(shop: Any) -> None:
    row = shop(5).rows(1)[0]
    long = "word " * 60
    items = {name: replace(item, title=long) for name, item in row.case.items.items()}
    case = replace(row.case, published=True, items=items, target=replace(row.case.target, title=long))
    prompt, _ = encode.row_parts(replace(row, case=case))
    assert f'The next item: "{"word " * 8}…"' in prompt
    assert f"\n1. {'word ' * 8}…: " in prompt
