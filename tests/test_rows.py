from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoningrec import records
from reasoningrec.errors import NotInRunError, RunError
from reasoningrec.rows import (
    from_row,
    read_json,
    read_jsonl,
    read_records,
    replacing,
    to_row,
    write_json,
    write_jsonl,
    write_records,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TIME = st.none() | st.integers(-(2**40), 2**40)
REACTIONS = st.builds(records.Reaction, TEXT, st.booleans(), st.none() | NUMBER, TIME)
QUERIES = st.builds(records.Query, TEXT, TEXT, TEXT, TIME, st.lists(REACTIONS, max_size=3).map(tuple))
VALUES = st.dictionaries(TEXT, TEXT | st.integers() | NUMBER | st.booleans() | st.none(), max_size=3)
FACTS = st.builds(records.Fact, TEXT, TEXT, TEXT, NUMBER, VALUES, st.booleans())
EVIDENCE = st.builds(
    records.Evidence, TEXT, st.lists(FACTS, max_size=3).map(tuple), st.dictionaries(TEXT, NUMBER, max_size=3)
)
ITEMS = st.builds(records.Item, TEXT, TEXT, TEXT, st.none() | NUMBER, st.lists(TEXT, max_size=3).map(tuple))
ANY_RECORD = st.one_of(
    QUERIES,
    st.builds(records.Example, QUERIES, st.booleans(), st.sampled_from(["train", "valid", "test"])),
    EVIDENCE,
    st.builds(
        records.Case,
        QUERIES,
        ITEMS,
        st.dictionaries(TEXT, ITEMS, max_size=2),
        EVIDENCE,
        TEXT,
        TEXT,
    ),
    st.builds(records.Verdict, TEXT, st.lists(TEXT, max_size=2).map(tuple)),
    st.builds(records.Prediction, TEXT, TEXT, TEXT, TEXT, st.none() | NUMBER),
)


@given(ANY_RECORD)
def test_every_record_comes_back_equal_through_json_text(record: object) -> None:
    back = from_row(type(record), json.loads(json.dumps(to_row(record), allow_nan=False)))
    assert back == record


@given(VALUES)
def test_the_types_of_a_facts_values_survive(values: dict[str, Any]) -> None:
    fact = records.Fact("C1", "kind", "text", 0.5, values)
    back = from_row(records.Fact, json.loads(json.dumps(to_row(fact))))
    assert {name: type(value) for name, value in back.values.items()} == {n: type(v) for n, v in values.items()}


def test_defaults_stand_in_for_fields_a_row_lacks() -> None:
    assert from_row(records.Item, {"id": "a", "title": "A"}) == records.Item("a", "A")


def test_a_whole_number_is_a_number_but_a_truth_value_is_not() -> None:
    row = to_row(records.Prediction("q", "u", "i", "m", 0.5))
    probability = from_row(records.Prediction, row | {"probability": 1}).probability
    assert isinstance(probability, float)
    with pytest.raises(RunError, match=r"Prediction\.probability"):
        from_row(records.Prediction, row | {"probability": True})


@pytest.mark.parametrize(
    ("cls", "row", "message"),
    [
        (records.Item, {"id": "a"}, r"^Item\.title: is missing"),
        (records.Item, {"id": "a", "title": "A", "colour": "red"}, r"^Item\.colour: is not a field"),
        (records.Item, {"id": 7, "title": "A"}, r"^Item\.id: expected text, got 7"),
        (
            records.Item,
            {"id": "a", "title": "A", "categories": ["x", 3]},
            r"^Item\.categories\.1: expected text, got 3",
        ),
        (records.Item, {"id": "a", "title": "A", "categories": "x"}, r"^Item\.categories: expected a list"),
        (records.Item, ["a"], r"^Item: expected an object"),
        (
            records.Query,
            {"id": "q", "user": "u", "item": "i", "time": None, "history": [{"item": "h", "liked": "yes"}]},
            r"^Query\.history\.0\.liked: expected true or false, got 'yes'",
        ),
        (
            records.Recommendation,
            {
                "user": "u",
                "item": "i",
                "title": "t",
                "prediction": "Perhaps",
                "probability": 0.5,
                "student_probability": 0.5,
                "explanation": "",
                "citations": [],
                "evidence": {},
            },
            r"^Recommendation\.prediction: expected 'Yes' or 'No'",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_field(cls: type, row: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        from_row(cls, row)


@dataclass(frozen=True)
class Span:
    ends: tuple[int, float]
    unit: Literal["s", "m"] = "s"


def test_tuples_of_fixed_length_are_checked_by_length() -> None:
    assert from_row(Span, to_row(Span((1, 2.5), "m"))) == Span((1, 2.5), "m")
    with pytest.raises(RunError, match=r"Span\.ends: expected a list of 2"):
        from_row(Span, {"ends": [1, 2.5, 3]})


def test_what_json_cannot_hold_is_not_stored() -> None:
    with pytest.raises(TypeError, match="cannot be stored"):
        to_row(Span({1, 2}))  # type: ignore[arg-type]


def test_write_json_sorts_keys_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": [1, 2.5, None], "a": "é\ud800"})
    assert path.read_text("utf-8").index('"a"') < path.read_text("utf-8").index('"b"')
    assert read_json(path) == {"b": [1, 2.5, None], "a": "é\ud800"}


def test_nan_is_never_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"x": 1}])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(path, [{"x": 2}, {"x": math.nan}])
    assert read_jsonl(path) == [{"x": 1}]
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_replacing_keeps_the_suffix_and_the_old_content_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            assert temporary.suffix == ".png"
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_line_separators_inside_a_text_do_not_part_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "a\u2028b\u0085c\r\nd"}, {"text": ""}]
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"a\.jsonl:2: is not JSON"),
        (b'{"a": 1}\n{"a": 2}', r"a\.jsonl:2: the last line is cut short"),
        (b'{"a": 1}\n[2]\n', r"a\.jsonl:2: is not a JSON object"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"a\.jsonl:2: is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_jsonl(path)


def test_damaged_json_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(NotInRunError, match="no such file"):
        read_json(path)
    path.write_text('{\n"a": 1,\n')
    with pytest.raises(RunError, match=r"a\.json:3"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"a\.json:1: is nested too deeply"):
        read_json(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path)


def test_records_files_name_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "verify.jsonl"
    verdicts = [records.Verdict("a"), records.Verdict("b", ("length",))]
    write_records(path, verdicts)
    assert read_records(records.Verdict, path) == verdicts
    write_jsonl(path, [to_row(verdicts[0]), {"query_id": 3}])
    with pytest.raises(RunError, match=r"verify\.jsonl:2: Verdict\.query_id: expected text, got 3"):
        read_records(records.Verdict, path)
