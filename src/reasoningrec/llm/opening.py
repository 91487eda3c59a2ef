"""How the cache's file is opened, to be written or only read, and whether the holder of a claim lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path

PATIENCE = 60.0
"""Seconds to wait for others who write."""


def writing(path: Path) -> sqlite3.Connection:
    """A connection that may write. Raises sqlite3.Error where there can be none."""
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)


def reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; in a folder that may not be written, it is taken that nobody else writes.

    Raises sqlite3.Error where there can be none; what is no database is told when it is first used.
    """
    address = path.resolve().as_uri()
    base = sqlite3.connect(f"{address}?mode=ro", timeout=PATIENCE, isolation_level=None, uri=True)
    try:
        base.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        base.close()
        if is_open(path):
            raise
        return sqlite3.connect(f"{address}?immutable=1", isolation_level=None, uri=True)
    except sqlite3.DatabaseError:
        pass
    return base


def log(base: sqlite3.Connection) -> None:
    """Have changes written to a log first (WAL). SQLite does not wait here for others who do the same, and so we do.

    Raises sqlite3.OperationalError where the file stays locked for a minute.
    """
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            base.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > patience:
                raise
            time.sleep(0.01)


def is_open(path: Path) -> bool:
    """Whether a process has the file open for writing, or was killed while it had."""
    return path.with_name(f"{path.name}-wal").exists()


def tidy(path: Path) -> None:
    """Remove what a reader of a file that nobody writes leaves beside it."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(writing(path)) as base:
        base.execute("PRAGMA schema_version")  # SQLite removes it when the last connection that may write is closed


def locked(file: Path) -> bool:
    """Whether the process that locked `file` lives."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
