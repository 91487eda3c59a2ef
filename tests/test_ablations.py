"""`without`: each part is in no text that is made or shown, and a run without it goes to its end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from reasoningrec import Recommender
from reasoningrec.config import read
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT
from reasoningrec.pipeline.learn import train_fields, training_rows
from reasoningrec.pipeline.predict import predict_fields
from reasoningrec.pipeline.predictions import answers
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import read_json, read_jsonl
from reasoningrec.student.encode import row_parts
from reasoningrec.student.shorthand import CITATION
from running import SMALL, Cli

TALLREC = 'without = ["attributes", "descriptions", "profiles", "evidence", "rationales"]\n'
PAPER = '[texts]\nprompts = "paper"\n'
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
        ("evidence", ["\n[U1]", "\n[C1]", "\nFor: ", "\nAgainst: "]),
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
    (tmp_path / "tallrec.toml").write_text(TALLREC + DECIDES + PAPER, "utf-8")
    answer = cli("run", "--run", run, tmp_path / "tallrec.toml")
    assert answer.code == 0, answer.err
    shown = prompts(run, tmp_path / "tallrec.toml")
    titles = r'the list of their .*\n(\d+\. [^\n:]+: (LIKED|DISLIKED)\n)+The next item: "[^\n]+"\nPrediction:$'
    assert all(re.search(titles, text) for text in shown)
    assert read_json(run / "manifest.json")["stages"]["train"]["counts"]["rows"] == 32
    opened = Recommender.open(run)
    (first, *_) = opened.recommend(opened.users[0], top=3)
    assert not any(id.startswith(("U", "C")) for id in first.evidence)


def test_lines_of_the_history_do_not_weigh_by_attributes_that_are_left_out(run: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "less.toml").write_text(f'without = ["attributes"]\n{SMALL}', "utf-8")
    assert cli("verify", "--run", run, tmp_path / "less.toml").code == 0
    speaking = re.compile(r"^(?:For|Against): .*\[H", re.MULTILINE)
    assert any(speaking.search(text) for text in whole(run, tmp_path))
    assert not any(speaking.search(text) for text in prompts(run, tmp_path / "less.toml"))


def test_as_published_a_student_is_shown_what_the_paper_shows(run: Path, tmp_path: Path, cli: Cli) -> None:
    config = tmp_path / "paper.toml"
    config.write_text(f'protocol = "paper"\n{SMALL}{PAPER}', "utf-8")
    answer = cli("run", "--run", run, config)
    assert answer.code == 0, answer.err
    rows = training_rows(Workspace(run, read(config)))
    assert all(row.rationale and CITATION.search(row.rationale.why) for row in rows)
    for prompt, completion in map(row_parts, rows):
        assert "You are given their profile and the list" in prompt
        assert re.search(r"\n1\. [^\n:]+: (LIKED|DISLIKED)\. \w+", prompt)  # with the item's description
        assert re.search(r"\nDescription: \w+", prompt)
        assert re.match(r" (Yes|No)\nWhy: .+\nTaste: .+$", completion)
        assert not CITATION.search(prompt + completion)
    assert {row["origin"] for row in read_jsonl(run / "predict" / "explanations.jsonl")} == {"offline"}
    assert "all by rule: it was taught no reasons that could be checked" in (run / "report.md").read_text("utf-8")
    opened = Recommender.open(run)
    (first, *_) = opened.recommend(opened.users[0], top=3)
    assert first.citations
    asked = np.array([0])
    assert opened._cases(0, asked, opened._numbers(0, asked))[0].item_texts
    assert all(id.startswith(("H", "T")) for id in first.evidence)
    assert cli("student", "export", "--run", run, tmp_path / "taken").code == 0
    card = (tmp_path / "taken" / "README.md").read_text("utf-8")
    assert "1. Mug: LIKED" in card
    assert "What it writes cites nothing" in card
    assert "Cites:" not in card


def test_without_fusion_the_student_alone_decides(run: Path, tmp_path: Path, cli: Cli) -> None:
    config = tmp_path / "alone.toml"
    config.write_text(f'without = ["fusion"]\n{SMALL}', "utf-8")
    before = (run / "train" / "card.json").stat().st_mtime_ns
    answer = cli("run", "--run", run, config)
    assert answer.code == 0, answer.err
    assert (run / "train" / "card.json").stat().st_mtime_ns == before
    assert "without fusion" in cli("status", "--run", run).out
    found = answers(Workspace(run, read(config)), "test").predictions
    by_student = {row.query_id: row.probability for row in found[STUDENT]}
    assert {row.query_id: row.probability for row in found[FUSED]} == pytest.approx(by_student)
    assert {row.query_id: row.probability for row in found[NO_STUDENT]} != pytest.approx(by_student)
    report = (run / "report.md").read_text("utf-8")
    assert "made without fusion" in report
    assert "boosted trees (all inputs)" not in report
    opened = Recommender.open(run)
    for one in opened.recommend(opened.users[0], top=3):
        assert one.probability == pytest.approx(one.student_probability)


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
    (tmp_path / "odd.toml").write_text(f"{text}{PAPER}", "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "odd.toml")
    assert answer.code == 2
    assert "train.order: the student of the paper's prompts decides first" in answer.err
    (tmp_path / "typo.toml").write_text(f'without = ["reasons"]\n{SMALL}', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "typo.toml")
    assert answer.code == 2
    assert "without.0" in answer.err
