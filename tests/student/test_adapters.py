"""Training under an adapter or as a whole, what is stored of it, and everything that is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

import speakers
from reasoningrec.config import TrainConfig
from reasoningrec.errors import ConfigError, InputError, RunError, StudentError
from reasoningrec.student import bases, head, lora
from reasoningrec.student.bases import Student
from reasoningrec.student.deliberate import deliberate
from reasoningrec.student.encode import encode_prompt
from reasoningrec.student.export import Origin, export
from reasoningrec.student.form import CUE, TASTE, WHY
from reasoningrec.student.score import probabilities, score
from reasoningrec.student.shorthand import CITATION
from reasoningrec.student.speech import Speech
from reasoningrec.student.steps import balanced, plan
from reasoningrec.student.train import TrainingResult, TrainingRun, train
from reasoningrec.student.write import WriteLimits, write

LIMITS = WriteLimits(max_new_tokens=100, batch_tokens=4096)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speakers.store("qwen3", tmp_path_factory.mktemp("base") / "tiny-qwen3")


def settings(base: Path, **changes: Any) -> TrainConfig:
    known = {"base": str(base), "max_tokens": 640, "epochs": 2, "patience": 0, "batch_tokens": 2048}
    return TrainConfig(**{**known, "learning_rate": 1e-2, "checkpoint_seconds": 1e9, **changes})


Grow = Callable[..., TrainingResult]


@pytest.fixture
def grow(base: Path, shop: Any, tmp_path: Path) -> Grow:
    """Trains for a moment; `folder` and `progress` go to the run, all else to the configuration."""

    def make(rows: int = 14, folder: str = "student", progress: Any = None, **changes: Any) -> TrainingResult:
        config = settings(**{"base": base, **changes})
        return train(shop(1).rows(rows), shop(2).rows(6), config, TrainingRun(tmp_path / folder, 5, 1, progress))

    return make


@pytest.fixture(scope="module")
def stored(base: Path, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder, to be copied."""
    folder = tmp_path_factory.mktemp("stored") / "student"
    train(shop(1).rows(14), shop(2).rows(6), settings(base), TrainingRun(folder, 5, 1))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class StopError(Exception):
    """Stands for the power going out."""


@pytest.mark.parametrize("stops", [[1], [2, 5]])
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "batch_tokens": 1024, "lora_dropout": 0.3}], ids=str)
def test_a_stopped_training_ends_in_the_same_bytes(grow: Grow, tmp_path: Path, changes: Any, stops: list[int]) -> None:
    """Dropout and all: what is dropped depends on seed and step."""
    grow(folder="straight", **changes)
    for stop in [*stops, math.inf]:

        def progress(step: int, total: int, figures: Any, stop: float = stop) -> None:
            if step == stop:
                raise StopError

        try:
            grow(folder="stopped", progress=progress, **{**changes, "checkpoint_seconds": 0.0})
        except StopError:
            kept = list((tmp_path / "stopped").glob("checkpoint-*/tensors.safetensors"))
            assert all(".lora_" in name for file in kept for name in load_file(file)), "only what is trained"
    straight, stopped = contents(tmp_path / "straight"), contents(tmp_path / "stopped")
    cards = [json.loads(found.pop("card.json")) for found in (straight, stopped)]
    assert straight == stopped
    for card in cards:
        del card["train"]["checkpoint_seconds"]
    assert cards[0] == cards[1]


def test_dropout_is_on_in_training_only(grow: Grow, shop: Any) -> None:
    dropped, plain = grow(lora_dropout=0.5, folder="a"), grow(lora_dropout=0.0, folder="b")
    assert dropped.log[-1]["decision_loss"] != plain.log[-1]["decision_loss"]
    cases = [row.case for row in shop(4).rows(3)]
    assert score(dropped.student, cases, 4096) == score(dropped.student, cases, 4096)


def test_eight_parts_of_one_are_one_part_of_eight(grow: Grow, shop: Any, base: Path) -> None:
    """The same rows in the same steps, cut into parts or not, of texts of very different lengths."""
    rows = [dataclasses.replace(row, rationale=None) if n % 3 else row for n, row in enumerate(shop(1).rows(32))]
    speech = Speech(speakers.tokenizer_of("qwen3"))
    from reasoningrec.student.encode import encode_row

    tokens = [encode_row(row, speech, 640) for row in rows]
    longest = max(len(row.prompt) + len(row.completion) - 1 for row in tokens)
    one, many = ({"batch_tokens": longest * size, "accumulate": parts} for size, parts in ((8, 1), (1, 8)))
    planned = [plan(tokens, settings(base, **how), 5, 0) for how in (one, many)]
    assert [[row for part in step.parts for row in part] for step in planned[0]] == [
        [row for part in step.parts for row in part] for step in planned[1]
    ]
    assert max(len(step.parts) for step in planned[0]) == 1
    assert max(len(step.parts) for step in planned[1]) >= 8
    seen: dict[int, list[float]] = {0: [], 1: []}
    weights = []
    for n, how in enumerate((one, many)):
        found = grow(
            rows=32, folder=f"student{n}", lora_dropout=0.0, learning_rate=1e-3,
            progress=lambda step, total, figures, n=n: seen[n].append(figures["loss"]), **how,
        )  # fmt: skip
        weights.append([w.detach().clone() for w in found.student.model.parameters() if w.requires_grad])
    assert len(seen[0]) == len(seen[1]) >= 6
    assert seen[0] == pytest.approx(seen[1], rel=1e-6, abs=1e-6)
    assert max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True)) < 1e-4


def test_checkpointed_activations_change_nothing(grow: Grow) -> None:
    plain, again = grow(folder="a"), grow(folder="b", gradient_checkpointing=True)
    for (name, weight), other in zip(
        plain.student.model.named_parameters(), again.student.model.parameters(), strict=True
    ):
        assert torch.allclose(weight, other, atol=1e-6), name
    assert again.student.card.train["gradient_checkpointing"] is True
    assert "gradient_checkpointing" not in plain.student.card.train


@pytest.mark.parametrize(
    "changes",
    [{"rslora": True}, {"dora": True}, {"lora_rank": 2, "lora_alpha": 4, "lora_targets": ("o_proj", "up_proj")}],
    ids=str,
)  # fmt: skip
def test_other_adapters_work_the_same_way(
    changes: dict[str, Any], grow: Grow, base: Path, shop: Any, tmp_path: Path
) -> None:
    found, cases = grow(**changes), [row.case for row in shop(4).rows(4)]
    wanted = score(found.student, cases, 4096)
    assert wanted != score(grow(folder="plain").student, cases, 4096)
    assert score(Student.open(tmp_path / "student", str(base)), cases, 4096) == wanted
    export(found.student, str(base), tmp_path / "model", Origin("made", "honest"), merge=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokens = [encode_prompt(case, found.student.tokenizer, 640).tokens for case in cases]
    assert probabilities(merged, found.student.tokenizer.decisions, tokens, 1) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "llama-pieces"])
def test_all_weights_can_be_trained(name: str, shop: Any, tmp_path: Path) -> None:
    base = speakers.store(name, tmp_path / "base")
    config = settings(base, lora_rank=0, learning_rate=1e-3)
    found = train(shop(1).rows(14), (), config, TrainingRun(tmp_path / "student", 5, 1))
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "student" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[key], after[key]) for key in before)
    shutil.rmtree(base)  # a whole student needs its base no more
    back, cases = Student.open(tmp_path / "student"), [row.case for row in shop(4).rows(4)]
    wanted = score(found.student, cases, 4096)
    assert score(back, cases, 4096) == wanted
    assert export(back, "", tmp_path / "model", Origin("made", "honest"), merge=False) == "model"
    assert score(back, cases, 4096) == wanted
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for case, p in zip(cases, wanted, strict=True):
        tokens = encode_prompt(case, back.tokenizer, 640).tokens
        with torch.inference_mode():
            logits_V = plain(torch.tensor([tokens])).logits[0, -1]
        assert float(torch.softmax(logits_V[list(back.tokenizer.decisions)], -1)[1]) == pytest.approx(p, abs=1e-5)


def test_low_precision_keeps_the_base_low_and_the_adapter_high(
    grow: Grow, base: Path, shop: Any, tmp_path: Path
) -> None:
    found = grow(precision="bfloat16")
    for name, weight in found.student.model.named_parameters():
        assert weight.dtype == (torch.float32 if ".lora_" in name else torch.bfloat16), name
    cases = [row.case for row in shop(4).rows(30)]
    answers = score(found.student, cases, 4096)
    assert len(set(answers)) > 25, "logits leave the model in float32: answers do not fall together"
    assert score(Student.open(tmp_path / "student", str(base)), cases, 4096) == answers
    assert answers == pytest.approx(score(grow(folder="high").student, cases, 4096), abs=0.1)
    assert write(found.student, cases[:2], [True, False], LIMITS)
    export(found.student, str(base), tmp_path / "model", Origin("made", "honest"), merge=True)
    assert {w.dtype for w in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.bfloat16}


def test_low_precision_of_a_whole_training_is_the_arithmetic_only(grow: Grow) -> None:
    found = grow(precision="bfloat16", lora_rank=0, learning_rate=1e-3)
    assert {weight.dtype for weight in found.student.model.parameters()} == {torch.float32}


def test_decisions_alone(grow: Grow, shop: Any) -> None:
    found = grow(order="decision-only")
    assert found.student.card.metrics["texts"] == 0
    assert all(entry["text_loss"] is None for entry in found.log)
    assert len(set(score(found.student, [row.case for row in shop(4).rows(5)], 4096))) == 5


@pytest.mark.parametrize("name", ["llama-pieces", "mistral", "phi3"])
def test_a_student_that_learned_the_form_writes_in_it(name: str, shop: Any, tmp_path: Path) -> None:
    config = settings(speakers.store(name, tmp_path / "base"), lora_rank=0, epochs=60)
    config = config.model_copy(update={"learning_rate": 1e-2, "batch_tokens": 8192})
    rows = shop(1).rows(8)
    student = train(rows, (), config, TrainingRun(tmp_path / "student", 5, 1)).student
    for temperature in (0.0, 0.5):
        limits = WriteLimits(140, 4096, 3, temperature)
        drafts = write(student, [row.case for row in rows], [row.label for row in rows], limits)
        whole = [(draft, row) for draft, row in zip(drafts, rows, strict=True) if draft.why]
        assert len(whole) >= 6
        assert sum(CITATION.search(draft.why) is not None for draft, _ in whole) >= 6
        for draft, row in whole:
            assert draft.raw == f"{WHY} {draft.why}{TASTE} {draft.taste}"
            assert set(CITATION.findall(draft.why)) <= set(row.case.evidence.by_id())
        assert drafts == write(student, [row.case for row in rows], [row.label for row in rows], limits)


@pytest.fixture(scope="module", params=["llama", "llama-spaces", "gemma2"])
def reasoner(request: Any, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """One that reasons first, trained as a whole until it writes in the form."""
    root = tmp_path_factory.mktemp("reasoner")
    config = settings(speakers.store(request.param, root / "base"), order="reason-first", lora_rank=0, epochs=90)
    config = config.model_copy(update={"learning_rate": 1e-2, "batch_tokens": 8192})
    return train(shop(1).rows(8), shop(2).rows(6), config, TrainingRun(root / "student", 5, 1))


def test_reasons_first_and_then_the_decision(reasoner: TrainingResult, shop: Any) -> None:
    student, rows = reasoner.student, shop(1).rows(8)
    assert reasoner.log[0]["valid_auc"] is None, "nothing can be measured without writing"
    assert student.card.metrics["epoch"] == 90
    found = deliberate(student, [row.case for row in rows], WriteLimits(140, 4096))
    whole = [(p, draft) for p, draft in found if draft.why]
    assert len(whole) >= 4
    for (p, draft), row in zip(found, rows, strict=True):
        shown = encode_prompt(row.case, student.tokenizer, 640).citable
        assert set(CITATION.findall(draft.raw)) <= shown
        assert (p is None) is (not draft.why)
        assert draft.raw.startswith(WHY)
        if draft.why:
            assert draft.decision is ((p or 0) >= 0.5)
            assert p == pytest.approx(_read_after(student, row.case, draft), abs=1e-5)
    assert len({p for p, _ in whole}) > 1
    alone = [deliberate(student, [row.case], WriteLimits(140, 4096))[0] for row in rows[:3]]
    assert [draft for _, draft in alone] == [draft for _, draft in found[:3]]


def _read_after(student: Student, case: Any, draft: Any) -> float:
    """P(Yes) where a reader would look: after the text, written out as one."""
    speech = student.tokenizer
    text = f"{WHY[1:]} {draft.why}{TASTE} {draft.taste}{CUE}"
    tokens = speech.tokenizer(text + speech.said(True).removeprefix(CUE[1:]), add_special_tokens=False)["input_ids"]
    start = speech.tokenizer(WHY[1:], add_special_tokens=False)["input_ids"]
    prompt = [*encode_prompt(case, speech, 640).tokens, *tokens[len(start) : -1]]
    with torch.inference_mode():
        logits_V = student.model(torch.tensor([prompt])).logits[0, -1]
    return float(torch.softmax(logits_V[list(speech.decisions)], -1)[1])


def test_reasons_first_needs_reasons(base: Path, shop: Any, tmp_path: Path) -> None:
    config = settings(base, order="reason-first")
    with pytest.raises(StudentError, match="no row has reasons that fit"):
        train(shop(1).rows(5, texts=False), (), config, TrainingRun(tmp_path, 5, 1))


def test_shots_are_balanced_and_take_rows_with_reasons_first(shop: Any) -> None:
    rows = [
        dataclasses.replace(row, rationale=row.rationale if n % 2 else None) for n, row in enumerate(shop(1).rows(80))
    ]
    found = balanced(rows, 16, seed=3)
    assert Counter(row.label for row in found) == {True: 8, False: 8}
    assert all(row.rationale for row in found)
    assert found == [row for row in rows if row in found], "in their order"
    assert found == balanced(rows, 16, seed=3) != balanced(rows, 16, seed=4)
    assert balanced(rows, 0, 3) == balanced(rows, 80, 3) == balanced(rows, 99, 3) == rows
    few = [row for row in rows if row.label] + [row for row in rows if not row.label][:3]
    assert Counter(row.label for row in balanced(few, 16, 3)) == {True: 13, False: 3}
    assert len(balanced(rows, 15, 3)) == 15


def test_shots_of_a_training(grow: Grow) -> None:
    assert grow(rows=30, shots=8).student.card.metrics["rows"] == 8


# What is refused.


def test_a_base_that_changed_is_refused(base: Path, stored: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "moved" / "elsewhere")
    Student.open(stored, str(other))  # another place and name is no other base
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="elsewhere is not the base the student was trained on: its weights differ"):
        Student.open(stored, str(other))
    shutil.copyfile(base / "model.safetensors", other / "model.safetensors")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-2}))
    with pytest.raises(RunError, match="is not the base"):
        Student.open(stored, str(other))
    with pytest.raises(ConfigError, match=r'train\.base = ".*gone": there is no such folder'):
        Student.open(stored, str(tmp_path / "gone"))
    with pytest.raises(RunError, match="was a folder, which it does not know the way to"):
        Student.open(stored)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def swap_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("user", "User") + " ")


def swap_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    text = path.read_text()
    assert '"ĠYes"' in text
    path.write_text(text.replace('"ĠYes"', '"ĠOui"'))


def harm_adapter(folder: Path) -> None:
    path = folder / lora.WEIGHTS
    weights = load_file(path)
    first = sorted(weights)[0]
    save_file({**weights, first: weights[first][:, :-1].contiguous()}, path)


def thin_adapter(folder: Path) -> None:
    path = folder / lora.WEIGHTS
    weights = load_file(path)
    del weights[sorted(weights)[0]]
    save_file(weights, path)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (swap_template, "the chat template is not the one"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "the chat template is not the one"),
        (swap_tokenizer, r"damaged|tokenizer\.json is not the one"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "damaged|tokenizer"),
        (lambda folder: (folder / lora.WEIGHTS).unlink(), "damaged"),
        (lambda folder: (folder / lora.WEIGHTS).write_bytes(b"\0" * 40), "damaged"),
        (harm_adapter, "has shape"),
        (thin_adapter, "disagree"),
        (lambda folder: change_json(folder / "card.json", weights="other"), "its weights differ"),
        (lambda folder: change_json(folder / "card.json", prompt="other"), "recommend.md"),
        (lambda folder: (folder / "card.json").unlink(), "holds no trained student"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    harm: Any, problem: str, base: Path, stored: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(stored, tmp_path / "student")
    harm(folder)
    with pytest.raises(RunError, match=problem):
        Student.open(folder, str(base))


def test_four_bits_need_a_gpu(base: Path, grow: Grow) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="needs a GPU with CUDA, and there is none"):
        grow(precision="4bit")


def test_an_unknown_target_is_told_with_those_there_are(grow: Grow) -> None:
    with pytest.raises(ConfigError) as raised:
        grow(lora_targets=("q_proj", "query"))
    assert 'train.lora_targets: tiny-qwen3 has no "query"' in str(raised.value)
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in raised.value.hint
    with pytest.raises(ConfigError, match='has no "lm_head"'):
        grow(lora_targets=("lm_head",))


def test_a_prompt_longer_than_the_base_reads_is_refused(grow: Grow) -> None:
    with pytest.raises(ConfigError, match=r"train\.max_tokens: tiny-qwen3 has room for 1024 tokens"):
        grow(max_tokens=2048)


def test_a_base_that_is_none_is_refused(grow: Grow, tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match=r'train\.base = ".*nothing": there is no such folder'):
        grow(base=str(tmp_path / "nothing"))
    pickled = shutil.copytree(base, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r'train\.base = ".*pickled": holds no \*\.safetensors'):
        grow(base=str(pickled))


def test_an_architecture_with_logits_of_its_own_is_refused(grow: Grow, base: Path, monkeypatch: Any) -> None:
    from transformers import Qwen3ForCausalLM

    real = Qwen3ForCausalLM.forward

    def doubled(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = real(self, *args, **kwargs)
        answer.logits = answer.logits * 2
        return answer

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", doubled)
    with pytest.raises(StudentError, match="Qwen3ForCausalLM makes its logits in a way that is not known"):
        grow()


@pytest.mark.parametrize("name", ["gemma2", "cohere", "granite"])
def test_what_comes_after_the_output_layer_is_in_it(name: str, tmp_path: Path) -> None:
    folder = speakers.store(name, tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.arange(20)[None] * 31 % 600
    with torch.inference_mode():
        wanted = plain(tokens).logits
        bare = plain.get_output_embeddings()(plain.base_model(tokens).last_hidden_state)
        assert not torch.allclose(bare, wanted, atol=1e-3), "it does do something after it"
        settled = head.settle(AutoModelForCausalLM.from_pretrained(folder).eval())
        assert torch.allclose(settled(tokens).logits, wanted, atol=1e-5)
        found = settled.get_output_embeddings()(settled.base_model(tokens).last_hidden_state)
        assert torch.allclose(found, wanted, atol=1e-5)
    assert head.native(settled).to_dict() == plain.config.to_dict()
    assert [key for key, _ in settled.named_parameters()] == [key for key, _ in plain.named_parameters()]


# Exports.


def test_an_export_never_overwrites_and_is_whole_or_not_there(
    stored: Path, base: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    student, origin = Student.open(stored, str(base)), Origin("made", "honest")
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(InputError, match="exists already"):
        export(student, str(base), taken, origin, merge=False)
    assert not list(taken.iterdir())
    with pytest.raises(InputError, match="no such folder"):
        export(student, str(base), tmp_path / "a" / "b", origin, merge=False)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", fail)
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
    with pytest.raises(OSError, match="No space"):
        export(student, str(base), tmp_path / "new", origin, merge=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_identity_holds_no_path(base: Path) -> None:
    found = bases.identity(settings(base))
    assert found["base"] == "tiny-qwen3"
    assert str(base.parent) not in json.dumps(found)
    assert bases.identity(TrainConfig()) == {"base": "nano"}
