"""An opened run that answers: sorted, unseen, deterministic, every cited line at hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from reasoningrec import Recommender
from reasoningrec.errors import InputError, NotInRunError, RunError
from reasoningrec.llm.stance import stance
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.ranking.fuse import LATENT
from reasoningrec.records import Recommendation
from reasoningrec.rows import to_row
from reasoningrec.runs import Run


@pytest.fixture(scope="module")
def opened(small_run: Path) -> Recommender:
    return Recommender.open(small_run)


@pytest.fixture(scope="module")
def seen(small_run: Path) -> dict[str, set[str]]:
    run = Run.read(small_run)
    rows = Workspace(small_run, config_of(run)).corpus.interactions
    return {user: set(items) for user, items in rows.group_by("user").agg("item").iter_rows()}


@pytest.fixture(scope="module")
def five(opened: Recommender, seen: dict[str, set[str]]) -> list[Recommendation]:
    """Of the user with the most items left."""
    return opened.recommend(min(seen, key=lambda user: (len(seen[user]), user)), top=5)


def test_recommendations_are_the_likeliest_first(five: list[Recommendation]) -> None:
    assert len(five) == 5
    found = [answer.probability for answer in five]
    assert found == sorted(found, reverse=True)
    assert all(0 < p < 1 for p in found)


def test_recommended_items_are_new_to_the_user_and_differ(
    five: list[Recommendation], seen: dict[str, set[str]]
) -> None:
    items = [answer.item for answer in five]
    assert len(set(items)) == len(items)
    assert not set(items) & seen[five[0].user]


def test_answers_are_the_same_every_time(small_run: Path, five: list[Recommendation]) -> None:
    assert Recommender.open(str(small_run)).recommend(five[0].user, top=5) == five


def test_what_is_fitted_decides_and_is_told_to_nobody(opened: Recommender, five: list[Recommendation]) -> None:
    """Prompts and facts are made of what is counted; `latent` is fitted, and read by the decision alone."""
    space = opened._space
    assert LATENT in opened._fused.linear.names
    assert LATENT in space.deciding[0].columns
    assert LATENT not in space.numbers.columns
    user = opened._user(five[0].user)
    items = np.arange(3)
    numbers = opened._numbers(user, items)
    assert numbers[LATENT].n_unique() == 3
    assert all(LATENT not in case.evidence.numbers for case in opened._cases(user, items, numbers))


def test_a_shorter_list_is_the_head_of_a_longer_one(opened: Recommender, five: list[Recommendation]) -> None:
    head = opened.recommend(five[0].user, top=2)
    assert [answer.item for answer in head] == [answer.item for answer in five[:2]]


def test_every_citation_has_its_line_of_evidence(five: list[Recommendation]) -> None:
    for answer in five:
        assert 1 <= len(answer.citations) <= 3
        assert set(answer.citations) <= set(answer.evidence)
        assert all(f"[{id}]" in answer.explanation for id in answer.citations)
        assert all(text.strip() for text in answer.evidence.values())


def test_prediction_probability_and_explanation_agree(opened: Recommender, five: list[Recommendation]) -> None:
    for answer in five:
        liked = answer.probability >= opened.threshold
        assert answer.prediction == ("Yes" if liked else "No")
        assert stance(answer.explanation) is liked


def test_explaining_a_recommended_item_gives_the_same_decision(opened: Recommender, five: list[Recommendation]) -> None:
    again = opened.explain(five[0].user, five[0].item)
    assert again.prediction == five[0].prediction
    assert again.probability == pytest.approx(five[0].probability, abs=1e-4)


def test_an_item_the_user_has_seen_can_be_explained(opened: Recommender, seen: dict[str, set[str]]) -> None:
    user = opened.users[0]
    item = min(seen[user])
    answer = opened.explain(user, item)
    assert (answer.user, answer.item) == (user, item)
    assert set(answer.citations) <= set(answer.evidence)


def test_an_answer_as_json_has_the_promised_keys(five: list[Recommendation]) -> None:
    row = json.loads(json.dumps(to_row(five[0])))
    assert set(row) == {
        *("user", "item", "title", "prediction", "probability"),
        *("student_probability", "explanation", "citations", "evidence"),
    }
    assert isinstance(row["citations"], list)
    assert all(isinstance(text, str) for text in row["evidence"].values())


def test_it_knows_its_users(opened: Recommender) -> None:
    assert len(opened.users) == 60
    assert list(opened.users) == sorted(opened.users)


def test_opening_and_asking_write_nothing(small_run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in small_run.rglob("*")}
    opened = Recommender.open(small_run)
    opened.explain(opened.users[1], "i0001")
    assert {file: file.stat().st_mtime_ns for file in small_run.rglob("*")} == before


@pytest.mark.parametrize("top", [0, -3, 1000])
def test_a_senseless_length_is_refused(opened: Recommender, top: int) -> None:
    with pytest.raises(InputError, match="top: must be from 1 to"):
        opened.recommend(opened.users[0], top=top)


def test_unknown_names_are_told_with_near_ones(opened: Recommender) -> None:
    with pytest.raises(NotInRunError, match=r"knows no user 'u9999'\n.*u00"):
        opened.recommend("u9999")
    with pytest.raises(NotInRunError, match=r"knows no item 'i0099'\n.*i00"):
        opened.explain(opened.users[0], "i0099")


def test_a_run_of_another_configuration_is_refused(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    with Run.open(folder, create=False) as run:
        config = config_of(run)
        other = config.model_copy(update={"split": config.split.model_copy(update={"history": 3})})
        run.configure(other.model_dump(mode="json"), version=run.version)
    with pytest.raises(NotInRunError, match="stage split is out of date: history changed since"):
        Recommender.open(folder)


def test_a_stage_redone_below_makes_the_run_out_of_date(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    with Run.open(folder, create=False) as run:
        run.begin("describe", {"words": 10})
        (folder / "describe.jsonl").write_text("", "utf-8")
        run.finish("describe", {})
    with pytest.raises(NotInRunError, match="stage describe is out of date"):
        Recommender.open(folder)


@pytest.mark.parametrize(
    "file",
    [
        "predict/fuse.json",
        "predict/latent.npz",
        "train/model.safetensors",
        "data/items.parquet",
        "evidence.parquet",
        "describe.jsonl",
    ],
)
def test_a_damaged_artifact_is_told_by_name(small_run: Path, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=f"{Path(file).name}: is not as stage .* wrote it"):
        Recommender.open(folder)


def test_a_recommendation_is_a_frozen_value(five: list[Recommendation]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        five[0].probability = 1.0  # type: ignore[misc]
