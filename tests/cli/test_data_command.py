"""`reasoningrec data check`: what it prints on a configuration, a folder, a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from running import Cli

CSV = "user,item,rating,time\n" + "".join(
    f"u{n},i{m},{1 + (n * m) % 5},{1_600_000_000 + 86_400 * m}\n" for n in range(8) for m in range(5)
)


def test_a_configuration_is_checked(cli: Cli, small_config: Path) -> None:
    shown = cli("data", "check", small_config)
    assert shown.code == 0
    for word in ("demo (source: demo)", "found", "odd", "would happen", "users", "twins", "cold test target"):
        assert word in shown.out


def test_a_bare_file_is_recognised(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(CSV, "utf-8")
    shown = cli("data", "check", tmp_path / "shop.csv", "--history", 2)
    assert shown.code == 0
    assert "shop (source: tables)" in shown.out
    assert "test histories shorter than 2" in shown.out
    assert "2020-09-13 to 2020-09-17 (UTC)" in shown.out


@pytest.mark.parametrize("name", ["a.CSV", "a.tab", "a.csv.gz", "a.csv"])
def test_a_bare_file_is_read_whatever_its_name_and_header_look_like(cli: Cli, tmp_path: Path, name: str) -> None:
    text = "   \n" + CSV.replace("user,item,rating,time", "user, item, rating, time")
    text = text.replace(",", "\t") if name.endswith(".tab") else text
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    shown = cli("data", "check", path)
    assert shown.code == 0, shown.err
    assert "2020-09-13 to 2020-09-17 (UTC)" in shown.out


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.ndjson"])
def test_bare_json_lines_are_recognised_by_their_keys(cli: Cli, tmp_path: Path, name: str) -> None:
    keys, *rows = (line.split(",") for line in CSV.splitlines())
    text = "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    shown = cli("data", "check", path)
    assert shown.code == 0, shown.err
    assert "2020-09-13 to 2020-09-17 (UTC)" in shown.out


@pytest.mark.parametrize("text", ["[1, 2]\n", "7\n", '{"who": 1}\n', "{\n", ""])
def test_other_json_is_told_apart(cli: Cli, tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text, "utf-8")
    shown = cli("data", "check", path)
    assert shown.code == 2
    assert shown.err.startswith("error: ")
    assert "a.jsonl" in shown.err


def test_a_column_that_is_there_twice_is_told(cli: Cli, tmp_path: Path) -> None:
    columns = [pa.array(["u"]), pa.array(["a"]), pa.array([5.0]), pa.array(["v"])]
    parquet.write_table(pa.Table.from_arrays(columns, names=["user", "item", "rating", "user"]), tmp_path / "d.parquet")
    shown = cli("data", "check", tmp_path / "d.parquet")
    assert shown.code == 2
    assert "d.parquet: the column 'user' is there twice" in shown.err


def test_a_number_beyond_all_counting_is_a_bad_row(cli: Cli, tmp_path: Path) -> None:
    rows = {"user": ["u"] * 4, "item": list("abcd"), "rating": [1e300, 5.0, 4.0, 3.0]}
    parquet.write_table(pa.table(rows), tmp_path / "huge.parquet")
    assert cli("data", "check", tmp_path / "huge.parquet", "--skip-bad-rows").code == 0
    assert cli("data", "check", tmp_path / "huge.parquet", "--history", 101).code == 2


def test_bad_rows_can_be_left_out(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(CSV + "u1,i9,many,5\n", "utf-8")
    assert cli("data", "check", path).code == 2
    shown = cli("data", "check", path, "--skip-bad-rows")
    assert shown.code == 0
    assert "shop.csv:42" in shown.out


def test_it_changes_nothing(cli: Cli, small_config: Path) -> None:
    before = sorted(small_config.parent.rglob("*"))
    cli("data", "check", small_config)
    assert sorted(small_config.parent.rglob("*")) == before
