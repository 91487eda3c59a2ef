"""Amazon reviews, 2018 and 2023 (https://amazon-reviews-2023.github.io/), JSON lines, plain or .gz.

2018 keys: reviewerID, asin, overall, reviewText, summary, unixReviewTime, style. 2023 keys: user_id, parent_asin (else
asin), rating, text, title, timestamp in milliseconds. `data.path` is the review file, or a folder of them (files whose
name starts with "meta" are left out). `data.items` is the metadata file, of either year; without it a title is the
item's id and the style of its first row that has one, as in "B000K2PJ4K (Size: Big Boys, Color: Blue/Orange)".
HTML entities in item texts and reviews are unescaped, and `<br />` in reviews becomes a space.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.files import LINE, Schema, Table, cell, json_lines, named, require
from reasoningrec.data.intake import Raw, corpus, unescape
from reasoningrec.errors import DataError

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
KEYS_2018 = ("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText")
KEYS_2023 = ("user_id", "rating", "timestamp", "title", "text")
TEXT = pl.String()
REVIEW: Schema = dict.fromkeys(("user", "item", "rating", "time", "summary", "text", "style"), TEXT)
ITEM: Schema = {
    **dict.fromkeys(("item", "title", "brand", "price", "details"), TEXT),
    "categories": pl.List(pl.String()),
}


def files(config: DataConfig) -> dict[str, Path]:
    """The files that are read, by the name messages give them. Raises DataError if there are none."""
    path = require(Path(config.path), "the review file or folder")
    found = [path]
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.name.endswith(SUFFIXES) and file.name[:4] != "meta"]
        found = [file for file in found if file != Path(config.items)]
    if not found:
        raise DataError(f"{path}: holds no review file ({', '.join(SUFFIXES)})")
    if not config.items:
        return named(*found)
    items = require(Path(config.items), "the metadata file of data.items")
    if items in found:
        raise DataError(f"{items}: data.items names the review file itself", hint='Without metadata, set items = "".')
    return named(*found, items)


def read(config: DataConfig, name: str) -> Corpus:
    """Read Amazon reviews and their metadata. Raises DataError: no such files, another format, or bad rows."""
    names = {path: name for name, path in files(config).items()}
    items = names.pop(Path(config.items), "") if config.items else ""
    reviews = [_reviews(path, file) for path, file in names.items()]
    titles = _style_titles(reviews)
    notes: list[str] = []
    if items:
        table = _metadata(Path(config.items), items, titles, notes)
    else:
        table = Table("", titles.with_columns(pl.lit(0, pl.Int64).alias(LINE)))
        notes.append(
            "there is no metadata file: an item's title is its id, with the style of its first row if it has one"
        )
    tables = tuple(Table(table.file, table.rows.drop("style"), table.bad) for table in reviews)
    return corpus(config, name, Raw(tables, table, tuple(notes)))


def _reviews(path: Path, file: str) -> Table:
    found: set[str] = set()

    def pick(row: dict[str, Any]) -> tuple[Any, ...]:
        if not found:
            found.update(row)
        if "reviewerID" in row:
            return (*(cell(row.get(key)) for key in KEYS_2018), _style(row.get("style")))
        user, *known = (cell(row.get(key)) for key in KEYS_2023)
        return user, cell(row.get("parent_asin") or row.get("asin")), *known, None

    table = json_lines(path, file, REVIEW, pick)
    rows = table.rows
    if len(rows) and rows["user"].null_count() == len(rows):
        raise DataError(
            f"{file}: is no Amazon review file: it has neither the key reviewerID (2018) nor user_id (2023); "
            f"found: {', '.join(sorted(found)[:12])}",
            hint="Metadata belong in data.items; of other tables say which column is what (`reasoningrec init`).",
        )
    plain = [unescape(rows[column]).str.replace_all(r"<br\s*/?>", " ") for column in ("summary", "text")]
    return Table(file, rows.with_columns(plain), table.bad)


def _style(value: Any) -> str | None:
    """{"Size:": " Big Boys"} -> "Size: Big Boys"."""
    if not isinstance(value, dict) or not value:
        return None
    return ", ".join(f"{str(key).strip().rstrip(':')}: {str(part).strip()}" for key, part in value.items())


def _style_titles(reviews: list[Table]) -> pl.DataFrame:
    styles = pl.concat([table.rows.select(pl.col("item").str.strip_chars(), "style") for table in reviews])
    styles = styles.filter(pl.col("item") != "")
    first = styles.group_by("item").agg(pl.col("style").drop_nulls().first())
    title = pl.when(pl.col("style").is_not_null()).then(pl.format("{} ({})", "item", "style"))
    return first.select("item", title.alias("title"))


def _metadata(path: Path, file: str, titles: pl.DataFrame, notes: list[str]) -> Table:
    """The metadata of reviewed items; where it has no title or no such item, the style title stands in."""
    table = json_lines(path, file, ITEM, _item)
    rows = table.rows
    if len(rows) and rows["item"].null_count() == len(rows):
        raise DataError(
            f"{file}: is no Amazon metadata file: it has neither the key asin (2018) nor parent_asin (2023)"
        )
    broken = rows.filter(pl.col("item").str.strip_chars().fill_null("") == "")
    reviewed = rows.with_columns(pl.col("item").str.strip_chars()).join(
        titles.rename({"title": "fallback"}), on="item", how="inner", maintain_order="left"
    )
    own = unescape(reviewed["title"]).str.strip_chars()
    title = pl.when(own.fill_null("") == "").then("fallback").otherwise(own)
    reviewed = reviewed.with_columns(title.alias("title"), unescape(reviewed["brand"])).drop("fallback")
    lacking = titles.join(reviewed, on="item", how="anti").sort("item")
    if len(lacking):
        notes.append(f"items that the metadata file lacks, titled by id and style: {len(lacking)}")
    return Table(file, pl.concat([broken, reviewed, lacking], how="diagonal"), table.bad)


def _item(row: dict[str, Any]) -> tuple[Any, ...]:
    brand = row.get("brand") or row.get("store")
    words = [*_texts(row.get("description")), *_texts(row.get("feature") or row.get("features"))]
    details = row.get("details")
    if isinstance(details, dict):
        words += [f"{str(key).strip().rstrip(':')}: {value}" for key, value in details.items()]
    categories = _texts(row.get("category") or row.get("categories"))
    item = row.get("parent_asin") or row.get("asin")
    return (*map(cell, (item, row.get("title"), brand, row.get("price"))), " ".join(words), categories)


def _texts(value: Any) -> list[str]:
    """The texts in a text, a list, or a list of lists."""
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [html.unescape(value).strip()] if isinstance(value, str) and value.strip() else []
