"""Anyone's own tables: CSV, TSV, JSON lines (each plain or .gz) or Parquet, by suffix, under the columns of the config.

`data.path` is the interactions table, `data.items` the items table; `[data.columns]` says which column holds what. In a
Parquet file the "line" of a message is the row number, from 1. Dates and date-times of Parquet become unix seconds.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from pyarrow import ArrowException, parquet

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.files import LINE, Dialect, Table, cell, delimited, json_lines, named, open_bytes, require
from reasoningrec.data.intake import Raw, corpus
from reasoningrec.errors import DataError

SEPARATORS: Mapping[str, str] = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
# key of [data.columns] -> column of `intake.Raw`
INTERACTIONS = {**{key: key for key in ("user", "item", "rating", "time", "summary")}, "review": "text"}
ITEMS = {"item_id": "item", **{key: key for key in ("title", "brand", "price", "categories", "details")}}


def files(config: DataConfig) -> dict[str, Path]:
    """The files that are read, by the name messages give them. Raises DataError if one is missing."""
    interactions = require(Path(config.path), "data.path")
    return named(interactions, require(Path(config.items), "data.items")) if config.items else named(interactions)


def read(config: DataConfig, name: str) -> Corpus:
    """Read the user's own tables. Raises DataError: a missing file or column, an unknown suffix, or bad rows."""
    names = {path: name for name, path in files(config).items()}
    path, items_path = Path(config.path), Path(config.items)
    interactions = table(names[path], path, _mapping(config, INTERACTIONS))
    items = table(names[items_path], items_path, _mapping(config, ITEMS)) if config.items else None
    if items is not None and "categories" in items.rows.columns:
        items = Table(items.file, items.rows.with_columns(_categories(items.rows["categories"])), items.bad)
    return corpus(config, name, Raw((interactions,), items))


def own_columns(path: Path) -> dict[str, str]:
    """The columns of interactions that a table has by our names (setting -> column); of JSON lines, the first 1000's.

    Nothing where the file cannot be read: `read` says why.
    """
    kind = suffix(path)
    try:
        if kind in PARQUET:
            found = parquet.read_schema(path).names
        else:
            with open_bytes(path) as stream:
                lines = filter(None, (line.decode("utf-8-sig", "replace").strip() for line in stream))
                if kind in JSON:
                    found = [key for line in islice(lines, 1000) for key in _keys(line)]
                else:
                    found = [cell.strip().strip('"') for cell in next(lines, "").split(SEPARATORS[kind])]
    except (ArrowException, OSError, EOFError):
        return {}
    return {key: key for key in INTERACTIONS if key in found}


def _keys(line: str) -> list[str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return list(row) if isinstance(row, dict) else []


def suffix(path: Path) -> str:
    """What a table's name says it is, lower case: ".csv" of A.CSV.gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _mapping(config: DataConfig, keys: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Column of `Raw` -> (key of the config, the user's column), for those that are mapped."""
    pairs = {column: (f"data.columns.{key}", getattr(config.columns, key)) for key, column in keys.items()}
    for column in ("user", "item"):
        if column in pairs and not pairs[column][1]:
            raise DataError(f'{pairs[column][0]}: may not be "": every table needs this column')
    return {column: pair for column, pair in pairs.items() if pair[1]}


def table(file: str, path: Path, mapping: Mapping[str, tuple[str, str]]) -> Table:
    """The columns of a file under our names, as text (categories may be lists).

    Args:
        file: its name in messages.
        path: a CSV, TSV, JSON lines or Parquet file, by suffix.
        mapping: our name of a column -> (the setting that names it, the file's own name of it); where no setting does,
            the first is "".

    Raises:
        DataError: an unknown suffix, no such column, or a file that cannot be read.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one file")
    kind = suffix(path)
    if kind in SEPARATORS:
        table = delimited(path, file, Dialect(SEPARATORS[kind]))
        _require_columns(file, mapping, table.rows.columns[1:])
        wanted = [pl.col(own).alias(column) for column, (_, own) in mapping.items()]
        return Table(file, table.rows.select(LINE, *wanted), table.bad)
    if kind in JSON:
        return _json(file, path, mapping)
    if kind in PARQUET and path.suffix.lower() != ".gz":
        return _parquet(file, path, mapping)
    known = ", ".join((*SEPARATORS, *JSON, *PARQUET))
    raise DataError(f"{file}: has the suffix {path.suffix!r}, which says no known format", hint=f"Known: {known}.")


def _require_columns(file: str, mapping: Mapping[str, tuple[str, str]], found: Sequence[str]) -> None:
    for key, own in mapping.values():
        if own in found:
            continue
        near = difflib.get_close_matches(own, found, n=3, cutoff=0.5)
        other = f"nearest: {', '.join(near)}" if near else f"found: {', '.join(list(found)[:20]) or 'none'}"
        section, _, name = key.rpartition(".")
        raise DataError(
            f"{file}: there is no column {own!r}{f' ({key})' * bool(key)}; {other}",
            hint=f"Set {name} under [{section}] to the column that holds it{_OPTIONAL.get(name, '')}." if key else "",
        )


_OPTIONAL = dict.fromkeys(("rating", "time", "review", "summary", "title", "brand", "price"), ', or to "" if none does')


def _json(file: str, path: Path, mapping: Mapping[str, tuple[str, str]]) -> Table:
    own = [pair[1] for pair in mapping.values()]
    seen: dict[str, None] = {}
    listed = list(mapping).index("categories") if "categories" in mapping else -1

    def pick(row: dict[str, Any]) -> tuple[Any, ...]:
        seen.update(dict.fromkeys(row))
        values: list[Any] = [row.get(column) for column in own]
        if listed >= 0 and isinstance(values[listed], list):
            values[listed] = "|".join(str(value) for value in values[listed])
        return tuple(map(cell, values))

    table = json_lines(path, file, dict.fromkeys(mapping, pl.String()), pick)
    if len(table.rows):
        _require_columns(file, mapping, list(seen))
    return table


def _parquet(file: str, path: Path, mapping: Mapping[str, tuple[str, str]]) -> Table:
    """By pyarrow: on a damaged file it raises, where the reader of Polars can end the process."""
    try:
        with parquet.ParquetFile(path) as source:
            found = source.schema_arrow.names
            _require_columns(file, mapping, found)
            if twice := [own for _, own in mapping.values() if found.count(own) > 1]:
                raise DataError(f"{file}: the column {twice[0]!r} is there twice", hint="Rename one of them.")
            table = source.read(columns=sorted({own for _, own in mapping.values()}))
        table.validate(full=True)  # Polars takes it that all text is UTF-8
        wanted = [_text(pl.Series(column, table.column(own))) for column, (_, own) in mapping.items()]
    except (pl.exceptions.PolarsError, ArrowException, OSError, UnicodeError) as error:
        reason = next(iter(str(error).splitlines()), "damaged")
        raise DataError(f"{file}: cannot be read as Parquet: {reason[:200]}") from None
    line = pl.int_range(1, table.num_rows + 1, dtype=pl.Int64, eager=True).alias(LINE)
    return Table(file, pl.DataFrame([line, *wanted]))


def _text(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if isinstance(kind, pl.List):
        return column.cast(pl.List(pl.String)).list.join("|")
    if isinstance(kind, pl.Datetime | pl.Date):
        return column.dt.epoch("s").cast(pl.String)
    whole = kind.is_float() and (column.drop_nulls() % 1 == 0).all()
    if whole and (column.drop_nulls().abs() < 2**53).all():  # beyond, a float is no count of anything
        return column.cast(pl.Int64).cast(pl.String)
    return column.cast(pl.String)


def _categories(column: pl.Series) -> pl.Series:
    """Text parted by "|" -> lists without blanks."""
    parts = column.fill_null("").str.split("|")
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
