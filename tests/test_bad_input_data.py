"""Bad data of every kind: one clear message that names file, line and field, never a traceback."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reasoningrec.config import DataConfig
from reasoningrec.data.load import load
from reasoningrec.data.movielens import GENRES
from reasoningrec.errors import InputError

CSV = "user,item,rating\nu,i,4\n"
REVIEW = '{"reviewerID": "A", "asin": "B", "overall": 5.0, "unixReviewTime": 1441324800}\n'
MOVIE = "|".join(["1", "T", "", "", "", *["0"] * len(GENRES)]) + "\n"
U_DATA = {"u.data": "7\t1\t5\t100\n", "u.item": MOVIE}
WINDOWS = "user,history_item_id,history_rating,item_id,rating\n"
RELEASE = {
    "ratings.csv": "item,user,rating,timestamp\n1,u,5,10\n",
    "processed_item_information.json": '{"1": {"title": "T"}}',
}
MOVIES = {
    "movies.csv": "movie_id,name,cleaned_genre,year\n1,T,Drama,1995\n",
    **{f"ctr/{role}.csv": WINDOWS for role in ("train", "valid", "test")},
}

OTHER_HEADER = {"ratings.csv": "uid,movieId,rating,timestamp\n", "movies.csv": "movieId,title\n"}
ITEMS = "processed_item_information.json"


@dataclass(frozen=True)
class Bad:
    """Files to write, how they are configured, and what the message must say."""

    what: str
    source: str
    files: dict[str, str | bytes]
    says: str
    path: str = ""
    items: str = ""
    options: tuple[tuple[str, Any], ...] = ()


def table(what: str, text: str | bytes, says: str, *, name: str = "r.csv", **columns: str) -> Bad:
    return Bad(what, "tables", {name: text}, says, path=name, options=(("columns", columns),))


def amazon(what: str, text: str | bytes, says: str, *, name: str = "r.json", meta: str = "") -> Bad:
    files: dict[str, str | bytes] = {name: text, **({"meta.json": meta} if meta else {})}
    return Bad(what, "amazon", files, says, path=name, items="meta.json" if meta else "")


def movielens(what: str, says: str, **files: str | bytes) -> Bad:
    changed = {name.replace("_", "."): text for name, text in files.items()}
    return Bad(what, "movielens", {**U_DATA, **changed}, says)


def release(what: str, says: str, files: dict[str, str | bytes]) -> Bad:
    return Bad(what, "release", {**RELEASE, **files}, says)


def windows(what: str, row: str, says: str) -> Bad:
    return Bad(what, "release", {**MOVIES, "ctr/train.csv": WINDOWS + row}, says)


KINDS = [
    Bad("path that is not there", "tables", {}, r"gone\.csv: no such file or folder \(data\.path\)", path="gone.csv"),
    Bad(
        "items that are not there", "tables", {"r.csv": CSV}, r"no\.csv: no such file .*data\.items", "r.csv", "no.csv"
    ),
    Bad("folder where a file is needed", "tables", {"r.csv": CSV}, "is a folder; name one file"),
    table("unknown suffix", CSV, r"r\.xlsx: has the suffix '\.xlsx'", name="r.xlsx"),
    table("empty file", "", r"r\.csv: is empty"),
    table("header only", "user,item,rating\n", "holds no interactions"),
    table("column twice", "user,item,user\n", r"r\.csv:1: the header names the column 'user' twice"),
    table("column missing", CSV, r"r\.csv: there is no column 'ratings' .*nearest: rating", rating="ratings"),
    table("no user column", CSV, r'data\.columns\.user: may not be ""', user=""),
    table("too few fields", CSV + "u,i\n", r"r\.csv:3: row: has 2 fields where 3 are expected"),
    table("too many fields", CSV + "u,i,4,5\n", r"r\.csv:3: row: has 4 fields where 3 are expected"),
    table("open quote", CSV + '"u,i,4\n', r"r\.csv:3: row: opens a quote and never closes it"),
    table("broken quotes", CSV + '"u"x,i,4\n', r"r\.csv:3: row: has broken quotes"),
    table("Latin-1", CSV.encode() + b"\xe9,i,4\n", r"r\.csv:3: byte 23 \(0xe9\) is not valid utf-8"),
    table("UTF-16", CSV.encode("utf-16"), r"(?s)r\.csv:1: byte 0 .*looks like UTF-16"),
    table("no user", CSV + ",i,4\n", r"r\.csv:3: user: is empty"),
    table("no item", CSV + "u, ,4\n", r"r\.csv:3: item: is empty"),
    table("no rating", CSV + "u,i,\n", r"r\.csv:3: rating: is empty"),
    table("rating in words", CSV + "u,i,good\n", r'r\.csv:3: rating: "good" is no number'),
    table("rating off the scale", CSV + "u,i,10\n", r'r\.csv:3: rating: "10" is outside data\.scale \(1 to 5\)'),
    table("rating NaN", CSV + "u,i,nan\n", r'r\.csv:3: rating: "nan" is outside'),
    table("no time", "user,item,rating,t\nu,i,4,\n", r"r\.csv:2: time: is empty", time="t"),
    table("time in words", "user,item,rating,t\nu,i,4,now\n", r'r\.csv:2: time: "now" is neither', time="t"),
    table("no such day", "user,item,rating,t\nu,i,4,2021-02-29\n", r"r\.csv:2: time: .* is neither", time="t"),
    table("time before 1970", "user,item,rating,t\nu,i,4,-1\n", r'r\.csv:2: time: "-1" is before 1970', time="t"),
    table("time far ahead", "user,item,rating,t\nu,i,4,9e10\n", r'r\.csv:2: time: "9e10" is after 2099', time="t"),
    table("no Parquet", "PAR1, or so it says", r"r\.parquet: cannot be read as Parquet", name="r.parquet"),
    table("broken JSON", '{"user": "u"\n', r"r\.jsonl:1: row: is not valid JSON", name="r.jsonl"),
    table("JSON array", '[{"user": "u"}]\n', r"r\.jsonl:1: row: is not a JSON object", name="r.jsonl"),
    Bad(
        "items row without id",
        "tables",
        {"r.csv": CSV, "i.csv": "item,title\n,T\n"},
        r"i\.csv:2: item: is empty",
        "r.csv",
        "i.csv",
    ),
    amazon("no review keys", '{"asin": "B", "title": "T"}\n', r"r\.json: is no Amazon review file.*found: asin, title"),
    amazon("review without item", REVIEW + REVIEW.replace('"B"', "null"), r"r\.json:2: item: is empty"),
    amazon("rating true", REVIEW.replace("5.0", "true"), r'r\.json:1: rating: "true" is no number'),
    amazon("cut .gz", gzip.compress(REVIEW.encode())[:-9], r"r\.json\.gz: cannot be read", name="r.json.gz"),
    amazon("no .gz at all", REVIEW, r"r\.json\.gz: cannot be read", name="r.json.gz"),
    amazon("metadata of another kind", REVIEW, r"meta\.json: is no Amazon metadata file", meta='{"id": "B"}\n'),
    Bad(
        "reviews as metadata",
        "amazon",
        {"r.json": REVIEW},
        "data.items names the review file itself",
        "r.json",
        "r.json",
    ),
    Bad("folder without reviews", "amazon", {"notes.txt": "x"}, "holds no review file"),
    Bad(
        "folder of something else", "movielens", {"notes.txt": "x"}, r"is no MovieLens folder: it holds none of u\.data"
    ),
    Bad("no movies", "movielens", {"u.data": "7\t1\t5\t100\n"}, r"u\.item: no such file"),
    movielens("spaces for tabs", r"u\.data:1: row: has 1 field where 4 are expected", u_data="7 1 5 100\n"),
    movielens("short movie", r"u\.item:2: row: has 2 fields where 24 are expected", u_item=MOVIE + "2|T\n"),
    Bad("other header", "movielens", OTHER_HEADER, r"ratings\.csv:1: the column 'userId' is missing"),
    Bad("folder of no release", "release", {"notes.txt": "x"}, r"is no folder of the paper's release"),
    release(
        "ratings without times",
        r"ratings\.csv:1: the column 'timestamp' is missing",
        {"ratings.csv": "item,user,rating\n"},
    ),
    release("broken items", r"information\.json:2: is not valid JSON", {ITEMS: '{"1":\n x}'}),
    release("items nested too deeply", r"information\.json: is nested too deeply", {ITEMS: "[" * 100_000}),
    release("items as a list", r"information\.json: is not a JSON object", {ITEMS: "[]"}),
    release("title that is no text", r"item 1: title: is no text", {ITEMS: '{"1": {"title": 3}}'}),
    release("windows missing", r"ctr/valid\.csv: no such file", {"ctr/train.csv": WINDOWS}),
    windows(
        "history that is no list", "u,1 2,[1],3,1\n", r'ctr/train\.csv:2: history_item_id: "1 2" is not a list of ids'
    ),
    windows(
        "history of other labels", "u,[1],[5],3,1\n", r'ctr/train\.csv:2: history_rating: "\[5\]" is not a list of 0'
    ),
    windows("label in stars", "u,[1],[1],3,5\n", r'ctr/train\.csv:2: rating: "5" is neither 0 nor 1'),
    windows(
        "labels too few", 'u,"[1, 2]",[1],3,1\n', r"ctr/train\.csv:2: history_rating: has 1 labels for 2 history items"
    ),
    windows("user twice", "u,[1],[1],3,1\nu,[1],[1],3,1\n", r"ctr/train\.csv:3: user: stands twice"),
    windows("no windows", "", "holds no interactions"),
]


def config_of(bad: Bad, folder: Path) -> DataConfig:
    for name, content in bad.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    values = {"source": bad.source, "path": str(folder / bad.path), **dict(bad.options)}
    return DataConfig.model_validate({**values, "items": str(folder / bad.items) if bad.items else ""})


@pytest.mark.parametrize("bad", KINDS, ids=lambda bad: bad.what)
def test_bad_data_is_one_clear_message(tmp_path: Path, bad: Bad) -> None:
    with pytest.raises(InputError) as caught:
        load(config_of(bad, tmp_path), "x")
    message = str(caught.value)
    assert re.search(bad.says, message), message
    assert caught.value.exit_code == 2
    assert caught.value.__cause__ is None
    assert "Traceback" not in message
    assert len(message) < 600


ROW = re.compile(r":\d+: (row|user|item|rating|time|history_\w+):")


@pytest.mark.parametrize("bad", [bad for bad in KINDS if ROW.search(bad.says)], ids=lambda bad: bad.what)
def test_bad_rows_can_be_skipped_or_leave_nothing(tmp_path: Path, bad: Bad) -> None:
    config = config_of(bad, tmp_path).model_copy(update={"on_bad_rows": "skip"})
    try:
        made = load(config, "x")
    except InputError as error:
        assert "holds no interactions" in str(error)  # noqa: PT017
    else:
        assert len(made.bad_rows) == 1
        assert re.search(bad.says, str(made.bad_rows[0]))


def test_a_hundred_bad_rows_are_ten_lines_and_a_number(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "u,i,9\n" * 60 + "u\n" * 40, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(DataConfig(source="tables", path=str(tmp_path / "r.csv")), "x")
    message = str(caught.value)
    assert message.startswith("100 bad rows:\n  r.csv:2: rating")
    assert "\n  and 90 more\n" in message


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
@pytest.mark.parametrize("content", [b"\x00" * 50, b"\xff" * 50, b"\n\n\n", b'"', b"{}\n{}\n", b"a,b\n\x00,\x00\n"])
def test_rubbish_of_any_kind_is_an_input_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        load(DataConfig(source="tables", path=str(tmp_path / name)), "x")


def test_there_are_many_kinds() -> None:
    names = [bad.what for bad in KINDS]
    assert len(set(names)) == len(names) >= 40
