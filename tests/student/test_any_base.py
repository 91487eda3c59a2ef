"""Every family of bases, with its own kind of tokenizer: trained, asked, stored, opened and taken elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import speakers
from reasoningrec.config import TrainConfig
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import DECISIONS, encode_prompt
from reasoningrec.student.export import Origin, export
from reasoningrec.student.form import PLAN, TASTE, WHY
from reasoningrec.student.score import score
from reasoningrec.student.shorthand import CITATION
from reasoningrec.student.train import TrainingResult, TrainingRun, train
from reasoningrec.student.write import WriteLimits, stream, write
from speakers import FURTHER, SPEAKERS

LIMITS = WriteLimits(max_new_tokens=120, batch_tokens=4096)
ORIGIN = Origin("made", "honest")


@dataclass(frozen=True)
class Grown:
    """A base and the student grown from it."""

    base: Path
    folder: Path
    result: TrainingResult
    losses: tuple[float, ...]
    """Of each step."""

    @property
    def student(self) -> Student:
        return self.result.student


def settings(name: str, base: Path, **changes: Any) -> TrainConfig:
    speaker = {**SPEAKERS, **FURTHER}[name]
    return TrainConfig(
        **{
            **{"base": str(base), "lora_targets": speaker.targets, "max_tokens": 640, "epochs": 5, "patience": 0},
            **{"batch_tokens": 2048, "learning_rate": 2e-2, "checkpoint_seconds": 1e9, **changes},
        }
    )


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory, shop: Any) -> Callable[[str], Grown]:
    """A student of each family, trained for some steps, once."""
    known: dict[str, Grown] = {}

    def make(name: str) -> Grown:
        if name not in known:
            root = tmp_path_factory.mktemp(name)
            base, seen = speakers.store(name, root / f"tiny-{name}"), []
            run = TrainingRun(root / "student", 5, 1, lambda step, total, figures: seen.append(figures["loss"]))
            result = train(shop(1).rows(30), shop(2).rows(10), settings(name, base), run)
            known[name] = Grown(base, root / "student", result, tuple(seen))
        return known[name]

    return make


every_family = pytest.mark.parametrize("name", SPEAKERS)
all_kinds = pytest.mark.parametrize("name", [*SPEAKERS, *FURTHER])


@all_kinds
def test_it_learns_and_nothing_but_the_adapter_changes(name: str, grown: Callable[[str], Grown]) -> None:
    one = grown(name)
    steps = len(one.losses)
    assert steps >= 10
    assert sum(one.losses[-4:]) < (0.95 if name in SPEAKERS else 1.0) * sum(one.losses[:4])
    before = load_file(one.base / "model.safetensors")
    moved = 0
    for key, weight in one.student.model.named_parameters():
        assert weight.requires_grad is (".lora_" in key)
        if ".lora_B" in key:
            moved += bool(weight.abs().max() > 0)
        elif ".lora_" not in key:
            assert torch.equal(weight, before[key.replace(".base_layer.", ".")]), key
    assert moved == len(SPEAKERS[name].targets if name in SPEAKERS else FURTHER[name].targets) * 2
    metrics = one.student.card.metrics
    assert metrics["trained_parameters"] == sum(w.numel() for w in one.student.model.parameters() if w.requires_grad)
    assert 0 < (metrics["trained_parameters"] or 0) < (metrics["parameters"] or 0) / 4


@all_kinds
def test_a_score_is_that_of_the_whole_model(name: str, grown: Callable[[str], Grown], shop: Any) -> None:
    student, cases = grown(name).student, [row.case for row in shop(4).rows(6)]
    found = score(student, cases, 4096)
    assert found == pytest.approx(score(student, cases, 1), abs=1e-5)
    assert len({round(p or 0, 4) for p in found}) > 3
    for case, p in zip(cases, found, strict=True):
        tokens = encode_prompt(case, student.tokenizer, student.config.max_tokens).tokens
        with torch.inference_mode():
            logits_V = student.model(torch.tensor([tokens])).logits[0, -1]
        no, yes = (logits_V[id_].item() for id_ in student.tokenizer.decisions)
        assert p == pytest.approx(1 / (1 + math.exp(no - yes)), abs=1e-5)


@all_kinds
def test_texts_keep_to_the_form_and_cite_what_is_planned(name: str, grown: Callable[[str], Grown], shop: Any) -> None:
    student, rows = grown(name).student, shop(4).rows(8)
    cases, labels = [row.case for row in rows], [row.label for row in rows]
    drafts = write(student, cases, labels, LIMITS)
    assert drafts == [write(student, [case], [label], LIMITS)[0] for case, label in zip(cases, labels, strict=True)]
    for draft, case in zip(drafts, cases, strict=True):
        shown = encode_prompt(case, student.tokenizer, student.config.max_tokens).citable
        ids = CITATION.findall(draft.raw)
        assert set(ids) <= shown
        assert len(set(ids)) == len(ids) <= LIMITS.max_reasons
        closed = draft.raw if draft.raw.count("[") == draft.raw.count("]") else draft.raw.rpartition("[")[0]
        assert closed.count("[") == closed.count("]") == len(ids), "nothing else stands in brackets"
        assert draft.raw.count("\n") <= 2
        if draft.why:
            assert TASTE in draft.raw
            assert CITATION.findall(draft.why) == ids


@every_family
def test_streamed_pieces_are_the_text(name: str, grown: Callable[[str], Grown], shop: Any) -> None:
    student, row = grown(name).student, shop(4).rows(1)[0]
    for limits in (LIMITS, WriteLimits(60, 4096, 3, temperature=1.0)):
        pieces = []
        writing = stream(student, row.case, row.label, limits)
        while True:
            try:
                pieces.append(next(writing))
            except StopIteration as stop:
                draft = stop.value
                break
        assert [draft] == write(student, [row.case], [row.label], limits)
        assert WHY + "".join(pieces) == draft.raw
        assert len(pieces) > 5
        assert all(pieces)


@all_kinds
def test_a_stored_student_comes_back_the_same(name: str, grown: Callable[[str], Grown], shop: Any) -> None:
    one = grown(name)
    back = Student.open(one.folder, str(one.base))
    cases = [row.case for row in shop(4).rows(4)]
    assert score(back, cases, 4096) == score(one.student, cases, 4096)
    assert write(back, cases, [True] * 4, LIMITS) == write(one.student, cases, [True] * 4, LIMITS)
    assert back.card == one.student.card
    assert not (one.folder / "model.safetensors").exists(), "frozen weights are not stored"
    assert {weight.dtype for weight in load_file(one.folder / "adapter_model.safetensors").values()} == {torch.float32}
    for file in one.folder.iterdir():
        assert str(one.base.parent).encode() not in file.read_bytes(), f"{file.name} holds a path of this machine"
    assert json.loads((one.folder / "card.json").read_text())["base"] == f"tiny-{name}"


@pytest.fixture
def plain() -> Callable[[Any, Student, Any], float]:
    """P(Yes) of a model of plain transformers, asked as its card says."""

    def ask(model: Any, student: Student, case: Any) -> float:
        tokens = encode_prompt(case, student.tokenizer, student.config.max_tokens).tokens
        with torch.inference_mode():
            logits_V = model(torch.tensor([tokens])).logits[0, -1].double()
        return float(torch.softmax(logits_V[list(student.tokenizer.decisions)], -1)[1])

    return ask


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # by peft itself
@all_kinds
def test_exports_answer_the_same_elsewhere(
    name: str, grown: Callable[[str], Grown], shop: Any, tmp_path: Path, plain: Any
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    one, cases = grown(name), [row.case for row in shop(4).rows(5)]
    wanted = score(one.student, cases, 4096)
    assert export(one.student, str(one.base), tmp_path / "adapter", ORIGIN, merge=False) == "adapter"
    assert export(one.student, str(one.base), tmp_path / "model", ORIGIN, merge=True) == "model"
    assert score(one.student, cases, 4096) == wanted, "exporting changes nothing"
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(one.base), tmp_path / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert not any("lora" in key for key in load_file(tmp_path / "model" / "model.safetensors"))
    for case, p in zip(cases, wanted, strict=True):
        assert plain(wrapped.eval(), one.student, case) == pytest.approx(p, abs=1e-5)
        assert plain(merged.eval(), one.student, case) == pytest.approx(p, abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == one.student.tokenizer.tokenizer.chat_template
    assert merged.generation_config.eos_token_id[0] == one.student.tokenizer.end
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert f"| base | tiny-{name} |" in card
    assert str(tmp_path) not in card


@every_family
def test_an_export_is_asked_as_its_card_says(name: str, grown: Callable[[str], Grown], shop: Any) -> None:
    """Text, rendered by the tokenizer's own means, gives the student's very tokens."""
    speech = grown(name).student.tokenizer
    text = 'Will this person like [T]?\n[H1] "Mug": liked\n[T] "Lamp"'
    if speech.chats:
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Prediction:"}]
        rendered = speech.tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True)
        tokens = speech.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    else:
        tokens = speech.tokenizer(f"{text}\nPrediction:")["input_ids"]
    found = list(speech.prompt(f"{text}\nPrediction:"))
    assert found[: len(tokens)] == tokens
    assert speech.tokenizer.decode(found[len(tokens) :]).strip() == ""


@all_kinds
def test_one_rendering_for_training_and_writing(name: str, shop: Any) -> None:
    """What is forced when a text is written is how training began, token by token."""
    from reasoningrec.student.encode import continuation, encode_row, plan_of, plan_text
    from reasoningrec.student.speech import Speech

    speech = Speech(speakers.tokenizer_of(name))
    for row in shop(3).rows(20):
        found = encode_row(row, speech, 900)
        assert row.rationale is not None
        plan = plan_text(*plan_of(row.rationale, row.case))
        forced = continuation(DECISIONS[row.label] + plan + WHY, speech)
        assert found.completion[: len(forced)] == forced
        assert found.completion[0] == speech.decisions[row.label]
        assert found.completion[-1] == speech.end
        said = speech.text(found.completion[len(forced) : -1])
        assert said == f" {row.rationale.why}{TASTE} {row.rationale.taste}"
        assert PLAN.strip() in speech.tokenizer.decode(found.completion)
