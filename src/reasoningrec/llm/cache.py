"""Every answer of a model, kept under the whole request that it answers: nothing is paid for twice.

The key is the SHA-256 of the canonical JSON of the request (server, model, messages, sampling, schema, whatever else is
sent), tagged with the recipe's version; that of the package is no part of it, so an upgrade discards nothing. The file
is SQLite in WAL mode: an answer that was stored survives a kill of the process at any moment.

Several processes may share a file. Each claims a request before it asks, so that none is asked twice at once. A claim
belongs to its process, which holds a lock on a file of its own beside the cache; the system takes the lock away when
the process ends, however it ends, and its claims are void from then on. So the file has to lie on a local disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from reasoningrec.errors import CacheError, ConfigError, RunError
from reasoningrec.llm import opening
from reasoningrec.llm.client import Answer, Usage
from reasoningrec.rows import Json, encode
from reasoningrec.runs import canonical, fingerprint

MARK: Final = 0x5245434F
"""Of our files, among those of other programs; SQLite's `application_id`."""
ANOTHER: Final = "Name another file: `cache` in the configuration, or $REASONINGREC_CACHE."
UPGRADE: Final = "Upgrade the package, or name another file: `cache` in the configuration."
LOG_PAGES: Final = 8000
"""Of 4 KiB, after which SQLite's log is written into the file: a thousand, its default, took a quarter of the time."""
LAYOUT: Final = 1
"""Of the tables; kept in the file's `user_version`."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, model TEXT NOT NULL, answer TEXT NOT NULL, buyer TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, seconds REAL NOT NULL, share REAL NOT NULL,
    made REAL NOT NULL);
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, holder TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batched (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, model TEXT NOT NULL, buyer TEXT NOT NULL, made REAL NOT NULL
    );
CREATE TABLE IF NOT EXISTS known (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bought ON answers (buyer, model);
"""
HOLDINGS: Final = """
SELECT CASE WHEN json_valid(request) THEN COALESCE(json_extract(request, '$.endpoint'), '') ELSE '' END, model,
    SUM(calls), SUM(input), SUM(output), SUM(batched), MIN(made), MAX(made)
FROM (
    SELECT request, model, 1 AS calls, input_tokens AS input, output_tokens AS output, 0 AS batched, made FROM answers
    UNION ALL SELECT request, model, 0, 0, 0, 1, NULL FROM batched)
GROUP BY 1, 2 ORDER BY 1, 2
"""
UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading an entry that is none of ours may raise."""
Claimed = Literal["ours", "theirs", "batched", "answered"]


def place(configured: str) -> Path:
    """Where the cache is: as configured, else $REASONINGREC_CACHE, else answers.sqlite in the user's cache folder."""
    if chosen := configured or os.environ.get("REASONINGREC_CACHE", ""):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # "~somebody" who has no home
            raise ConfigError(f"cache: {chosen!r} is no path: {error}", hint="See $REASONINGREC_CACHE.") from None
    home = os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache"
    return Path(home) / "reasoningrec" / "answers.sqlite"


def key_of(request: Mapping[str, Json]) -> str:
    """The key of a whole request. The recipe is a documented contract: see `runs.fingerprint`."""
    return fingerprint(request)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept answer."""

    key: str
    request: Mapping[str, Any]
    model: str
    answer: Answer
    made: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What is kept of one model on one server."""

    server: str
    """"" = a model on this machine."""
    model: str
    usage: Usage
    """Of its answers; `calls` counts them."""
    batched: int = 0
    """Requests that are out in batch files."""
    oldest: float | None = None
    """Unix seconds; None where there is no answer yet."""
    newest: float | None = None


@dataclass(frozen=True, slots=True)
class Bought:
    """What one buyer paid a model for."""

    model: str
    usage: Usage
    batch_usage: Usage
    """The part of it that came in batch files, at their price."""


class Cache:
    """The opened file. Use as a context; not to be shared between threads."""

    def __init__(self, path: Path, *, create: bool = True, write: bool = True) -> None:
        """Open, or make. Raises RunError where it cannot be used, saying what to do.

        Args:
            path: the file.
            create: whether to make it where it does not exist.
            write: without, the file is neither made nor changed, and only what reads may be called.
        """
        self.path = path
        self._holder, self._lock = "", -1
        self._create, self._write, self._untidy = create and write, write, False
        try:
            if not self._create and not path.is_file():
                raise RunError(f"{path}: there is no cache", hint="It is made when a model is first asked.")
            if self._create:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._untidy = not write and not opening.is_open(path)
            self._base = opening.writing(path) if write else opening.reading(path)
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"{path}: cannot be opened: {error}", hint=ANOTHER) from None
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if self._pragma("application_id") != MARK:
            if not self._create:
                raise RunError(f"{self.path}: is a database, but no cache of answers", hint=ANOTHER)
            self._make()
        if self._pragma("user_version") > LAYOUT:
            raise RunError(f"{self.path}: was made by a newer version of the package", hint=UPGRADE)
        if not self._write:
            return
        opening.log(self._base)
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")

    def _make(self) -> None:
        """The tables, at once, and in a new file only: whoever comes second finds them made."""
        with self._writing() as base:
            if self._pragma("application_id") == MARK:
                return
            if base.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise RunError(f"{self.path}: is another program's database", hint=ANOTHER)
            for statement in TABLES.split(";"):
                base.execute(statement)
            base.execute(f"PRAGMA application_id={MARK}")
            base.execute(f"PRAGMA user_version={LAYOUT}")

    def _pragma(self, name: str) -> Any:
        return self._base.execute(f"PRAGMA {name}").fetchone()[0]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # ours
        except (sqlite3.OperationalError, OSError) as error:
            hint = "Is the disk full, or the file on a network drive? It has to be on a local disk, and writable."
            raise CacheError(f"{self.path}: {error}", hint=hint) from None
        except sqlite3.DatabaseError as error:
            hint = "It is damaged or no cache: move it away, and a new one is made."
            raise RunError(f"{self.path}: {error}", hint=hint) from None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            self._roll_back()
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        """End what an error or an interrupt, wherever it struck, may have left open."""
        if self._base.in_transaction:  # where the disk is full, SQLite has done it already
            self._base.execute("ROLLBACK")

    def get(self, key: str) -> Answer | None:
        """The kept answer to the request with this key."""
        with self._told():
            row = self._base.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        try:
            return None if row is None else _answer(json.loads(row[0]))
        except UNREADABLE:
            raise self._unreadable(key) from None

    def claim(self, key: str) -> Claimed:
        """Take the request on, unless it has an answer, another living process has it, or it is out in a batch."""
        with self._told():
            holder = self._hold()
            if taken := self._taken(key, holder):  # found out without the lock, which all who write have to share
                return taken
        with self._writing() as base:
            if taken := self._taken(key, holder):
                return taken
            base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, holder))
        return "ours"

    def _taken(self, key: str, holder: str) -> Literal["theirs", "batched", "answered"] | None:
        """Why `holder` may not ask the request."""
        query = (
            "SELECT (SELECT 1 FROM answers WHERE key = :key), (SELECT 1 FROM batched WHERE key = :key),"
            " (SELECT holder FROM claims WHERE key = :key)"
        )
        answered, batched, other = self._base.execute(query, {"key": key}).fetchone()
        if answered:
            return "answered"
        if batched:
            return "batched"
        return "theirs" if other not in (None, holder) and self._lives(other) else None

    def release(self, key: str) -> None:
        """Let others ask it: no answer came."""
        with self._writing() as base:
            base.execute("DELETE FROM claims WHERE key = ? AND holder = ?", (key, self._holder))

    def put(self, key: str, request: Mapping[str, Json], answer: Answer, buyer: str, share: float = 1.0) -> None:
        """Keep an answer; of two to one request the first stays.

        Args:
            key: of `request`.
            request: whole.
            answer: as received.
            buyer: who paid.
            share: of the ordinary price that was paid.
        """
        usage, model = answer.usage, str(request.get("model", ""))
        kept = {"text": answer.text, "thinking": answer.thinking, "finish": answer.finish, "error": answer.error}
        row = (key, _stored(request), model, _stored({**kept, "input_tokens": usage.input_tokens,
               "output_tokens": usage.output_tokens}), buyer, usage.input_tokens, usage.output_tokens,
               answer.seconds, share, time.time())  # fmt: skip
        with self._writing() as base:
            base.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            base.execute("DELETE FROM claims WHERE key = ?", (key,))
            base.execute("DELETE FROM batched WHERE key = ?", (key,))

    def bought(self, buyer: str) -> list[Bought]:
        """What `buyer` paid for so far, by model."""
        query = (
            "SELECT model, COUNT(*), SUM(input_tokens), SUM(output_tokens), SUM(share < 1),"
            " SUM((share < 1) * input_tokens), SUM((share < 1) * output_tokens)"
            " FROM answers WHERE buyer = ? GROUP BY model ORDER BY model"
        )
        with self._told():
            rows = self._base.execute(query, (buyer,)).fetchall()
        return [Bought(model, Usage(*whole), Usage(*batch)) for model, *rest in rows
                for whole, batch in [(rest[:3], rest[3:])]]  # fmt: skip

    def typical(self, model: str) -> tuple[float, float] | None:
        """(mean seconds, mean output tokens) of the latest answers of `model`; None where there are none."""
        query = (
            "SELECT AVG(seconds), AVG(output_tokens) FROM (SELECT seconds, output_tokens FROM answers"
            " WHERE model = ? AND seconds > 0 ORDER BY made DESC LIMIT 500)"
        )
        with self._told():
            row = self._base.execute(query, (model,)).fetchone()
        return None if row[0] is None else (float(row[0]), float(row[1]))

    def recall(self, name: str) -> str | None:
        """What was noted under `name`."""
        with self._told():
            row = self._base.execute("SELECT value FROM known WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Note something learned of a server, so that it need not be tried again."""
        with self._writing() as base:
            base.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (name, value))

    def batch(self, requests: Iterable[tuple[str, Mapping[str, Json]]], buyer: str) -> None:
        """Mark requests as out in a batch: they are not asked until their answers come, or `unbatch` gives them up."""
        with self._writing() as base:
            rows = (
                (key, _stored(request), str(request.get("model", "")), buyer, time.time()) for key, request in requests
            )
            base.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?, ?, ?, ?)", rows)

    def out(self, key: str) -> tuple[Mapping[str, Any], str] | None:
        """(request, buyer) of what is out in a batch under this key."""
        with self._told():
            row = self._base.execute("SELECT request, buyer FROM batched WHERE key = ?", (key,)).fetchone()
        return None if row is None else (json.loads(row[0]), str(row[1]))

    def batched(self, buyer: str | None = None) -> dict[str, Mapping[str, Any]]:
        """Key -> request of what is out in batches, of one buyer or of all."""
        query = "SELECT key, request FROM batched WHERE ? IS NULL OR buyer = ? ORDER BY key"
        with self._told():
            return {key: json.loads(text) for key, text in self._base.execute(query, (buyer, buyer))}

    def unbatch(self, keys: Iterable[str]) -> None:
        """Requests that no batch will answer: they may be asked again."""
        with self._writing() as base:
            base.executemany("DELETE FROM batched WHERE key = ?", ((key,) for key in keys))

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Every kept answer whose key begins so, in order of key. Raises RunError where one cannot be read."""
        query = "SELECT key, request, model, answer, made FROM answers WHERE substr(key, 1, ?) = ? ORDER BY key"
        with self._told():
            for key, request, model, answer, made in self._base.execute(query, (len(prefix), prefix)):
                try:
                    asked = json.loads(request)
                    if not isinstance(asked, dict):
                        raise TypeError("no object")
                    yield Entry(key, asked, model, _answer(json.loads(answer)), made)
                except UNREADABLE:
                    raise self._unreadable(key) from None

    def holdings(self) -> list[Holding]:
        """What is kept, by server and model."""
        with self._told():
            rows = self._base.execute(HOLDINGS).fetchall()
        return [Holding(server, model, Usage(*rest[:3]), *rest[3:]) for server, model, *rest in rows]

    def claimed(self) -> int:
        """How many requests are being asked right now, by processes that live."""
        with self._told():
            held = self._base.execute("SELECT holder, COUNT(*) FROM claims GROUP BY holder").fetchall()
            return sum(count for holder, count in held if opening.locked(self._file(holder)))

    def verify(self) -> list[str]:
        """What is wrong with the file, in words: nothing, where each key is that of its request."""
        query = "SELECT key, request, answer FROM answers UNION ALL SELECT key, request, NULL FROM batched ORDER BY key"
        with self._told():
            problems = [row[0] for row in self._base.execute("PRAGMA integrity_check") if row[0] != "ok"]
            for key, request, answer in self._base.execute(query):
                if _key_of_stored(request) != key:
                    problems.append(f"{key[:15]}: is not the key of its request")
                try:
                    if answer is not None:
                        _answer(json.loads(answer))
                except UNREADABLE:
                    problems.append(f"{key[:15]}: its answer cannot be read")
        return problems

    def prune(self, *, before: float | None = None, model: str | None = None, really: bool = True) -> int:
        """Remove answers made before a time (unix seconds), of a model, or both; returns how many.

        What is being asked right now stays; without `really` nothing is removed, only counted. The space is given back
        to the system where there is room for that, which takes a second copy for a moment; else new answers take it.
        """
        wanted = [("made < ?", before), ("model = ?", model)]
        chosen = [(clause, value) for clause, value in wanted if value is not None]
        assert chosen
        where = " AND ".join(("key NOT IN (SELECT key FROM claims)", *(clause for clause, _ in chosen)))
        values = [value for _, value in chosen]
        if not really:
            with self._told():
                return int(self._base.execute(f"SELECT COUNT(*) FROM answers WHERE {where}", values).fetchone()[0])  # noqa: S608
        with self._writing() as base:
            removed = base.execute(f"DELETE FROM answers WHERE {where}", values).rowcount  # noqa: S608
        with contextlib.suppress(sqlite3.OperationalError):
            self._base.execute("VACUUM")
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(removed)

    def close(self) -> None:
        """Give up the claims that are left, and let go of the file."""
        if self._holder:
            with contextlib.suppress(sqlite3.Error):
                self._roll_back()
                self._base.execute("DELETE FROM claims WHERE holder = ?", (self._holder,))
            self._file(self._holder).unlink(missing_ok=True)
            os.close(self._lock)
            self._holder = ""
        self._base.close()
        if self._untidy:
            opening.tidy(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unreadable(self, key: str) -> RunError:
        hint = "Something else wrote into the file: move it away, and a new one is made."
        return RunError(f"{self.path}: the entry {key[:15]} cannot be read", hint=hint)

    def _file(self, holder: str) -> Path:
        return self.path.with_name(f"{self.path.name}.holders") / holder

    def _hold(self) -> str:
        """Our name among the holders of claims; its file is locked as long as this process lives."""
        if not self._holder:
            holder = uuid.uuid4().hex
            file = self._file(holder)
            file.parent.mkdir(exist_ok=True)
            self._lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._holder = holder
        return self._holder

    def _lives(self, holder: str) -> bool:
        file = self._file(holder)
        if opening.locked(file):
            return True
        file.unlink(missing_ok=True)
        return False


def _stored(value: Json) -> str:
    """The canonical JSON of `value`, with lone surrogates as JSON's own escapes: SQLite takes none."""
    return encode(canonical(value)).decode()


def _key_of_stored(request: str) -> str:
    try:
        return key_of(json.loads(request))
    except (ValueError, RecursionError):
        return ""


def _answer(kept: Mapping[str, Any]) -> Answer:
    usage = Usage(1, kept["input_tokens"], kept["output_tokens"])
    return Answer(kept["text"], kept["thinking"], kept["finish"], usage, error=kept["error"])
