"""The cache keeps what was paid for: shared, killed, full, damaged or strange."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reasoningrec.errors import CacheError, RunError
from reasoningrec.llm import cache as module
from reasoningrec.llm import opening
from reasoningrec.llm.cache import Bought, Cache, key_of, place
from reasoningrec.llm.client import Answer, Usage

REQUEST = {"endpoint": "http://h/v1", "model": "m", "messages": [{"role": "user", "content": "Amélie?"}]}
ANSWER = Answer("Why: so", "hm", "stop", Usage(1, 70, 30), 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[Cache]:
    with Cache(path) as cache:
        yield cache


def put(cache: Cache, number: int = 0, answer: Answer = ANSWER, *, share: float = 1.0, **fields: Any) -> str:
    """Keep an answer to a request of that number; returns its key."""
    request = {**REQUEST, "seed": number, **fields}
    cache.put(key_of(request), request, answer, "run", share)
    return key_of(request)


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    base = sqlite3.connect(path)
    try:
        return base.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        base.close()


def alter(path: Path, statement: str, *values: object) -> None:
    base = sqlite3.connect(path)
    try:
        base.execute(statement, values)
        base.commit()
    finally:
        base.close()


# Keeping


def test_an_answer_comes_back_as_it_was(cache: Cache) -> None:
    key = put(cache)
    found = cache.get(key)
    assert found == Answer("Why: so", "hm", "stop", Usage(1, 70, 30))
    assert cache.get("v1:none") is None


def test_of_two_answers_the_first_stays(cache: Cache) -> None:
    key = put(cache)
    assert put(cache, answer=Answer("Why: other", usage=Usage(1, 5, 5))) == key
    found = cache.get(key)
    assert found is not None
    assert found.text == "Why: so"
    assert cache.bought("run")[0].usage == Usage(1, 70, 30)


ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
"""Lone surrogates and NUL among them."""


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
@example("a\ud83d", "", "", "")
@example("", "\udc80b", "\ud83d", "\0")
def test_every_text_can_be_kept(cache: Cache, asked: str, text: str, thinking: str, finish: str) -> None:
    request = {**REQUEST, "messages": [{"role": "user", "content": asked}]}
    key = key_of(request)
    cache.prune(model="m")
    cache.batch([(key, request)], "run")
    cache.put(key, request, Answer(text, thinking, finish, Usage(1, 1, 1), error=text), "run")
    found = cache.get(key)
    assert found is not None
    joined = [json.loads(json.dumps(each)) for each in (text, thinking, finish)]
    assert [found.text, found.thinking, found.finish] == joined
    (entry,) = cache.entries()
    assert entry.key == key
    assert cache.batched() == {}
    if joined == [text, thinking, finish] and json.loads(json.dumps(asked)) == asked:
        assert cache.verify() == []
        assert entry.request == request


def test_entries_come_in_order_with_all_they_have(cache: Cache) -> None:
    keys = [put(cache, number) for number in range(20)]
    found = list(cache.entries())
    assert [entry.key for entry in found] == sorted(keys)
    assert all(entry.model == "m" and entry.answer.text == "Why: so" and entry.made > 1e9 for entry in found)
    assert all(key_of(entry.request) == entry.key for entry in found)


def test_what_was_bought_is_told_by_model_and_share(cache: Cache) -> None:
    put(cache, 1)
    put(cache, 2, share=0.5)
    put(cache, 3, model="n")
    other = {**REQUEST, "seed": 4}
    cache.put(key_of(other), other, ANSWER, "another")
    assert cache.bought("run") == [
        Bought("m", Usage(2, 140, 60), Usage(1, 70, 30)),
        Bought("n", Usage(1, 70, 30), Usage(0, 0, 0)),
    ]
    assert cache.bought("nobody") == []


def test_what_is_typical_is_of_the_latest(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.typical("m") is None
    clock = iter(range(10**6))
    monkeypatch.setattr(module.time, "time", lambda: float(next(clock)))
    for number in range(600):
        put(cache, number, Answer("x", usage=Usage(1, 1, 10 if number < 100 else 20), seconds=1 if number < 100 else 2))
    put(cache, 601, Answer("imported from a batch", usage=Usage(1, 1, 999)))
    assert cache.typical("m") == (2, 20)


def test_notes_are_kept(path: Path) -> None:
    with Cache(path) as cache:
        assert cache.recall("form") is None
        cache.note("form", "schema")
        cache.note("form", "lines")
    with Cache(path, create=False) as cache:
        assert cache.recall("form") == "lines"


def test_batches_hold_requests_back_until_answered_or_given_up(cache: Cache) -> None:
    requests = {key_of(request): request for request in ({**REQUEST, "seed": number} for number in range(3))}
    first, second, third = requests
    cache.batch(requests.items(), "run")
    cache.batch([("other", REQUEST)], "another")
    assert cache.batched("run") == requests
    assert cache.batched() == {**requests, "other": REQUEST}
    assert [cache.claim(key) for key in requests] == ["batched"] * 3
    cache.put(first, requests[first], ANSWER, "run", 0.5)
    cache.unbatch([second])
    assert [cache.claim(key) for key in requests] == ["answered", "ours", "batched"]
    assert list(cache.batched("run")) == [third]


def test_pruning_takes_what_is_old_or_of_a_model_and_frees_the_space(path: Path) -> None:
    with Cache(path) as cache:
        for number in range(300):
            put(cache, number, Answer("long " * 2000, usage=Usage(1, 1, 1)), model="m" if number % 3 else "n")
        log = path.with_name(f"{path.name}-wal")
        before = path.stat().st_size + log.stat().st_size
        assert cache.prune(before=0.0) == 0
        assert cache.prune(before=4e9, model="n") == 100
        assert cache.prune(model="m") == 200
        assert list(cache.entries()) == []
        assert path.stat().st_size < before / 10
        assert log.stat().st_size == 0


def test_where_there_is_no_room_to_free_space_answers_go_all_the_same(path: Path, cache: Cache) -> None:
    put(cache)
    other = sqlite3.connect(path, isolation_level=None)
    cache._base.execute("PRAGMA busy_timeout=10")
    other.execute("BEGIN")
    other.execute("SELECT * FROM answers").fetchall()  # so that VACUUM cannot
    assert cache.prune(model="m") == 1
    other.close()
    assert list(cache.entries()) == []


# Claims


def claiming(path: str, keys: list[str], pipe: Any) -> None:
    """A process that claims and then lives on until told."""
    with Cache(Path(path)) as cache:
        pipe.send([cache.claim(key) for key in keys])
        pipe.recv()


@contextlib.contextmanager
def another(forks: ForkServerContext, path: Path, keys: list[str]) -> Iterator[tuple[BaseProcess, list[str]]]:
    ours, theirs = forks.Pipe()
    process = forks.Process(target=claiming, args=(str(path), keys, theirs))
    process.start()
    try:
        assert ours.poll(30)
        yield process, ours.recv()
    finally:
        ours.send("go")
        process.join(30)


def test_a_claim_of_the_living_holds_and_one_of_the_dead_does_not(
    forks: ForkServerContext, path: Path, cache: Cache
) -> None:
    mine = put(cache, 9)
    assert cache.claim("a") == "ours"
    assert cache.claim("a") == "ours", "once more is no harm"
    with another(forks, path, ["a", "b", "c", mine]) as (process, said):
        assert said == ["theirs", "ours", "ours", "answered"]
        assert [cache.claim(key) for key in "abc"] == ["ours", "theirs", "theirs"]
        cache.release("b")
        assert cache.claim("b") == "theirs", "others' claims are not ours to give up"
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(30)
        assert [cache.claim(key) for key in "bc"] == ["ours", "ours"]
    cache.release("b")
    assert sorted(row[0] for row in rows(path, "claims")) == ["a", "c"]
    cache.close()
    assert rows(path, "claims") == []
    assert list(path.with_name("answers.sqlite.holders").iterdir()) == []


def test_two_opened_in_one_process_respect_each_other(path: Path, cache: Cache) -> None:
    with Cache(path) as other:
        assert cache.claim("a") == "ours"
        assert other.claim("a") == "theirs"
        cache.release("a")
        assert other.claim("a") == "ours"
    assert cache.claim("a") == "ours"


def test_an_answer_ends_the_claim_whoever_had_it(path: Path, cache: Cache) -> None:
    with Cache(path) as other:
        key = key_of({**REQUEST, "seed": 0})
        assert other.claim(key) == "ours"
        put(cache)
        assert rows(path, "claims") == []
        assert other.claim(key) == "answered"


def test_looking_at_a_claim_takes_no_lock(path: Path, cache: Cache) -> None:
    with Cache(path) as other:
        assert other.claim("a") == "ours"
        key = put(other)
        other._base.execute("BEGIN IMMEDIATE")
        cache._base.execute("PRAGMA busy_timeout=10")
        assert cache.claim("a") == "theirs"
        assert cache.claim(key) == "answered"
        with pytest.raises(CacheError, match="locked"):
            cache.claim("b")
        other._base.execute("ROLLBACK")


def open_many(path: str, count: int, go: Any, said: Any) -> None:
    go.wait()
    try:
        for round in range(count):
            with Cache(Path(f"{path}-{round}")) as cache:
                put(cache, os.getpid())
        said.put("")
    except BaseException as error:
        said.put(repr(error))
        raise


def test_many_may_make_one_file_at_once(forks: ForkServerContext, path: Path) -> None:
    said, go = forks.Queue(), forks.Event()
    processes = [forks.Process(target=open_many, args=(str(path), 20, go, said)) for _ in range(4)]
    for process in processes:
        process.start()
    go.set()
    assert [said.get(timeout=60) for _ in processes] == [""] * 4
    for process in processes:
        process.join(30)
    for round in range(20):
        assert len(rows(Path(f"{path}-{round}"), "answers")) == 4


def test_turning_to_the_log_waits_for_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opening.writing(path), opening.writing(path)
    with contextlib.closing(first), contextlib.closing(second):
        first.execute("CREATE TABLE x (y)")
        first.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(opening, "PATIENCE", 0.05)
        second.execute("PRAGMA busy_timeout=0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            opening.log(second)
        monkeypatch.setattr(opening, "PATIENCE", 60.0)
        monkeypatch.setattr(opening.time, "sleep", lambda _: first.execute("COMMIT"))
        opening.log(second)
        assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Trouble


def test_nothing_is_made_where_nothing_should_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no cache") as error:
        Cache(tmp_path / "sub" / "a.sqlite", create=False)
    assert "made when a model is first asked" in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_reading_alone_leaves_nothing_beside_it(path: Path) -> None:
    with Cache(path) as cache:
        put(cache)
    with Cache(path, create=False) as cache:
        assert len(list(cache.entries())) == 1
        assert cache.verify() == []
    assert [file.name for file in path.parent.iterdir()] == ["answers.sqlite"]


def test_folders_are_made_or_it_says_why_not(tmp_path: Path) -> None:
    with Cache(tmp_path / "deep" / "down" / "a.sqlite"):
        pass
    (tmp_path / "file").write_text("x", "utf-8")
    for path in (tmp_path / "file" / "a.sqlite", tmp_path, Path("/proc/none/a.sqlite")):
        with pytest.raises(RunError, match=f"{path}: cannot be opened") as error:
            Cache(path)
        assert "`cache`" in error.value.hint


def test_what_is_no_cache_is_left_alone(path: Path) -> None:
    path.write_text("This is no database, but a text of mine." * 100, "utf-8")
    with pytest.raises(RunError, match="not a database") as error:
        Cache(path)
    assert "move it away" in error.value.hint
    assert path.read_text("utf-8").startswith("This is no database")


def test_another_programs_database_is_left_alone(path: Path) -> None:
    alter(path, "CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(RunError, match="is another program's database") as error:
        Cache(path)
    assert "Name another file" in error.value.hint
    assert path.read_bytes() == before


def test_a_newer_layout_is_not_touched(path: Path) -> None:
    Cache(path).close()
    alter(path, f"PRAGMA user_version={module.LAYOUT + 1}")
    with pytest.raises(RunError, match="made by a newer version") as error:
        Cache(path)
    assert "Upgrade" in error.value.hint


def test_a_damaged_file_is_told(path: Path) -> None:
    with Cache(path) as cache:
        for number in range(300):
            put(cache, number, Answer("long " * 100, usage=Usage(1, 1, 1)))
    content = bytearray(path.read_bytes())
    for start in range(8192, len(content), 4096):
        content[start : start + 2000] = b"\xaa" * 2000
    path.write_bytes(content)
    with Cache(path) as cache:
        with pytest.raises(RunError) as error:
            list(cache.entries())
        assert str(path) in str(error.value)
        assert "damaged" in error.value.hint
        with contextlib.suppress(RunError):
            assert cache.verify()


@pytest.mark.parametrize("answer", ["{", "[]", '{"text": "x"}', "7", "[" * 100_000])
def test_an_entry_that_cannot_be_read_is_named(path: Path, answer: str) -> None:
    with Cache(path) as cache:
        key = put(cache)
        alter(path, "UPDATE answers SET answer = ?", answer)
        for read in (lambda: cache.get(key), lambda: list(cache.entries())):
            with pytest.raises(RunError, match=f"the entry {key[:15]} cannot be read"):
                read()
        assert cache.verify() == [f"{key[:15]}: its answer cannot be read"]


@pytest.mark.parametrize("request_text", ["{", "[]", json.dumps(REQUEST), "[" * 100_000])
def test_a_request_that_was_changed_is_found(path: Path, request_text: str) -> None:
    with Cache(path) as cache:
        put(cache, 1)
        key = put(cache, 2)
        assert cache.verify() == []
        alter(path, "UPDATE answers SET request = ? WHERE key = ?", request_text, key)
        assert cache.verify() == [f"{key[:15]}: is not the key of its request"]


def test_a_full_disk_is_told_and_loses_nothing(path: Path, cache: Cache) -> None:
    kept = [put(cache, number) for number in range(50)]
    pages = cache._pragma("page_count")
    cache._base.execute(f"PRAGMA max_page_count={pages}")
    big = Answer("long " * 10_000, usage=Usage(1, 1, 1))
    for _ in range(3):
        with pytest.raises(CacheError, match="full") as error:
            put(cache, 100, big)
        assert "Is the disk full" in error.value.hint
    cache._base.execute("PRAGMA max_page_count=100000")
    key = put(cache, 100, big)
    assert cache.get(key)
    assert all(cache.get(each) for each in kept)
    assert cache.verify() == []


def test_the_first_error_is_told_where_sqlite_has_rolled_back_itself(cache: Cache) -> None:
    def fail() -> None:
        with cache._writing() as base:
            base.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(CacheError, match="disk is full"):
        fail()
    assert put(cache)


class Interrupted:
    """A connection that is interrupted right after a statement."""

    def __init__(self, base: sqlite3.Connection, after: str) -> None:
        self._base, self._after = base, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        done = self._base.execute(statement, *values)
        if self._after and statement.startswith(self._after):
            self._after = ""
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("after", ["BEGIN", "SELECT", "INSERT", "DELETE", "COMMIT", "ROLLBACK"])
def test_an_interrupt_after_any_statement_leaves_nothing_open(path: Path, after: str) -> None:
    cache = Cache(path)
    assert cache.claim("mine") == "ours"
    cache._base = Interrupted(cache._base, after)  # type: ignore[assignment]

    def work() -> None:
        cache.claim("another")
        put(cache)
        with cache._writing():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cache.get(put(cache))
    cache._base.execute("BEGIN IMMEDIATE")  # interrupted where no block holds it yet
    assert cache.get(put(cache, 2))
    cache._base.execute("BEGIN IMMEDIATE")
    cache.close()
    assert rows(path, "claims") == []
    assert len(rows(path, "answers")) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    path, kept = small_disk / "a.sqlite", []
    with Cache(path) as cache:
        assert cache.claim("a") == "ours"

        def fill() -> None:
            for number in range(1000):
                kept.append(put(cache, number, Answer("long " * 400, usage=Usage(1, 1, 1))))

        with pytest.raises(CacheError) as error:
            fill()
        assert "Is the disk full" in error.value.hint
        assert len(kept) > 20
    with Cache(path) as cache:
        assert all(cache.get(key) for key in kept)
        assert cache.verify() == []
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        assert put(cache, 5000)
        assert cache.prune(model="m") == len(kept) + 1
    (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises((RunError, CacheError)), Cache(small_disk / "b.sqlite") as cache:
        cache.claim("a")


def test_a_holders_file_that_cannot_be_made_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(CacheError, match="No locks available") as error:
            cache.claim("a")
    assert "network drive" in error.value.hint
    assert cache.claim("a") == "ours"


def test_our_own_mistakes_are_not_told_as_damage(path: Path) -> None:
    cache = Cache(path)
    cache.close()
    cache.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cache.get("a")


@pytest.mark.parametrize(
    ("configured", "set_to", "expected"),
    [
        ("mine.sqlite", {"REASONINGREC_CACHE": "/else"}, "mine.sqlite"),
        ("~/mine.sqlite", {}, "/home/me/mine.sqlite"),
        ("", {"REASONINGREC_CACHE": "~/c.sqlite"}, "/home/me/c.sqlite"),
        ("", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/reasoningrec/answers.sqlite"),
        ("", {}, "/home/me/.cache/reasoningrec/answers.sqlite"),
    ],
)
def test_the_place(configured: str, set_to: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"HOME": "/home/me", **set_to})
    assert place(configured) == Path(expected)
