"""Delimited text and JSON lines: whatever the way they are read, the same rows and the right lines."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasoningrec.data import files
from reasoningrec.data.files import LINE, Dialect, cell, delimited, json_lines, named
from reasoningrec.errors import DataError

CELLS = st.text(st.characters(blacklist_characters='",\r\n', blacklist_categories=("Cs",)), min_size=1, max_size=6)
slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(table: files.Table) -> list[tuple[object, ...]]:
    return table.rows.rows()


@slow
@given(st.lists(st.tuples(CELLS, CELLS).filter(lambda row: any(value.strip() for value in row)), max_size=8))
def test_quotes_change_nothing(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    plain, quoted = tmp_path / "plain.csv", tmp_path / "quoted.csv"
    plain.write_bytes("\n".join(["a,b", *map(",".join, cells)]).encode())
    with quoted.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *cells])
    assert rows(delimited(plain, "f")) == rows(delimited(quoted, "f"))
    assert rows(delimited(plain, "f")) == [(line, *row) for line, row in enumerate(cells, 2)]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_lines_are_the_same_for_every_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", size)
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffa,b\r\n\r\né,2\r\nonly\r\nü,4".encode())
    table = delimited(path, "a.csv")
    assert table.rows.columns == [LINE, "a", "b"]
    assert rows(table) == [(3, "é", "2"), (5, "ü", "4")]
    assert [str(bad) for bad in table.bad] == ["a.csv:4: row: has 1 field where 2 are expected"]


def test_quoted_fields_may_hold_line_breaks_and_keep_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"x\ny",1\n"z, ""q""",2\nw,3,4\n', encoding="utf-8")
    table = delimited(path, "a.csv")
    assert rows(table) == [(2, "x\ny", "1"), (4, 'z, "q"', "2")]
    assert [bad.line for bad in table.bad] == [5]


def test_an_open_quote_is_reported_where_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\nx,1\n"y,2\nz,3\n', encoding="utf-8")
    assert [str(bad) for bad in delimited(path, "a.csv").bad] == ["a.csv:3: row: opens a quote and never closes it"]


def test_gz_is_unpacked_and_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    packed = gzip.compress(b"a,b\n1,2\n" * 500)
    path.write_bytes(packed)
    assert delimited(path, "f").rows.height == 999
    path.write_bytes(packed[:-12])
    with pytest.raises(DataError, match=r"a\.csv\.gz: cannot be read"):
        delimited(path, "a.csv.gz")


def test_names_stand_in_for_a_header_and_quotes_can_be_off(tmp_path: Path) -> None:
    path = tmp_path / "u.item"
    path.write_bytes('1::"Mémé" (1995)\n'.encode("latin-1"))
    table = delimited(path, "u.item", Dialect("::", ("item", "title"), quotes=False, encoding="latin-1"))
    assert rows(table) == [(1, "1", '"Mémé" (1995)')]


def test_wrong_bytes_are_named_with_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 4)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n\xe9,3\n")
    with pytest.raises(DataError, match=r"a\.csv:3: byte 8 \(0xe9\) is not valid utf-8"):
        delimited(path, "a.csv")


def test_json_lines_keep_lines_and_collect_what_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n[1]\n{"a": \n{"a": "\\ud83d"}\n' + "[" * 5000 + "\n", encoding="utf-8")
    table = json_lines(path, "a.jsonl", {"a": pl.String()}, lambda row: (cell(row.get("a")),))
    assert rows(table) == [(1, "1"), (5, "\ufffd")]
    assert [bad.line for bad in table.bad] == [3, 4, 6]
    assert table.bad[0].problem == "is not a JSON object, as each line must be"


@given(st.one_of(st.none(), st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_a_cell_is_the_text_of_its_value(value: object) -> None:
    text = cell(value)
    if value is None or isinstance(value, str):
        assert text == value
    else:
        assert text is not None
        assert json.loads(text) == value


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "x" / "a.csv", tmp_path / "y" / "a.csv"
    assert named(one, two) == {"a.csv": one, "y/a.csv": two}
    assert named(one, one) == {"a.csv": one}
