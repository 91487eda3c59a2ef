"""`without`: each part is in no text that is made or shown, and a run without it goes to its end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reasoningrec import Recommender
from reasoningrec.config import read
from reasoningrec.pipeline.learn import train_fields, training_rows
from reasoningrec.pipeline.predict import predict_fields
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import read_json, read_jsonl
from reasoningrec.student.encode import row_parts
from running import SMALL, Cli

TALLREC = 'without = ["attributes", "descriptions", "profiles", "evidence", "rationales"]\n'
DECIDES = SMALL.replace("[train]", '[train]\norder = "decision-only"\nshots = 32').replace(
    "[predict]", '[predict]\nmode = "predict-only"'
)


def prompts(folder: Path, config: Path) -> list[str]:
    return [row_parts(row)[0] for row in training_rows(Workspace(folder, read(config)))]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_run, tmp_path / "run")


def whole(run: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "whole.toml").write_text(SMALL, "utf-8")
    return prompts(run, tmp_path / "whole.toml")


@pytest.mark.parametrize(
    ("part", "marks"),
    [
        ("descriptions", ["About [T]:"]),
        ("profiles", ["Profile:"]),
        ("evidence", ["\n[U1]", "\n[C1]"]),
        ("attributes", ["$", "Leans to", "\n[U3]", "\n[U4]", "\n[C3]"]),
    ],
)
def test_what_is_left_out_is_in_no_prompt(run: Path, tmp_path: Path, cli: Cli, part: str, marks: list[str]) -> None:
    before = whole(run, tmp_path)
    (tmp_path / "less.toml").write_text(f'without = ["{part}"]\n{SMALL}', "utf-8")
    answer = cli("verify", "--run", run, tmp_path / "less.toml")
    assert answer.code == 0, answer.err
    after = prompts(run, tmp_path / "less.toml")
    assert len(after) == len(before)
    for mark in marks:
        assert any(mark in text for text in before), mark
        assert not any(mark in text for text in after), mark
    assert sum(row["status"] == "done" for row in read_jsonl(run / "reason.jsonl")) == len(after)
    stage = {"descriptions": "describe", "profiles": "profile"}.get(part)
    if stage:
        assert read_jsonl(run / f"{stage}.jsonl") == []


def test_without_rationales_labels_alone_teach(run: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "less.toml").write_text(f'without = ["rationales"]\n{SMALL}', "utf-8")
    answer = cli("run", "--run", run, tmp_path / "less.toml")
    assert answer.code == 0, answer.err
    assert read_jsonl(run / "reason.jsonl") == []
    assert all(row.rationale is None for row in training_rows(Workspace(run, read(tmp_path / "less.toml"))))
    assert {row["origin"] for row in read_jsonl(run / "predict" / "explanations.jsonl")} == {"offline"}
    assert "without rationales" in cli("status", "--run", run).out


def test_the_recipe_with_titles_alone_goes_to_its_end_and_recommends(run: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "tallrec.toml").write_text(TALLREC + DECIDES, "utf-8")
    answer = cli("run", "--run", run, tmp_path / "tallrec.toml")
    assert answer.code == 0, answer.err
    shown = prompts(run, tmp_path / "tallrec.toml")
    assert all("[H1]" in text and "[T]" in text for text in shown)
    assert not any(mark in text for text in shown for mark in ("[U", "[C", "$", "Profile:", "About [T]:", "Leans to"))
    assert read_json(run / "manifest.json")["stages"]["train"]["counts"]["rows"] == 32
    opened = Recommender.open(run)
    (first, *_) = opened.recommend(opened.users[0], top=3)
    assert not any(id.startswith(("U", "C")) for id in first.evidence)


def test_runs_without_it_stay_done(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(SMALL, "utf-8")
    space = Workspace(tmp_path, read(tmp_path / "plain.toml"))
    assert not any("without" in fields for fields in (train_fields(space), predict_fields(space)))


def test_a_student_without_rationales_cannot_reason_first(tmp_path: Path, cli: Cli) -> None:
    text = SMALL.replace("[train]", '[train]\nbase = "somewhere"\norder = "reason-first"')
    (tmp_path / "odd.toml").write_text(f'without = ["rationales"]\n{text}', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "odd.toml")
    assert answer.code == 2
    assert "without:" in answer.err
    (tmp_path / "typo.toml").write_text(f'without = ["reasons"]\n{SMALL}', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "typo.toml")
    assert answer.code == 2
    assert "without.0" in answer.err
