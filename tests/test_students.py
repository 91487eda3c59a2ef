"""Whole runs with a student that grows from a causal LM, and what is told when its base is not as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import speakers
from reasoningrec import Recommender, read_config
from reasoningrec.errors import ConfigError, NotInRunError, RunError
from reasoningrec.rows import read_jsonl
from reasoningrec.runs import Run
from reasoningrec.student import weights
from reasoningrec.student.bases import Student
from running import SMALL, Cli, assert_same


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speakers.store("qwen2", tmp_path_factory.mktemp("bases") / "tiny-qwen2")


def small(base: Path, train: str = "", predict: str = "") -> str:
    text = SMALL.replace("max_tokens = 320", f'base = "{base}"\nmax_tokens = 1000\n{train}')
    return text.replace("max_new_tokens = 64", f"max_new_tokens = 48\ntries = 2\n{predict}").replace(
        "explain = 24", "explain = 6"
    )


@pytest.fixture(scope="module")
def ran(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; copy it before changing anything in it."""
    from reasoningrec.cli.progress import Screen
    from reasoningrec.pipeline.line import run_line

    folder = tmp_path_factory.mktemp("ran")
    (folder / "small.toml").write_text(small(base), "utf-8")
    with Screen() as screen:
        run_line(folder / "run", read_config(folder / "small.toml"), screen)
    return folder / "run"


def test_a_run_keeps_the_adapter_and_no_path(ran: Path, base: Path) -> None:
    assert not (ran / "train" / "model.safetensors").exists()
    assert (ran / "train" / "adapter_model.safetensors").stat().st_size < 60_000
    place = str(base.parent).encode()
    for file in ran.rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            assert place not in file.read_bytes(), f"{file.name} holds a path of this machine"
    manifest = json.loads((ran / "manifest.json").read_text())
    assert manifest["config"]["train"].pop("base") == str(base)
    assert place.decode() not in json.dumps(manifest), "nothing but the configuration says where the base is"
    fields = manifest["stages"]["train"]["fields"]
    assert (fields["base"], fields["lora_rank"]) == ("tiny-qwen2", 8)
    assert not {"hidden", "layers", "heads", "vocabulary"} & fields.keys(), "nano's alone"


def test_it_answers(ran: Path) -> None:
    recommender = Recommender.open(ran)
    answers = recommender.recommend(recommender.users[0], 2)
    assert len(answers) == 2
    assert all(answer.explanation and answer.citations for answer in answers)
    assert all(0 < (answer.student_probability or 0) < 1 for answer in answers)


def test_a_base_that_moved_is_the_same_and_one_that_changed_is_told(
    ran: Path, base: Path, tmp_path: Path, cli: Cli
) -> None:
    run = shutil.copytree(ran, tmp_path / "run")
    moved = shutil.copytree(base, tmp_path / "models" / "tiny-qwen2")
    (tmp_path / "moved.toml").write_text(small(Path("models/tiny-qwen2")), "utf-8")
    answer = cli("run", "--run", run, tmp_path / "moved.toml")
    assert answer.code == 0, answer.err
    assert "train     done before" in " ".join(answer.err.split("\n"))
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"] += 0.01
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotInRunError, match="stage train is out of date: base_digest changed since"):
        Recommender.open(run)
    answer = cli("student", "export", "--run", run, tmp_path / "exported")
    assert answer.code == 2
    assert "base_digest changed" in answer.err
    assert not (tmp_path / "exported").exists()
    answer = cli("run", "--run", run, tmp_path / "moved.toml")
    assert answer.code == 0, answer.err
    assert "base_digest" in answer.err
    Recommender.open(run)


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ('base = "nowhere/to/be"', 'train.base = "nowhere/to/be"'),
        ("max_tokens = 2000", "train.max_tokens: tiny-qwen2 has room for 1024"),
        ('precision = "4bit"', "needs a GPU"),
        ('lora_targets = ["nope"]', 'train.lora_targets: tiny-qwen2 has no "nope"'),
    ],
)
def test_a_base_that_cannot_be_used_is_told_before_anything_is_written(
    train: str, says: str, base: Path, tmp_path: Path, cli: Cli
) -> None:
    if "4bit" in train and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    text = small(base)
    for line in train.splitlines():
        key = line.split(" = ")[0]
        text = "\n".join(line if old.startswith(f"{key} = ") else old for old in text.splitlines())
        text = text if line in text else text.replace("[train]\n", f"[train]\n{line}\n")
    (tmp_path / "small.toml").write_text(text.replace("nowhere/to/be", str(tmp_path / "nowhere/to/be")), "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "small.toml")
    assert answer.code == 2
    assert says.replace("nowhere/to/be", str(tmp_path / "nowhere/to/be")) in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("harm", ["cut short", "two-token decisions", "odd config"])
def test_a_base_that_is_no_good_is_told_before_anything_is_written(
    harm: str, base: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = shutil.copytree(base, tmp_path / "harmed")
    says = 'train.base = "'
    if harm == "cut short":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        says = "its weights cannot be read: model.safetensors"
    elif harm == "odd config":
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": "x"}), "utf-8")
        says = "its config.json cannot be read"
    else:
        bare = Tokenizer(models.BPE())
        bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = trainers.BpeTrainer(
            vocab_size=258, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        bare.train_from_iterator(["Yes", "No"], letters)
        PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>").save_pretrained(folder)
        says = "train.base: harmed: the tokenizer writes"
    (tmp_path / "small.toml").write_text(small(folder), "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "small.toml")
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("hint:") == 1
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_in_a_line(ran: Path, base: Path, tmp_path: Path, cli: Cli, monkeypatch: Any) -> None:
    run = shutil.copytree(ran, tmp_path / "run")

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    for words in (("student", "export", tmp_path / "new"), ("student", "curve", "--shots", "8", "--seeds", "1")):
        answer = cli(*words[:2], "--run", run, *words[2:])
        assert (answer.code, "No space left on device" in answer.err, "Traceback" in answer.err) == (3, True, False)


def test_an_export_onto_something_is_refused_before_the_student_is_read(
    ran: Path, tmp_path: Path, cli: Cli, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Student, "open", lambda *_: pytest.fail("read"))
    (tmp_path / "taken").mkdir()
    answer = cli("student", "export", "--run", ran, tmp_path / "taken")
    assert (answer.code, "exists already" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("card.json", {"train": {"nonsense": 1}}),
        ("card.json", {"train": []}),
        ("texts.json", None),
        ("texts.json", [[1, 2, 3]]),
    ],
)
def test_a_student_whose_files_are_not_what_they_should_be_is_refused(
    file: str, content: Any, small_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_run / "train", tmp_path / "train")
    if file == "card.json":
        content = {**json.loads((folder / file).read_text("utf-8")), **content}
    (folder / file).write_text(json.dumps(content), "utf-8")
    with pytest.raises(RunError, match=r"train"):
        Student.open(folder)


def test_help_shows_the_sections_it_names(cli: Cli) -> None:
    assert "[student]" in cli("student", "check", "--help").out


def test_reasons_first_through_the_line(base: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "small.toml").write_text(
        small(base, 'order = "reason-first"\nlora_rank = 0\n', 'mode = "reason-first"\n'), "utf-8"
    )
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "small.toml")
    assert answer.code == 0, answer.err
    rows = list(read_jsonl(tmp_path / "run" / "predict" / "predictions.jsonl"))
    student = [row for row in rows if row["method"] == "student"]
    assert len(student) == 120
    # Two epochs teach no form: what is not of it is a missing answer, counted and shown.
    stages = Run.read(tmp_path / "run").stages
    assert stages["score"].counts["invalid"] == sum(row["probability"] is None for row in student)
    assert stages["predict"].counts["explained"] == 6
    Recommender.open(tmp_path / "run")


def test_a_student_that_only_decides_leaves_writing_to_the_rules(base: Path, tmp_path: Path, cli: Cli) -> None:
    for base_line in (f'base = "{base}"', 'base = "nano"'):
        text = small(base, 'order = "decision-only"\n', 'mode = "predict-only"\n')
        folder = tmp_path / base_line.split('"')[1].replace("/", "-")
        (tmp_path / "small.toml").write_text(text.replace(f'base = "{base}"', base_line), "utf-8")
        answer = cli("run", "--run", folder, tmp_path / "small.toml")
        assert answer.code == 0, answer.err
        stages = Run.read(folder).stages
        counts = stages["predict"].counts
        assert (counts["explained"], counts["explained_by_student"]) == (6, 0)
        assert stages["score"].counts["invalid"] == 0
        texts = list(read_jsonl(folder / "predict" / "explanations.jsonl"))
        assert {text["origin"] for text in texts} == {"offline"}


def test_a_run_cut_short_ends_in_the_bytes_of_a_straight_one(
    ran: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reasoningrec.cli.progress import Screen
    from reasoningrec.pipeline.line import run_line
    from reasoningrec.student import train as module

    (tmp_path / "small.toml").write_text(small(base), "utf-8")
    config, real, steps = read_config(tmp_path / "small.toml"), module._Loop._step, 0

    class StopError(Exception):
        pass

    def step(self: Any, *args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in (3, 6):
            raise StopError
        real(self, *args)

    monkeypatch.setattr(module._Loop, "_step", step)
    for _ in range(2):
        with Screen() as screen, pytest.raises(StopError):
            run_line(tmp_path / "run", config, screen)
    with Screen() as screen:
        run_line(tmp_path / "run", config, screen)
    assert_same(tmp_path / "run", ran)


def test_the_command_exports_an_adapter_or_a_model(ran: Path, base: Path, tmp_path: Path, cli: Cli) -> None:
    answer = cli("student", "export", "--run", ran, tmp_path / "adapter")
    assert (answer.code, answer.err) == (0, "")
    assert "an adapter" in answer.out
    answer = cli("student", "export", "--run", ran, tmp_path / "model", "--merge")
    assert "a whole model" in answer.out
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    answer = cli("student", "export", "--run", ran, tmp_path / "model")
    assert answer.code == 2
    assert "exists already" in answer.err
    assert cli("student", "export", "--run", tmp_path, tmp_path / "x").code == 2
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "<|im_start|>assistant\nPrediction:" in card
    assert "trained on demo" in card


def test_nano_is_exported_as_a_model(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    answer = cli("student", "export", "--run", small_run, tmp_path / "nano")
    assert answer.code == 0, answer.err
    assert "a whole model" in answer.out
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "nano")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "nano")
    stored = load_file(small_run / "train" / "model.safetensors")
    assert all(torch.equal(weight, stored[name]) for name, weight in model.named_parameters())
    assert tokenizer.decode(tokenizer.encode("\nPrediction: Yes")) == "\nPrediction: Yes"
    assert "none: trained from scratch" in (tmp_path / "nano" / "README.md").read_text()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('[train]\norder = "reason-first"', 'train.order: base = "nano" cannot learn to reason first'),
        ('[train]\nbase = "a/b"\norder = "reason-first"', 'predict.mode: "predict-first" does not fit'),
        ('[train]\norder = "decision-only"', 'predict.mode: "predict-first" does not fit train.order'),
        ('[predict]\nmode = "reason-first"', 'predict.mode: "reason-first" does not fit train.order = "label-first"'),
        ('[train]\nprecision = "4bit"', 'train.precision: "4bit" is for the frozen weights under an adapter'),
        ('[train]\nbase = "a/b"\nlora_rank = 0\nprecision = "4bit"', "train.precision"),
        ('[train]\nprecision = "int8"', "train.precision: Input should be"),
        ("[train]\nlora_targets = []", "train.lora_targets"),
        ("[train]\naccumulate = 0", "train.accumulate"),
    ],
)
def test_what_does_not_fit_together_is_refused(section: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'name = "demo"\n[data]\nsource = "demo"\n{section}\n', "utf-8")
    with pytest.raises(ConfigError) as raised:
        read_config(tmp_path / "c.toml")
    assert message in str(raised.value)


def test_a_base_beside_the_configuration_is_found(tmp_path: Path) -> None:
    (tmp_path / "models" / "x").mkdir(parents=True)
    for written, read in (("models/x", str(tmp_path / "models" / "x")), ("org/x", "org/x"), ("nano", "nano")):
        (tmp_path / "c.toml").write_text(f'name = "d"\n[data]\nsource = "demo"\n[train]\nbase = "{written}"\n', "utf-8")
        assert read_config(tmp_path / "c.toml").train.base == read


def test_nano_options_that_are_off_leave_its_fingerprint_alone(small_run: Path) -> None:
    fields = json.loads((small_run / "manifest.json").read_text())["stages"]["train"]["fields"]
    assert fields.keys() == {
        *("base", "hidden", "layers", "heads", "vocabulary", "max_tokens", "epochs", "batch_tokens", "learning_rate"),
        *("weight_decay", "warmup", "decision_weight", "text_weight", "patience", "seed", "threads", "prompt"),
        "stage verify",
    }
