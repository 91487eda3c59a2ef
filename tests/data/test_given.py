"""Texts of the user's own, by table; and what a run makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from reasoningrec.data.given import rationales, texts
from reasoningrec.errors import DataError
from reasoningrec.rows import read_jsonl
from reasoningrec.runs import Run
from running import SMALL, Cli


def written(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / name
    frame = pl.DataFrame(rows)
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


ROWS: list[dict[str, object]] = [
    {"item": "b", "text": " A lamp. ", "origin": "m-7b"},
    {"item": "a", "text": "A clock.", "origin": ""},
    {"item": "b", "text": "Another lamp.", "origin": "m-7b"},
    {"item": "c", "text": "", "origin": "m-7b"},
]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_texts_are_read_from_any_table(tmp_path: Path, name: str) -> None:
    found = texts(written(tmp_path, name, ROWS), "texts.descriptions", "item")
    assert found.rows() == [("a", "A clock.", "given"), ("b", "A lamp.", "m-7b")]


def test_ids_are_read_as_those_of_the_data_are(tmp_path: Path) -> None:
    found = texts(
        written(tmp_path, "t.csv", [{"item": "\u200e b\u200e", "text": "A lamp."}]), "texts.descriptions", "item"
    )
    assert found["id"].to_list() == ["b"]


def test_without_a_column_of_origins_they_are_given(tmp_path: Path) -> None:
    rows = [{"user": "u", "text": "Likes lamps."}]
    assert texts(written(tmp_path, "t.csv", rows), "texts.profiles", "user").rows() == [("u", "Likes lamps.", "given")]


@pytest.mark.parametrize("label", ["yes", "Yes", "TRUE", "1"])
def test_rationales_have_labels_in_words(tmp_path: Path, label: str) -> None:
    rows = [{"user": "u", "item": "i", "label": label, "taste": "Lamps.", "why": "You will like it."}]
    assert rationales(written(tmp_path, "t.csv", rows), "texts.rationales")["label"].to_list() == [True]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"item": "a", "words": "A clock."}], "there is no column 'text'"),
        ([{"sku": "a", "text": "A clock."}], "there is no column 'item'"),
    ],
)
def test_a_missing_column_is_told(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        texts(written(tmp_path, "t.csv", rows), "texts.descriptions", "item")


def test_a_missing_file_and_a_strange_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts\.descriptions"):
        texts(tmp_path / "gone.csv", "texts.descriptions", "item")
    (tmp_path / "t.xls").write_text("x", "utf-8")
    with pytest.raises(DataError, match=r"suffix '\.xls'"):
        texts(tmp_path / "t.xls", "texts.descriptions", "item")


def test_a_label_that_is_none_is_told_by_line(tmp_path: Path) -> None:
    row = {"user": "u", "item": "i", "label": "yes", "taste": "Lamps.", "why": "You will like it."}
    path = written(tmp_path, "t.csv", [row, {**row, "label": "perhaps"}])
    with pytest.raises(DataError, match=r"t\.csv:3: label: 'perhaps' is neither yes nor no"):
        rationales(path, "texts.rationales")


def config(folder: Path, lines: str) -> Path:
    path = folder / "c.toml"
    path.write_text(f"{SMALL}[texts]\n{lines}\n", "utf-8")
    return path


def test_given_texts_are_shown_and_what_is_missing_stays_blank(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path, "d.jsonl", [{"item": "i0001", "text": "A thing of beauty.", "origin": "the maker"}])
    path = config(tmp_path, 'descriptions = "d.jsonl"\nvouched = true')
    assert cli("describe", "--run", tmp_path / "run", path).code == 0
    (row,) = read_jsonl(tmp_path / "run" / "describe.jsonl")
    assert (row["key"], row["text"], row["origin"], row["calls"]) == (
        "i0001@given", "A thing of beauty.", "the maker", 0,
    )  # fmt: skip
    record = Run.read(tmp_path / "run").stages["describe"]
    assert record.counts["done"] == 1
    assert record.counts["missing"] == 29
    assert record.notes[0] == "describe: 1 of 30 texts given (1 by the maker); 29 not"
    assert "vouched for, not proved" in record.notes[1]


def test_what_is_missing_may_be_written(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path, "d.jsonl", [{"item": "i0001", "text": "A thing of beauty.", "origin": "the maker"}])
    path = config(tmp_path, 'descriptions = "d.jsonl"\nvouched = true\nmissing = "write"')
    assert cli("describe", "--run", tmp_path / "run", path).code == 0
    rows = read_jsonl(tmp_path / "run" / "describe.jsonl")
    assert {row["origin"] for row in rows} == {"the maker", "offline"}
    assert [row["key"] for row in rows if row["item"] == "i0001"] == ["i0001@given"]


def test_given_rationales_pass_the_gates_like_any_other(cli: Cli, tmp_path: Path) -> None:
    assert cli("verify", "--run", tmp_path / "first", config(tmp_path, "")).code == 0
    rows = read_jsonl(tmp_path / "first" / "reason.jsonl")
    items = pl.read_parquet(tmp_path / "first" / "split.parquet").select("id", "user", "item")
    who = {id: (user, item) for id, user, item in items.iter_rows()}
    given = [
        {"user": who[row["query_id"]][0], "item": who[row["query_id"]][1], "label": "yes" if row["label"] else "no",
         "taste": row["taste"], "why": row["why"], "origin": "somebody"}
        for row in rows
    ]  # fmt: skip
    given[0]["why"] = "We know that they will like it."
    strangers = [{**given[1], "item": "i0000-unknown"}]
    written(tmp_path, "r.parquet", [*given, *strangers])
    path = config(tmp_path, 'rationales = "r.parquet"\nvouched = true')
    answer = cli("verify", "--run", tmp_path / "run", path)
    assert answer.code == 0, answer.err
    again = read_jsonl(tmp_path / "run" / "reason.jsonl")
    assert [row["query_id"] for row in again] == [row["query_id"] for row in rows]
    assert {row["origin"] for row in again} == {"somebody"}
    assert Run.read(tmp_path / "run").stages["verify"].counts["dropped_leak"] == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('descriptions = "d.jsonl"', "texts.descriptions: a text from elsewhere may know"),
        ('descriptions = "gone.jsonl"\nvouched = true', "texts.descriptions"),
        ('prompts = "nowhere"', "no such folder"),
    ],
)
def test_what_cannot_be_used_is_refused(cli: Cli, tmp_path: Path, lines: str, message: str) -> None:
    written(tmp_path, "d.jsonl", [{"item": "i0001", "text": "A thing of beauty."}])
    answer = cli("describe", "--run", tmp_path / "run", config(tmp_path, lines))
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_changed_file_of_texts_is_read_again(cli: Cli, tmp_path: Path) -> None:
    path = config(tmp_path, 'descriptions = "d.jsonl"\nvouched = true')
    for text in ("A thing of beauty.", "A thing of use."):
        written(tmp_path, "d.jsonl", [{"item": "i0001", "text": text}])
        assert cli("describe", "--run", tmp_path / "run", path).code == 0
        assert read_jsonl(tmp_path / "run" / "describe.jsonl")[0]["text"] == text
