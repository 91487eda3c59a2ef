from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reasoningrec.config import TrainConfig
from reasoningrec.errors import RunError
from reasoningrec.student import bases
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import CITATIONS, DECISIONS, continuation, decision_ids, row_text
from reasoningrec.student.shorthand import SLOTS

TEXT = '\nPrediction: Yes\nWhy: No Notes, Norway: "é 漢" [H10], <n> of [H1][T].\nTaste: $12.00 Yes.<|end|>'


@pytest.fixture(scope="module")
def built(shop: Any, tiny: TrainConfig) -> tuple[Any, Any]:
    return bases.build(tiny, [row_text(row) for row in shop(1).rows(50)], seed=1)


def test_nano_is_the_size_of_its_vocabulary(built: tuple[Any, Any], tiny: TrainConfig) -> None:
    model, tokenizer = built
    assert len(tokenizer) <= tiny.vocabulary
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    logits = model(torch.tensor([tokenizer.encode(TEXT)])).logits
    assert torch.isfinite(logits).all()


def test_the_tokenizer_reads_back_what_it_wrote(built: tuple[Any, Any]) -> None:
    _, tokenizer = built
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_citations_slots_and_decisions_are_one_token_each(built: tuple[Any, Any]) -> None:
    _, tokenizer = built
    assert all(len(tokenizer.encode(f"so {slot}.")) == len(tokenizer.encode("so .")) + 1 for slot in SLOTS)
    ids = {tuple(tokenizer.encode(f"[{id_}]")) for id_ in CITATIONS}
    assert len(ids) == len(CITATIONS) == 125
    assert all(len(one) == 1 for one in ids)
    assert [continuation(word, tokenizer) for word in DECISIONS] == [(one,) for one in decision_ids(tokenizer)]
    assert decision_ids(tokenizer)[0] not in tokenizer.encode(" Not None Nobody")


def test_no_token_reaches_across_the_form(built: tuple[Any, Any]) -> None:
    _, tokenizer = built
    for token in tokenizer.get_vocab():
        text = tokenizer.convert_tokens_to_string([token])
        assert not re.search(r"\d.|.\d|.\n", text.removeprefix("[").removesuffix("]"), re.DOTALL) or text[0] in "[<", (
            text
        )
    whole = tokenizer.encode("\nPrediction: Yes\nWhy: You liked it")
    assert whole[: len(tokenizer.encode("\nPrediction: Yes\nWhy:"))] == tokenizer.encode("\nPrediction: Yes\nWhy:")


def test_building_again_gives_the_same(built: tuple[Any, Any], shop: Any, tiny: TrainConfig) -> None:
    texts = [row_text(row) for row in shop(1).rows(50)]
    model, tokenizer = bases.build(tiny, texts, seed=1)
    assert bases.tokenizer_digest(tokenizer) == bases.tokenizer_digest(built[1])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), built[0].parameters(), strict=True))
    other, _ = bases.build(tiny, texts, seed=2)
    assert not torch.equal(other.get_input_embeddings().weight, model.get_input_embeddings().weight)


@pytest.fixture
def stored(built: tuple[Any, Any], tiny: TrainConfig, tmp_path: Path) -> tuple[Student, Path]:
    student = Student(built[0], built[1], tiny, bases.card_of(built[1], tiny, "data", {"valid_auc": 0.75}))
    bases.save(student, tmp_path / "student")
    return student, tmp_path / "student"


def test_a_stored_student_comes_back_whole(stored: tuple[Student, Path]) -> None:
    student, folder = stored
    back = Student.open(folder)
    assert (back.card, back.config) == (student.card, student.config)
    tokens = torch.tensor([back.tokenizer.encode(TEXT)])
    assert tokens.tolist() == [student.tokenizer.encode(TEXT)]
    assert torch.equal(back.model(tokens).logits, student.model.eval()(tokens).logits)
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in folder.iterdir())


def test_storing_twice_gives_the_same_bytes(stored: tuple[Student, Path], tmp_path: Path) -> None:
    student, folder = stored
    bases.save(Student.open(folder), tmp_path / "again")
    for path in folder.iterdir():
        if path.name in ("config.json", "tokenizer_config.json"):
            continue  # transformers notes in them what was loaded, and how
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert student.card.data == "data"


def change_card(folder: Path, **values: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def swap_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"content": " Yes"', '"content": " Oui"'))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (shutil.rmtree, "holds no trained student"),
        (lambda folder: (folder / "card.json").write_text("{"), "cannot be read"),
        (lambda folder: change_card(folder, format=99), "format 99"),
        (lambda folder: change_card(folder, prompt="other"), "recommend.md"),
        (lambda folder: change_card(folder, tokenizer="other"), "tokenizer.json is not the one"),
        (swap_tokenizer, "tokenizer"),
        (cut_weights, "damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "damaged"),
        (lambda folder: change_json(folder / "config.json", hidden_size=64), "damaged"),
        (lambda folder: change_json(folder / "config.json", num_hidden_layers=2), "damaged"),
    ],
)
def test_what_does_not_belong_together_is_refused(stored: tuple[Student, Path], harm: Any, problem: str) -> None:
    harm(stored[1])
    with pytest.raises(RunError, match=problem):
        Student.open(stored[1])


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
