"""Amazon reviews of both years, with and without metadata, and the facts of the real Fashion 5-core."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from reasoningrec.config import DataConfig
from reasoningrec.data.amazon import files, read

OLD = {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1441324800, "verified": True}
OLD_META = {
    **{"asin": "B1", "title": "Men&#39;s &amp; Boys Cap", "brand": "Acme", "price": "$10.00 - $20.00"},
    **{"category": ["Clothing, Shoes &amp; Jewelry", "Caps"], "description": ["Warm."], "feature": ["Wool"]},
}
NEW = {"user_id": "U1", "parent_asin": "P1", "asin": "B7", "rating": 2.0, "timestamp": 1588687728923, "text": "Bad"}
NEW_META = {
    **{"parent_asin": "P1", "title": "Cap", "store": "Acme", "price": 12.5, "categories": [["Caps"]]},
    **{"features": ["Wool"], "description": [], "details": {"Size:": "L"}},
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def config(path: str, items: str = "") -> DataConfig:
    return DataConfig(source="amazon", path=path, items=items)


def test_2018_without_metadata_is_titled_by_id_and_style(tmp_path: Path) -> None:
    style = {"Size:": " Big Boys", "Color:": " Blue/Orange"}
    rows = (
        {**OLD, "reviewText": "It&#34;s fine<br />really", "summary": "Five &amp; more"},
        {**OLD, "reviewerID": "A2", "style": style},
        {**OLD, "reviewerID": "A3", "style": {"Size:": " L"}},
        {**OLD, "reviewerID": "A3", "asin": "B2"},
    )
    made = read(config(write(tmp_path / "r.json", *rows)), "a")
    assert made.items.select("item", "title").rows() == [
        ("B1", "B1 (Size: Big Boys, Color: Blue/Orange)"),
        ("B2", "B2"),
    ]
    assert made.interactions.rows()[0] == (0, "A1", "B1", 5.0, True, 1441324800)
    assert made.reviews.rows() == [(0, "Five & more", 'It"s fine really')]
    assert "there is no metadata file" in made.notes[0]


def test_2018_metadata(tmp_path: Path) -> None:
    rows = (OLD, {**OLD, "asin": "B2", "style": {"Size:": " L"}}, {**OLD, "asin": "B3"})
    unreviewed = {**OLD_META, "asin": "B9"}
    items = write(tmp_path / "meta.json.gz", OLD_META, {"asin": "B3", "title": ""}, unreviewed)
    made = read(config(write(tmp_path / "r.json.gz", *rows), items), "a")
    assert made.items.rows() == [
        ("B1", "Men's & Boys Cap", "Acme", 15.0, ["Clothing, Shoes & Jewelry", "Caps"], "Warm. Wool"),
        ("B2", "B2 (Size: L)", "", None, [], ""),
        ("B3", "B3", "", None, [], ""),
    ]
    assert "items that the metadata file lacks, titled by id and style: 1" in made.notes


def test_2023_takes_the_parent_and_milliseconds(tmp_path: Path) -> None:
    reviews = write(tmp_path / "r.jsonl", NEW, {**NEW, "parent_asin": None, "title": "T"})
    made = read(config(reviews, write(tmp_path / "meta.jsonl", NEW_META)), "a")
    assert made.interactions.select("user", "item", "rating", "time").rows() == [
        ("U1", "P1", 2.0, 1588687728),
        ("U1", "B7", 2.0, 1588687728),
    ]
    assert made.items.filter(item="P1").rows() == [("P1", "Cap", "Acme", 12.5, ["Caps"], "Wool Size: L")]
    assert made.reviews.rows() == [(0, "", "Bad"), (1, "T", "Bad")]


def test_a_folder_is_read_in_the_order_of_names_without_its_metadata(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {**OLD, "reviewerID": "second"})
    write(tmp_path / "a.json.gz", {**OLD, "reviewerID": "first"})
    write(tmp_path / "meta_x.jsonl", OLD_META)
    (tmp_path / "README").write_text("not data", encoding="utf-8")
    made = read(config(str(tmp_path)), "a")
    assert made.interactions["user"].to_list() == ["first", "second"]
    assert list(files(config(str(tmp_path), str(tmp_path / "meta_x.jsonl")))) == [
        "a.json.gz",
        "b.jsonl",
        "meta_x.jsonl",
    ]


def test_the_real_fashion_5_core(data_root: Path) -> None:
    made = read(config(str(data_root / "amazon-2018" / "AMAZON_FASHION_5.json")), "f5")
    assert made.interactions.height == 3176 - 88
    assert "exact repeats of a row (same user, item, time, rating, text), dropped but for the first: 88" in made.notes
    assert made.interactions["user"].n_unique() == 406
    assert made.items.height == 31
    assert made.items["title"][0] == "B000K2PJ4K (Size: Big Boys, Color: Blue/Orange)"
    assert made.reviews.height == 3088
