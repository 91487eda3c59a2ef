"""Anyone's own tables: every format the same, columns by the config, and what is said where one is missing."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reasoningrec.config import Columns, DataConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.tables import files, read
from reasoningrec.errors import DataError

ROWS = {
    "who": ["1", "2"],
    "what": ["a", "b"],
    "stars": [4.0, 2.5],
    "on": ["2015-09-04", "2015-09-05"],
    "text": ["", "x"],
}
ITEMS = {"id": ["a", "b"], "name": ["Lamp", "Mug, blue"], "cost": [9.5, None], "tags": [["x", "y"], []]}
COLUMNS = Columns(
    **{"user": "who", "item": "what", "rating": "stars", "time": "on", "review": "text"},
    **{"item_id": "id", "title": "name", "price": "cost", "categories": "tags"},
)


def config(path: Path, items: Path | str = "", columns: Columns = COLUMNS, **values: Any) -> DataConfig:
    return DataConfig(source="tables", path=str(path), items=str(items), columns=columns, **values)


def write(path: Path, data: dict[str, list[Any]]) -> Path:
    frame = pl.DataFrame(data)
    flat = frame.with_columns(pl.col(pl.List(pl.String)).list.join("|"))
    kind = path.name.split(".", 1)[1]
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind.startswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()), encoding="utf-8")
    else:
        text = flat.write_csv(separator="\t" if kind == "tsv" else ",")
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


def same(one: Corpus, other: Corpus) -> bool:
    names = ("interactions", "items", "reviews")
    return one.notes == other.notes and all(getattr(one, name).equals(getattr(other, name)) for name in names)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl", "parquet"])
def test_every_format_reads_the_same(tmp_path: Path, kind: str) -> None:
    made = read(config(write(tmp_path / f"r.{kind}", ROWS), write(tmp_path / f"i.{kind}", ITEMS)), "t")
    assert made.interactions.rows() == [(0, "1", "a", 4.0, True, 1441324800), (1, "2", "b", 2.5, False, 1441411200)]
    assert made.items.rows() == [("a", "Lamp", "", 9.5, ["x", "y"], ""), ("b", "Mug, blue", "", None, [], "")]
    assert made.reviews.rows() == [(1, "", "x")]
    assert made.notes == ()


def test_parquet_ids_and_times_of_any_type(tmp_path: Path) -> None:
    stamps = [datetime(2015, 9, 4, 12, tzinfo=UTC), datetime(2015, 9, 5, tzinfo=UTC)]
    typed = {**ROWS, "who": [1.0, 2.0], "what": [7, 8]}
    made = [
        read(config(write(tmp_path / f"{n}.parquet", {**typed, "on": times})), "t")
        for n, times in enumerate([stamps, [date(2015, 9, 4), date(2015, 9, 5)], [1441324800, 1441411200]])
    ]
    assert [corpus.interactions["time"][0] for corpus in made] == [1441368000, 1441324800, 1441324800]
    assert made[0].interactions.select("user", "item").rows() == [("1", "7"), ("2", "8")]


def test_without_rating_time_and_items(tmp_path: Path) -> None:
    columns = Columns(user="who", item="what", rating="")
    made = read(config(write(tmp_path / "r.csv", ROWS), columns=columns), "t")
    assert made.interactions.rows() == [(0, "1", "a", None, True, None), (1, "2", "b", None, True, None)]
    assert len(made.notes) == 3


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_column_is_named_with_its_nearest(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"r.{kind}", ROWS)
    columns = COLUMNS.model_copy(update={"rating": "star"})
    expected = rf"r\.{kind}: there is no column 'star' \(data\.columns\.rating\); nearest: stars\n  hint: Set rating"
    with pytest.raises(DataError, match=expected):
        read(config(path, columns=columns), "t")
    with pytest.raises(DataError, match="found: who, what, stars, on, text"):
        read(config(path, columns=COLUMNS.model_copy(update={"user": "zzzz"})), "t")


def test_one_file_may_be_both_tables_and_two_may_share_a_name(tmp_path: Path) -> None:
    columns = Columns(user="who", item="what", rating="stars", item_id="what", title="text")
    path = write(tmp_path / "r.csv", ROWS)
    assert read(config(path, path, columns), "t").items["title"].to_list() == ["a", "x"]
    (tmp_path / "items").mkdir()
    other = write(tmp_path / "items" / "r.csv", ITEMS)
    assert list(files(config(path, other))) == ["r.csv", "items/r.csv"]
    assert read(config(path, other), "t").items["title"].to_list() == ["Lamp", "Mug, blue"]


def test_the_line_of_a_bad_row(tmp_path: Path) -> None:
    rows = {**ROWS, "stars": [4.0, 7.0]}
    for kind, line in (("csv", 3), ("jsonl", 2), ("parquet", 2)):
        with pytest.raises(DataError, match=rf"r\.{kind}:{line}: rating: \"7(\.0)?\" is outside data\.scale"):
            read(config(write(tmp_path / f"r.{kind}", rows)), "t")


def test_all_formats_equal_each_other(tmp_path: Path) -> None:
    made = [read(config(write(tmp_path / f"r.{kind}", ROWS)), "t") for kind in ("csv", "jsonl", "parquet")]
    assert same(made[0], made[1])
    assert same(made[0], made[2])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_or_damaged_parquet_file_is_an_input_error(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "r.parquet", {name: values * 200 for name, values in ROWS.items()})
    whole = path.read_bytes()
    at = int(len(whole) * keep)
    path.write_bytes(whole[:at])
    with pytest.raises(DataError, match=r"r\.parquet: cannot be read as Parquet"):
        read(config(path), "t")


def test_parquet_text_that_is_not_utf8_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    frame = pl.DataFrame({**ROWS, "text": ["a plain text that is long enough", "x"]})
    frame.write_parquet(path, compression="uncompressed", statistics=False)
    path.write_bytes(path.read_bytes().replace(b"a plain text", b"a pl\xff\xffn text"))
    with pytest.raises(DataError, match=r"r\.parquet: cannot be read as Parquet: .*UTF8"):
        read(config(path), "t")
