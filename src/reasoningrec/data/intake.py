"""Raw rows -> Corpus, by the rules that hold for every source.

- A row is bad when its user or item is empty, its rating is empty, no number, or outside `data.scale`, or its time is
  empty, no time, before 1970 or after 2099. Bad rows (and lines that are no rows: see `files`) are collected; the run
  stops and shows the first ten and their number, unless `data.on_bad_rows = "skip"`, which leaves them out and counts.
- A time is unix seconds, milliseconds (a number above 1e11), or an ISO date or date-time; without an offset it is UTC.
  Where nine in ten numbers of a file read as dates (20240110, in August 1970 if it were seconds), they are dates, and
  the others are bad.
- Exact repeats of a row (same user, item, time, rating, summary and text) are dropped, all but the first, unless the
  source says that its repeats are meant. Other repeats of a (user, item) stay; with `data.repeats = "first"` each takes
  the rating of the first in (time, file order).
- `row` is the place in the file(s), bad rows included, so it breaks ties in time by file order and has gaps.
- Without a rating column every row is a like. A missing review text is fine.
- Control characters and direction marks are taken out of ids and of what items are called: they would reach terminals
  and pages. Square brackets of brands and categories are made round, for those in a text are citations.
- Every item of a row stands in `items`; one that the items table lacks, or gives no title, has its id as title. An
  item that the items table names twice counts once, the first time. A price is the number, or the mean of a range, in
  a text such as "$1,027.19" or "$10.00 - $20.00"; any other text is no price.
- No rows at all is an error.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REVIEWS, BadRow, Corpus
from reasoningrec.data.files import LINE, Table
from reasoningrec.errors import DataError
from reasoningrec.unseen import UNSEEN

LATEST = 4_102_444_800  # 2100-01-01, in unix seconds
MILLISECONDS = 1e11
DATES = 0.9
"""Of the numbers of a file read as dates: then they are dates."""
SHOWN = 10
IDS = ("user", "item")
STAMP = (
    r"^(?<day>\d{4}-\d{2}-\d{2})(?:[T ](?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:\.\d+)?)?)?"
    r"\s*(?:Z|UTC|(?<sign>[+-])(?<ahead>\d{2}):?(?<past>\d{2}))?$"
)
COMPACT = r"^((?:19[7-9]|20\d)\d{5})(?:\.0)?$"
PRICE = r"^\s*[^\d\s.,-]{0,4}\s*(?<low>\d[\d,]*(?:\.\d+)?)(?:\s*-\s*[^\d\s.,-]{0,4}\s*(?<high>\d[\d,]*(?:\.\d+)?))?\s*$"


@dataclass(frozen=True)
class Raw:
    """What a source found, not yet checked: all values are text, null where the file has none.

    `interactions` hold user and item, and where the data have them rating, time, summary, text. `items` hold
    item, and where the data have them title, brand, price, categories (lists of text), details.
    """

    interactions: tuple[Table, ...]
    items: Table | None = None
    notes: tuple[str, ...] = ()
    repeats_are_meant: bool = False


def corpus(config: DataConfig, name: str, raw: Raw) -> Corpus:
    """Check and type the rows of `raw`. Raises DataError for bad rows under "stop", and where no row is left."""
    notes = list(raw.notes)
    checked: list[pl.DataFrame] = []
    offset = 0
    for table in raw.interactions:
        checked.append(_check(table, config, offset))
        offset += table.rows.height
    catalogue = _check_items(raw.items) if raw.items is not None else None
    bad = refuse(config.on_bad_rows, [*raw.interactions, *([raw.items] if raw.items else [])], [*checked, catalogue])
    rows = pl.concat(checked, how="diagonal").filter(pl.col("problem").is_null())
    if not len(rows):
        raise DataError(f"{config.path}: holds no interactions", hint="A row needs a user and an item.")
    if any("time" in table.rows.columns and _milliseconds(table.rows) for table in raw.interactions):
        notes.append("times above 1e11 were read as milliseconds")
    if any("time" in table.rows.columns and _dates(table.rows["time"]) is not None for table in raw.interactions):
        notes.append("times such as 20240110 were read as dates")
    unseen = [table.rows[name].str.strip_chars().str.contains(UNSEEN) for table in raw.interactions for name in IDS]
    _note(
        notes,
        sum(int(each.sum()) for each in unseen),
        "ids of users and items in rows, less what cannot be seen in them",
    )
    rows = _deduplicate(rows, notes, meant=raw.repeats_are_meant)
    rows = _rate(rows, config, notes)
    return Corpus(
        name=name,
        interactions=rows.select(pl.col(column).cast(kind) for column, kind in INTERACTIONS.items()),
        items=items(rows["item"], catalogue, notes),
        reviews=_reviews(rows),
        bad_rows=bad,
        notes=tuple(notes),
    )


def refuse(
    on_bad_rows: str, tables: Sequence[Table], checked: Sequence[pl.DataFrame | None] = ()
) -> tuple[BadRow, ...]:
    """The bad rows of all files by file and line. Raises DataError with the first ten of them unless told to skip."""
    frames = [
        frame.filter(pl.col("problem").is_not_null()).select("file", pl.col(LINE).alias("line"), "field", "problem")
        for frame in checked
        if frame is not None
    ]
    total = sum(len(table.bad) for table in tables) + sum(map(len, frames))
    if not total:
        return ()
    limit = None if on_bad_rows == "skip" else SHOWN
    unread = sorted((bad for table in tables for bad in table.bad), key=_place)[:limit]
    found = [BadRow(*row) for frame in frames for row in frame.head(limit or len(frame)).iter_rows()]
    order = {table.file: place for place, table in enumerate(tables)}
    rows = tuple(sorted([*unread, *found], key=lambda bad: (order.get(bad.file, len(order)), bad.line))[:limit])
    if limit is None:
        return rows
    more = f"\n  and {total - len(rows)} more" if total > len(rows) else ""
    raise DataError(
        f"{total} bad row{'s' * (total != 1)}:\n  " + "\n  ".join(map(str, rows)) + more,
        hint='Mend them, or set data.on_bad_rows = "skip" to leave them out and have them counted.',
    )


def _place(bad: BadRow) -> tuple[str, int]:
    return bad.file, bad.line


def _check(table: Table, config: DataConfig, offset: int) -> pl.DataFrame:
    """The typed rows of one file, each with the first `field` that is wrong and its `problem`, or nulls."""
    rows = table.rows.with_row_index("row", offset).with_columns(_strip("user"), _strip("item"))
    wrong = [("user", _empty("user")), ("item", _empty("item"))]
    columns = [pl.lit(table.file).alias("file")]
    if "rating" in rows.columns:
        low, high = config.scale
        value = pl.col("rating").str.strip_chars().cast(pl.Float64, strict=False)
        outside = ~value.is_between(low, high) | value.is_nan()
        problem = _quote("rating") + f" is outside data.scale ({low:g} to {high:g})"
        wrong += [("rating", _empty("rating")), ("rating", _when(value.is_null(), _quote("rating") + " is no number"))]
        wrong += [("rating", _when(outside, problem))]
        columns.append(value.alias("rating"))
    if "time" in rows.columns:
        rows = rows.with_columns(seconds=seconds(rows["time"]))
        value = pl.col("seconds")
        wrong += [("time", _empty("time"))]
        wrong += [("time", _when(value.is_null(), _quote("time") + " is neither unix seconds nor an ISO date"))]
        wrong += [("time", _when(value < 0, _quote("time") + " is before 1970"))]
        wrong += [("time", _when(value >= LATEST, _quote("time") + " is after 2099"))]
        columns.append(value.alias("time"))
    field = pl.coalesce(pl.when(problem.is_not_null()).then(pl.lit(name)) for name, problem in wrong)
    problem = pl.coalesce(problem for _, problem in wrong)
    return rows.with_columns(*columns, field.alias("field"), problem.alias("problem"))


def _check_items(table: Table) -> pl.DataFrame:
    problem = _empty("item")
    return table.rows.with_columns(_strip("item"), pl.lit(table.file).alias("file")).with_columns(
        problem.alias("problem"), pl.lit("item").alias("field")
    )


def _strip(column: str) -> pl.Expr:
    return ids(pl.col(column)).fill_null("")


def ids(text: pl.Expr) -> pl.Expr:
    """Ids without blanks around them and without what cannot be seen."""
    return text.str.replace_all(UNSEEN, "").str.strip_chars()


def _empty(column: str) -> pl.Expr:
    return _when(pl.col(column).str.strip_chars().fill_null("") == "", pl.lit("is empty"))


def _when(condition: pl.Expr, problem: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(problem)


def _quote(column: str) -> pl.Expr:
    return pl.format('"{}"', pl.col(column).str.slice(0, 40))


def seconds(times: pl.Series) -> pl.Series:
    """Unix seconds of each text; null where it is no time. Times without an offset are UTC."""
    frame = pl.DataFrame({"text": times.str.strip_chars()})
    if (dates := _dates(times)) is not None:
        frame = frame.select(text=dates)
    number = pl.col("text").cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(pl.when(number > MILLISECONDS).then(number / 1000).otherwise(number))
    numbers = frame.select(number.clip(-1, LATEST).floor().cast(pl.Int64).alias("number"))["number"]
    if not numbers.null_count():
        return numbers
    stamp = pl.col("text").str.extract_groups(STAMP).struct
    part = {key: stamp.field(key).cast(pl.Int64, strict=False).fill_null(0) for key in PARTS}
    day = stamp.field("day").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    ahead = (part["ahead"] * 3600 + part["past"] * 60) * pl.when(stamp.field("sign") == "-").then(-1).otherwise(1)
    valid = (part["hour"] < 24) & (part["minute"] < 60) & (part["second"] < 61)
    stamped = pl.when(valid).then(day * 86400 + part["hour"] * 3600 + part["minute"] * 60 + part["second"] - ahead)
    return numbers.to_frame().select(pl.coalesce("number", frame.select(stamped.alias("s"))["s"]))["number"]


def _dates(times: pl.Series) -> pl.Series | None:
    """20240110 as 2024-01-10, null for other numbers; None unless nine in ten numbers are such dates."""
    plain = times.str.strip_chars()
    day = plain.str.extract(COMPACT).str.to_date("%Y%m%d", strict=False).dt.to_string("%Y-%m-%d")
    number = plain.cast(pl.Float64, strict=False).is_not_null()
    if not number.any() or (day.is_not_null() & number).sum() < DATES * int(number.sum()):
        return None
    return pl.select(pl.when(number & day.is_null()).then(None).otherwise(day.fill_null(plain))).to_series()


PARTS = ("hour", "minute", "second", "ahead", "past")


def _milliseconds(rows: pl.DataFrame) -> bool:
    return bool((rows["time"].str.strip_chars().cast(pl.Float64, strict=False) > MILLISECONDS).any())


def _deduplicate(rows: pl.DataFrame, notes: list[str], *, meant: bool) -> pl.DataFrame:
    key = [column for column in ("user", "item", "time", "rating", "summary", "text") if column in rows.columns]
    kept = rows.unique(key, keep="first", maintain_order=True)
    if kept.height == rows.height:
        return rows
    count = rows.height - kept.height
    if meant:
        notes.append(f"exact repeats of a row, kept because this source means them: {count}")
        return rows
    notes.append(f"exact repeats of a row (same user, item, time, rating, text), dropped but for the first: {count}")
    return kept


def _rate(rows: pl.DataFrame, config: DataConfig, notes: list[str]) -> pl.DataFrame:
    if "time" not in rows.columns:
        notes.append("the data have no times: file order stands for time")
        rows = rows.with_columns(time=pl.lit(None, pl.Int64))
    if "rating" not in rows.columns:
        notes.append(
            "the data have no ratings: every row counts as a like, so that nothing tells who will not like what"
        )
        return rows.with_columns(rating=pl.lit(None, pl.Float64), liked=pl.lit(value=True))
    if config.repeats == "first":
        first = pl.col("rating").sort_by("time", "row").first().over("user", "item")
        replaced = rows.with_columns(first.alias("rating"))
        count = int((replaced["rating"] != rows["rating"]).sum())
        notes.append(f"ratings of a repeated (user, item), replaced by its first rating: {count}")
        rows = replaced
    return rows.with_columns(liked=pl.col("rating") > config.like_above)


def _reviews(rows: pl.DataFrame) -> pl.DataFrame:
    texts = [
        (pl.col(column).str.strip_chars().fill_null("") if column in rows.columns else pl.lit("")).alias(column)
        for column in ("summary", "text")
    ]
    reviews = rows.select(pl.col("row").cast(pl.Int64), *texts)
    return reviews.filter((pl.col("summary") != "") | (pl.col("text") != "")).select(*REVIEWS)


def items(used: pl.Series, catalogue: pl.DataFrame | None, notes: list[str]) -> pl.DataFrame:
    """One row per item that is used or stands in `catalogue` (columns as in `Raw.items`), sorted by id."""
    ids = pl.DataFrame({"item": used.unique()})
    if catalogue is None:
        known = pl.DataFrame(schema={"item": pl.String})
    else:
        usable = catalogue.filter(pl.col("item").str.strip_chars() != "")
        known = usable.unique("item", keep="first", maintain_order=True)
        _note(notes, usable.height - known.height, "rows of the items table that name an item again, left out")
        _note(notes, ids.join(known, on="item", how="anti").height, "items unknown to the items table")
    frame = ids.join(known, on="item", how="full", coalesce=True)
    frame = frame.with_columns(
        pl.lit(None, kind).alias(column) for column, kind in _TEXTS.items() if column not in frame.columns
    ).with_columns(_clean(pl.col("title")), _named(pl.col("brand")), _clean(pl.col("details")))
    _note(notes, int((frame["title"] == "").sum()), "items without a title, whose id stands for it")
    return (
        frame.select(
            pl.col("item"),
            pl.when(pl.col("title") == "").then(pl.col("item")).otherwise(pl.col("title")).alias("title"),
            pl.col("brand"),
            price("price").alias("price"),
            pl.col("categories").fill_null([]).list.eval(_named(pl.element())).alias("categories"),
            pl.col("details"),
        )
        .select(pl.col(column).cast(kind) for column, kind in ITEMS.items())
        .sort("item")
    )


_TEXTS = {
    "title": pl.String(),
    "brand": pl.String(),
    "price": pl.String(),
    "categories": pl.List(pl.String()),
    "details": pl.String(),
}


def _note(notes: list[str], count: int, what: str) -> None:
    if count:
        notes.append(f"{what}: {count}")


def _clean(text: pl.Expr) -> pl.Expr:
    return text.fill_null("").str.replace_all(r"\s+", " ").str.replace_all(UNSEEN, "").str.strip_chars()


def _named(text: pl.Expr) -> pl.Expr:
    return _clean(text).str.replace_all("[", "(", literal=True).str.replace_all("]", ")", literal=True)


def price(column: str) -> pl.Expr:
    """The number in a price text, the mean of a range, null for any other text."""
    groups = pl.col(column).str.extract_groups(PRICE).struct
    low, high = (groups.field(end).str.replace_all(",", "").cast(pl.Float64, strict=False) for end in ("low", "high"))
    return pl.when(high.is_null()).then(low).otherwise((low + high) / 2)


def unescape(text: pl.Series) -> pl.Series:
    """HTML entities (`&amp;`) as the characters they stand for."""
    has = text.str.contains("&", literal=True).fill_null(value=False)
    if not has.any():
        return text
    plain = pl.Series(text.name, [html.unescape(value) for value in text.filter(has)], dtype=pl.String)
    return text.scatter(has.arg_true(), plain)
