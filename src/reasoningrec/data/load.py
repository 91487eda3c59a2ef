"""Any source -> Corpus, and the digests of the files it is read from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from reasoningrec.config import DataConfig, SplitConfig, read
from reasoningrec.data import amazon, demo, movielens, release, tables
from reasoningrec.data.corpus import Corpus
from reasoningrec.errors import DataError

SOURCES: dict[str, Callable[[DataConfig, str], Corpus]] = {
    "movielens": movielens.read,
    "amazon": amazon.read,
    "tables": tables.read,
    "release": release.read,
    "demo": demo.read,
}
FILES: dict[str, Callable[[DataConfig], dict[str, Path]]] = {
    "movielens": movielens.files,
    "amazon": amazon.files,
    "tables": tables.files,
    "release": release.files,
}


def load(config: DataConfig, name: str) -> Corpus:
    """Read the dataset that `config` names. Raises DataError if its files are missing or break a rule."""
    return SOURCES[config.source](config, name)


def fingerprint(config: DataConfig) -> dict[str, str]:
    """SHA-256 of each file that `load` would read, by file name; for `demo` its seed and size. Raises DataError."""
    if config.source not in FILES:
        return {"seed": str(config.seed), "users": str(config.users)}
    return {name: _digest(path, name) for name, path in FILES[config.source](config).items()}


def guess(path: Path) -> tuple[DataConfig, str, SplitConfig]:
    """(settings, name, split) for a configuration, or for a folder or file recognised by what it holds.

    Raises:
        ConfigError: the configuration is wrong.
        DataError: nothing there is of a known format.
    """
    if path.suffix == ".toml":
        config = read(path)
        return config.data, config.name, config.split
    name = path.stem if path.is_file() else Path(os.path.realpath(path)).name
    source = _recognise(path)
    settings: dict[str, object] = {}
    if source == "release":
        settings = {"repeats": "first", "like_above": 3.0 if (path / "ratings.csv").is_file() else 2.0}
    elif source == "tables":
        settings = {"columns": tables.own_columns(path)}
    data = DataConfig.model_validate({"source": source, "path": str(path), **settings})
    return data, name, SplitConfig()


def _recognise(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", hint="Name a configuration (.toml), a folder or a file.")
    if (path / "ctr").is_dir():
        return "release"
    if any((path / name).is_file() for name in ("u.data", "ratings.dat", "ratings.csv")):
        return "movielens"
    kind = tables.suffix(path)
    if path.is_file() and (kind in (*tables.SEPARATORS, *tables.PARQUET) or (kind in tables.JSON and _is_ours(path))):
        return "tables"
    if path.is_dir() or ".json" in path.name:
        return "amazon"
    raise DataError(f"{path}: is of no known format", hint="Write a configuration: `reasoningrec init`.")


def _is_ours(path: Path) -> bool:
    """Whether JSON lines have our names: reviews of Amazon have others."""
    return {"user", "item"} <= tables.own_columns(path).keys()


def _digest(path: Path, name: str) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error}") from None
