"""Records <-> plain rows <-> JSON files: the one place that knows how a frozen dataclass is stored.

Files are written whole or not at all, with sorted keys, so that equal content is equal bytes. A record is a dataclass
whose fields are text, numbers, truth values, None, Literals, tuples, Mappings with text keys, further dataclasses, and
unions of those; that is, all of `records.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from reasoningrec.errors import InputError, NotInRunError, RunError

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Row: TypeAlias = dict[str, Any]
Decoder: TypeAlias = Callable[[Any], Any]
Record = TypeVar("Record")

TEMPORARY = ".tmp."
"""How the names of half-written files begin."""

SCALARS: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
}


class _MismatchError(ValueError):
    """A value is not of the type its field declares; becomes a RunError that names the field."""


def to_row(record: Any) -> Row:
    """A frozen dataclass as a dict of JSON values, nested ones included. Raises TypeError for values of other kinds."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def from_row(cls: type[Record], row: Mapping[str, Any]) -> Record:
    """The record that `to_row` stored as `row`.

    Raises:
        RunError: a field is missing, unknown, or not of its declared type; the message names class and field.
    """
    try:
        record: Record = _inside(_decoder(typing.cast(Any, cls)), row, cls.__name__)
    except _MismatchError as error:
        raise RunError(str(error)) from None
    return record


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_row(value)
    raise TypeError(f"cannot be stored as a row: {value!r} ({type(value).__name__})")


@functools.cache
def _decoder(annotation: Any) -> Decoder:
    """The function that checks and rebuilds a value of `annotation`; made once per annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation in SCALARS:
        return _scalar(annotation)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    if origin is tuple:
        return _tuple(arguments)
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    raise TypeError(f"rows cannot hold {annotation!r}")


def _dataclass(cls: Any) -> Decoder:
    hints = typing.get_type_hints(cls)
    decoders = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(cls)}
    absent = dataclasses.MISSING
    needed = {
        field.name for field in dataclasses.fields(cls) if field.default is absent and field.default_factory is absent
    }

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _mismatch("an object", value)
        if missing := sorted(needed - value.keys()):
            raise _MismatchError(f"{missing[0]}: is missing")
        if unknown := sorted(value.keys() - decoders.keys()):
            raise _MismatchError(f"{unknown[0]}: is not a field")
        return cls(**{name: _inside(decoders[name], inner, name) for name, inner in value.items()})

    return decode


def _scalar(kind: Any) -> Decoder:
    def decode(value: Any) -> Any:
        if kind is Any or type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise _mismatch(SCALARS[kind], value)

    return decode


def _tuple(arguments: tuple[Any, ...]) -> Decoder:
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    decoders = [_decoder(argument) for argument in (arguments[:1] if endless else arguments)]

    def decode(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not (endless or len(value) == len(decoders)):
            raise _mismatch("a list" if endless else f"a list of {len(decoders)}", value)
        each = decoders * len(value) if endless else decoders
        return tuple(
            _inside(decoder, inner, str(n)) for n, (decoder, inner) in enumerate(zip(each, value, strict=True))
        )

    return decode


def _mapping(inner: Any) -> Decoder:
    decoder = _decoder(inner)

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _mismatch("an object", value)
        return {key: _inside(decoder, part, key) for key, part in value.items()}

    return decode


def _literal(choices: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if value not in choices:
            raise _mismatch(" or ".join(map(repr, choices)), value)
        return value

    return decode


def _union(members: tuple[Any, ...]) -> Decoder:
    # An exact type is tried before int -> float, so that 1 stays 1 in `int | float`.
    exact = {member for member in members if member in SCALARS}
    decoders = [_decoder(member) for member in members]

    def decode(value: Any) -> Any:
        if type(value) in exact:
            return value
        for decoder in decoders:
            try:
                return decoder(value)
            except _MismatchError:
                continue
        raise _mismatch(" or ".join(SCALARS.get(member, str(member)) for member in members), value)

    return decode


def _inside(decoder: Decoder, value: Any, name: str) -> Any:
    try:
        return decoder(value)
    except _MismatchError as error:
        text = str(error)
        raise _MismatchError(f"{name}{'' if text.startswith(':') else '.'}{text}") from None


def _mismatch(expected: str, value: Any) -> _MismatchError:
    shown = repr(value)
    return _MismatchError(f": expected {expected}, got {shown if len(shown) <= 60 else shown[:57] + '...'}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to; on success it takes `path`'s place in one step.

    The temporary name keeps the suffix, for writers that choose a format by it. After a failure `path` is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}.{path.name}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) == temporary:
            error.filename = str(path)  # the name that its user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def creating(path: Path) -> Iterator[Path]:
    """As `replacing`, for a file that a user asked for: it is written whole or not at all, and never over another.

    Raises:
        InputError: the file exists, its folder does not, or it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path}: exists already", hint="Name another file.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder", hint="Make it first, or name another.")
    try:
        with replacing(path) as temporary:
            yield temporary
            if path.exists():
                raise InputError(f"{path}: was made in the meantime", hint="Name another file.")
    except PermissionError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="Name another file.") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(encode(text))


def write_json(path: Path, value: Json) -> None:
    """Write indented JSON with sorted keys in one step. Raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises RunError, naming file and line, where it is missing or damaged."""
    text = _read(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise damaged(path, error.lineno, error.msg) from None
    except RecursionError:
        raise damaged(path, 1, "is nested too deeply") from None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, with sorted keys, in one step. Raises ValueError for NaN and infinities."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(line_of(row) for row in rows)


def read_jsonl(path: Path) -> list[Row]:
    """The objects of a JSON lines file. Raises RunError, naming file and line, where it is missing or damaged."""
    lines = _read(path).split("\n")
    if lines.pop():
        raise damaged(path, len(lines) + 1, "the last line is cut short")
    return [parse_line(path, number, line) for number, line in enumerate(lines, start=1)]


def write_records(path: Path, records: Iterable[Any]) -> None:
    """Write frozen dataclasses as JSON lines in one step."""
    write_jsonl(path, map(to_row, records))


def read_records(cls: type[Record], path: Path) -> list[Record]:
    """What `write_records` wrote. Raises RunError, naming file, line and field, where it is missing or damaged."""
    records = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            records.append(from_row(cls, row))
        except RunError as error:
            raise damaged(path, number, str(error)) from None
    return records


def encode(text: str) -> bytes:
    """UTF-8, also for texts that came with lone surrogates: those are written as JSON's own escape."""
    return text.encode("utf-8", "backslashreplace")


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as one line of a JSON lines file: sorted keys, closed by a newline."""
    return encode(json.dumps(row, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise NotInRunError(f"{path}: no such file", hint="Run the stage that writes it first.") from None
    except UnicodeDecodeError as error:
        raise damaged(path, error.object[: error.start].count(b"\n") + 1, "is not UTF-8 text") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def parse_line(path: Path, number: int, line: str | bytes) -> Row:
    """The object in line `number` of `path`. Raises RunError naming both."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise damaged(path, number, f"is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise damaged(path, number, "is not a JSON object")
    return row


def damaged(path: Path, line: int, problem: str) -> RunError:
    """The error to raise where an artifact cannot be understood."""
    return RunError(f"{path}:{line}: {problem}", hint="The file is damaged: remove it and run its stage again.")
