"""Text files -> frames of strings that still know their line: delimited text and JSON lines, plain or .gz.

Rules: text is UTF-8 unless the source says otherwise, and a byte-order mark is accepted; a wrong byte stops the run and
is named with its line. Blank lines are skipped. A line with a wrong number of fields, an unclosed quote or malformed
JSON is a `BadRow`. Where a file has no quotes, lines are split by Polars; otherwise the csv module reads them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from reasoningrec.data.corpus import BadRow
from reasoningrec.errors import DataError

BLOCK_BYTES = 1 << 26
CHUNK_ROWS = 100_000
FIELD_LIMIT = 1 << 24
LINE = "@line"

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Table:
    """The rows of one file, in file order: `@line` (1-based) and the named columns; and the lines that are no rows."""

    file: str
    rows: pl.DataFrame
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written."""

    separator: str = ","
    names: tuple[str, ...] | None = None
    """Column names where the file has no header line."""
    quotes: bool = True
    encoding: str = "utf-8"


def named(*paths: Path) -> dict[str, Path]:
    """The files by the name messages give them: their own, with their folder where two would be called the same."""
    names: dict[str, Path] = {}
    for path in paths:
        taken = names.get(path.name, path) != path
        names[f"{path.parent.name}/{path.name}" if taken else path.name] = path
    return names


def require(path: Path, what: str) -> Path:
    """`path`, or a DataError that names `what` if nothing is there."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder ({what})", hint="Check the path in the configuration.")
    return path


def read_text(path: Path, file: str) -> str:
    """The whole UTF-8 text of a file. Raises DataError."""
    return "".join(text for _, text in blocks(path, file, "utf-8"))


def blocks(path: Path, file: str, encoding: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, text of whole lines), in pieces of about 64 MiB. Raises DataError."""
    line, offset, rest = 1, 0, b""
    try:
        with open_bytes(path) as stream:
            while True:
                read = stream.read(BLOCK_BYTES)
                data = rest + read
                cut = data.rfind(b"\n") + 1 if read else len(data)
                data, rest = data[:cut], data[cut:]
                if data:
                    yield line, _decode(data, encoding, file, offset, line)
                line, offset = line + data.count(b"\n"), offset + len(data)
                if not read:
                    return
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where it ends in .gz."""
    return cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


def _decode(data: bytes, encoding: str, file: str, offset: int, line: int) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        at_line = line + data.count(b"\n", 0, error.start)
        hint = "Save the file as UTF-8."
        if offset == 0 and data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            hint = "It looks like UTF-16: save the file as UTF-8."
        raise DataError(
            f"{file}:{at_line}: byte {offset + error.start} (0x{data[error.start]:02x}) is not valid {encoding}",
            hint=hint,
        ) from None
    return text.removeprefix("\ufeff") if offset == 0 else text


def delimited(path: Path, file: str, dialect: Dialect | None = None) -> Table:
    """Read a delimited text file; every column is text, as it stands. Raises DataError."""
    dialect = dialect or Dialect()
    quoted = dialect.quotes and sum('"' in text for _, text in blocks(path, file, dialect.encoding)) > 0
    return _quoted(path, file, dialect) if quoted else _plain(path, file, dialect)


def _plain(path: Path, file: str, dialect: Dialect) -> Table:
    names = dialect.names
    frames: list[pl.DataFrame] = []
    bad: list[BadRow] = []
    for first_line, text in blocks(path, file, dialect.encoding):
        lines = pl.Series("text", [text]).str.split("\n").explode().str.strip_suffix("\r")
        frame = lines.to_frame().with_row_index(LINE, first_line).with_columns(pl.col(LINE).cast(pl.Int64))
        frame = frame.filter(pl.col("text").str.strip_chars().str.len_bytes() > 0)
        if names is None and len(frame):
            names = _header(frame["text"][0].split(dialect.separator), file)
            frame = frame[1:]
        if names is not None:
            frames.append(_split(frame, names, dialect.separator, file, bad))
    if names is None:
        raise DataError(f"{file}: is empty")
    return Table(file, pl.concat([_frame([], _texts(names)), *frames]), tuple(bad))


def _split(frame: pl.DataFrame, names: Sequence[str], separator: str, file: str, bad: list[BadRow]) -> pl.DataFrame:
    fields = frame["text"].str.count_matches(separator, literal=True) + 1
    whole = fields == len(names)
    if not whole.all():
        odd = zip(frame[LINE].filter(~whole), fields.filter(~whole), strict=True)
        bad.extend(BadRow(file, line, "row", _field_count(count, len(names))) for line, count in odd)
        frame = frame.filter(whole)
    parts = frame["text"].str.split_exact(separator, len(names) - 1).struct.rename_fields(list(names)).struct.unnest()
    return frame.select(LINE).hstack(parts)


def _field_count(found: int, wanted: int) -> str:
    return f"has {found} field{'s' * (found != 1)} where {wanted} are expected"


def _quoted(path: Path, file: str, dialect: Dialect) -> Table:
    """By the csv module, for files whose fields may hold separators and line breaks; a row's line is its first."""
    csv.field_size_limit(FIELD_LIMIT)
    encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding
    bad: list[BadRow] = []
    with open_bytes(path) as stream, io.TextIOWrapper(stream, encoding=encoding, newline="") as text:
        records = _records(csv.reader(text, delimiter=dialect.separator, strict=True), file, bad)
        names = dialect.names or _header(next(records, (1, []))[1], file)
        return Table(file, _assemble(_whole_records(records, len(names), file, bad), _texts(names)), tuple(bad))


def _records(reader: Any, file: str, bad: list[BadRow]) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each record that is not blank; those with broken quotes go to `bad`."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            problem = "opens a quote and never closes it" if unclosed else f"has broken quotes: {error}"
            bad.append(BadRow(file, line, "row", problem))
            continue
        if any(cell.strip() for cell in row):
            yield line, row


def _whole_records(
    records: Iterator[tuple[int, list[str]]], width: int, file: str, bad: list[BadRow]
) -> Iterator[tuple[Any, ...]]:
    for line, row in records:
        if len(row) == width:
            yield line, *row
        else:
            bad.append(BadRow(file, line, "row", _field_count(len(row), width)))


def _header(cells: Sequence[str], file: str) -> tuple[str, ...]:
    if not cells:
        raise DataError(f"{file}: is empty")
    names = tuple(cell.strip() or f"column_{place}" for place, cell in enumerate(cells, 1))
    twice = sorted({name for name in names if names.count(name) > 1 or name == LINE})
    if twice:
        raise DataError(f"{file}:1: the header names the column {twice[0]!r} twice")
    return names


def json_lines(path: Path, file: str, schema: Schema, pick: Callable[[dict[str, Any]], tuple[Any, ...]]) -> Table:
    """Read one JSON object a line.

    Args:
        path: the file.
        file: how messages name it.
        schema: the columns wanted.
        pick: an object -> its values for those columns, in order.

    Raises:
        DataError: the file cannot be read or is not UTF-8.
    """
    bad: list[BadRow] = []
    rows = ((line, *pick(value)) for line, value in _objects(path, file, bad))
    return Table(file, _assemble(rows, {LINE: pl.Int64(), **schema}), tuple(bad))


def _objects(path: Path, file: str, bad: list[BadRow]) -> Iterator[tuple[int, dict[str, Any]]]:
    for first, text in blocks(path, file, "utf-8"):
        for line, content in enumerate(text.split("\n"), first):
            if not content or content.isspace():
                continue
            try:
                value = json.loads(content)
            except (ValueError, RecursionError) as error:
                bad.append(BadRow(file, line, "row", f"is not valid JSON: {error}"))
                continue
            if isinstance(value, dict):
                yield line, value
            else:
                bad.append(BadRow(file, line, "row", "is not a JSON object, as each line must be"))


def _texts(names: Iterable[str]) -> Schema:
    return {LINE: pl.Int64(), **{name: pl.String() for name in names}}


def _assemble(rows: Iterator[tuple[Any, ...]], schema: Schema) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=dict(schema))]
    while chunk := list(islice(rows, CHUNK_ROWS)):
        frames.append(_frame(chunk, schema))
    return pl.concat(frames)


def _frame(rows: list[tuple[Any, ...]], schema: Schema) -> pl.DataFrame:
    try:
        return pl.DataFrame(rows, schema=dict(schema), orient="row")
    except UnicodeEncodeError:  # JSON may spell half of a surrogate pair, which is no character
        return pl.DataFrame([tuple(map(mended, row)) for row in rows], schema=dict(schema), orient="row")


def mended(value: Any) -> Any:
    """A JSON value whose texts have no half of a surrogate pair."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {mended(key): mended(inner) for key, inner in value.items()}
    return [mended(inner) for inner in value] if isinstance(value, list) else value


def cell(value: Any) -> str | None:
    """A JSON value as the text a CSV file would hold; null stays null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
