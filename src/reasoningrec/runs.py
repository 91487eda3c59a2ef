"""The run directory: artifacts, the manifest that says what is done, and what must be redone and why.

A stage `describe` owns the files `describe.*` and the folder `describe/`; nothing else is touched when it is redone.
While it works, it appends rows to `describe.journal`; what it writes whole, it writes through `replacing`, so an
artifact that exists is complete. `manifest.json` holds nothing that depends on when or how often the run was started,
so a run that was killed and resumed ends in the same bytes as a straight one; clock times are in `times.json`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from reasoningrec.aside import Aside
from reasoningrec.errors import NotInRunError, RunError
from reasoningrec.rows import TEMPORARY, Json, encode, from_row, read_json, to_row, write_json

MANIFEST = "manifest.json"
TIMES = "times.json"
LOCK = ".lock"
A_LOOK = 0.5
"""Seconds to wait for the lock: whoever looks at a run holds it for a moment."""
FINGERPRINT_TAG = "v1:"
"""Names the recipe of `fingerprint`; a new recipe takes a new tag, so that old and new can be told apart."""

Status = Literal["pending", "running", "done", "failed"]
State = Literal["done", "resume", "fresh", "changed"]


def canonical(value: Json) -> str:
    """The one JSON text of a value: sorted keys, no spaces. Part of every fingerprint: never change it unmarked."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def fingerprint(value: Json) -> str:
    """SHA-256 of the canonical JSON of `value`, tagged with the recipe's version."""
    return FINGERPRINT_TAG + hashlib.sha256(encode(canonical(value))).hexdigest()


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What the manifest keeps of one stage."""

    status: Status = "pending"
    fingerprint: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the fingerprint was made of: settings, digests of prompts, fingerprints of the stages it reads."""
    counts: Mapping[str, int | float] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """File (relative to the run) -> SHA-256."""
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """A mark of what was asked of the stage and of the files that came of it: stages that read it depend on it."""
        return fingerprint({"fingerprint": self.fingerprint, "artifacts": self.artifacts})


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Whether a stage has to work, and why."""

    name: str
    state: State
    fingerprint: str
    changed: tuple[str, ...] = ()
    """Fields that differ from those of the last time; filled where the state is "changed"."""
    missing: tuple[str, ...] = ()
    """Artifacts of a finished stage that are no longer there; it is then "fresh"."""


class Run:
    """An opened run directory: one process may write it at a time, any number may read."""

    def __init__(self, folder: Path, lock: int | None) -> None:
        """Use `Run.open` or `Run.read`."""
        self.folder = folder
        self._lock = lock
        self._clocks: dict[str, float] = {}
        self._config: Mapping[str, Any] = {}
        self._version = ""
        self._config_before: tuple[Mapping[str, Any], str] | None = None
        self._stages: dict[str, StageRecord] = {}
        self._load()

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self:
        """Open for writing, alone.

        Args:
            path: the run's folder.
            create: whether to make it where it does not exist.

        Raises:
            RunError: another process is writing it (named by its id), it is a file, it holds other things than a run,
                it does not exist and `create` is False, or it cannot be written.
        """
        _check_place(path, create)
        cls(path, None)  # another program's manifest.json is found before anything is touched
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}", hint="Name another folder.") from None
        try:
            _take(lock, path)
            # Ours begin with TEMPORARY; those of safetensors with ".tmp" and six letters.
            for leftover in path.rglob(".tmp*"):
                leftover.unlink()
            return cls(path, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open for reading. Raises RunError where there is no run."""
        _check_place(path, create=False)
        return cls(path, None)

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the last `configure`, as plain values."""
        return self._config

    @property
    def version(self) -> str:
        """The package version of the last `configure`."""
        return self._version

    @property
    def stages(self) -> Mapping[str, StageRecord]:
        """What is known of each stage begun so far, by name."""
        return self._stages

    def configure(self, config: Mapping[str, Json], *, version: str) -> None:
        """Record what the run is of. Does not itself undo anything: stages compare their own fields."""
        self._config_before = (self._config, self._version)
        self._config, self._version = config, version
        self._save()

    def stage(self, name: str, fields: Mapping[str, Json], *, again: bool = False) -> StagePlan:
        """Whether stage `name` is done with exactly these fields, can go on, or must start over. Changes nothing.

        Args:
            name: lower-case letters, digits, dashes.
            fields: all that its outcome depends on, flat: settings, digests of prompts, model ids, and the
                fingerprints of the stages it reads, through which a change travels down the line.
            again: whether it must start over where it is done.
        """
        mark = fingerprint(fields)
        known = self._stages.get(name, StageRecord())
        if known.status == "pending":
            return StagePlan(name, "fresh", mark)
        if known.fingerprint != mark:
            return StagePlan(name, "changed", mark, changed=_differing(known.fields, fields))
        if known.status != "done":
            return StagePlan(name, "resume", mark)
        missing = tuple(file for file in known.artifacts if not (self.folder / file).is_file())
        return StagePlan(name, "fresh" if missing or again else "done", mark, missing=missing)

    def begin(self, name: str, fields: Mapping[str, Json], *, again: bool = False) -> StagePlan:
        """Mark a stage as running; returns the plan before. Arguments as for `stage`.

        What it left behind is set aside until it is finished (see `take_back`), and removed where files of it are
        missing or a finished form of it is set aside already.
        """
        plan = self.stage(name, fields, again=again)
        if plan.state != "resume":
            known, aside = self._stages.get(name, StageRecord()), Aside(self.folder, name)
            if not plan.missing and (known.status == "done" or (known.status != "pending" and aside.note() is None)):
                note = {"record": to_row(known), "times": self.times().get(name, {})}
                aside.keep(self._files(name), note)
            # In this order a kill in between finds a stage never begun, not half a stage under a new fingerprint.
            self._put(name, StageRecord())
            self._clear(name)
        self._put(name, StageRecord("running", plan.fingerprint, fields))
        self._clocks[name] = time.monotonic()
        self._note_times(name, {"started": _now()})
        return plan

    def finish(self, name: str, counts: Mapping[str, int | float], notes: Sequence[str] = ()) -> None:
        """Mark a begun stage as done, with the digests of its files. Counts are of all its work, not this sitting's."""
        self.journal_path(name).unlink(missing_ok=True)
        artifacts = {str(file.relative_to(self.folder)): _digest(file) for file in self._files(name)}
        done = replace(self._stages[name], status="done", counts=counts, artifacts=artifacts, notes=tuple(notes))
        seconds = round(time.monotonic() - self._clocks[name], 3)
        Aside(self.folder, name).drop()
        self._config_before = None
        self._note_times(name, {"finished": _now(), "seconds": seconds})
        self._put(name, done)

    def fail(self, name: str, message: str) -> None:
        """Mark a begun stage as failed; what it has done is kept for the next try."""
        self._put(name, replace(self._stages[name], status="failed", notes=(message,)))

    def take_back(self, name: str, mark: str | None = None) -> bool:
        """Give a stage what was set aside when it was begun; False where nothing is.

        Where no stage was finished since `configure`, the configuration is that of before, too.

        Args:
            name: of the stage.
            mark: a fingerprint: only what was made by it is given back.
        """
        aside = Aside(self.folder, name)
        note = aside.note()
        if note is None or mark not in (None, note["record"]["fingerprint"]):
            return False
        known = from_row(StageRecord, note["record"])
        self._put(name, StageRecord())
        aside.give_back()
        for file in self._files(name):
            if known.status == "done" and str(file.relative_to(self.folder)) not in known.artifacts:
                file.unlink()
        if mark is None and self._config_before:
            self._config, self._version = self._config_before
        self._put(name, known)
        write_json(self.folder / TIMES, {**self.times(), name: note["times"]})
        aside.drop()
        return True

    def is_untouched(self, name: str) -> bool:
        """Whether a begun stage has left nothing yet."""
        return not any(file.stat().st_size for file in self._files(name))

    def require(self, name: str) -> StageRecord:
        """The record of a finished stage. Raises NotInRunError where it is not done, saying what to do."""
        known = self._stages.get(name, StageRecord())
        if known.status != "done":
            reading = self._lock is None
            other = self.holder() if reading else ""
            cut = known.status == "running" and reading and not other
            wait = f"Process {other} is working in it: wait until it ends."
            raise NotInRunError(
                f"{self.folder}: stage {name} is {'interrupted' if cut else known.status}, not done",
                hint=wait if other else f"Run `reasoningrec run --run {self.folder} CONFIG.toml` first.",
            )
        return known

    def check(self, name: str) -> None:
        """Raises RunError where a file of a finished stage is not as the stage wrote it."""
        for file, digest in self.require(name).artifacts.items():
            path = self.folder / file
            try:
                same = _digest(path) == digest
            except OSError as error:
                hint = "See that you may read it." if isinstance(error, PermissionError) else _again(name)
                if isinstance(error, FileNotFoundError):
                    hint = f"The next run does stage {name} again."
                raise RunError(f"{path}: cannot be read: {error.strerror}", hint=hint) from None
            if not same:
                raise RunError(f"{path}: is not as stage {name} wrote it: damaged, or edited", hint=_again(name))

    def holder(self) -> str:
        """The id of the process that writes the run now; "" where there is none."""
        try:
            lock = os.open(self.folder / LOCK, os.O_RDONLY)
        except OSError:
            return ""
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
        except OSError:
            return os.pread(lock, 32, 0).decode("ascii", "replace") or "unknown"
        finally:
            os.close(lock)

    def journal_path(self, name: str) -> Path:
        """Where stage `name` keeps its journal."""
        return self.folder / f"{name}.journal"

    def times(self) -> dict[str, Any]:
        """Per stage, of its last sitting: `started`, `finished` (UTC, ISO 8601), `seconds`, `spent` on models."""
        path = self.folder / TIMES
        times: dict[str, Any] = read_json(path) if path.exists() else {}
        if not isinstance(times, dict) or not all(isinstance(entry, dict) for entry in times.values()):
            raise RunError(f"{path}: is damaged: it holds other things than times", hint="Remove it.")
        return times

    def note_sitting(self, name: str, spent: Mapping[str, Any]) -> None:
        """Keep what this sitting of a begun stage spent, beside its times."""
        self._note_times(name, {"spent": spent})

    def _files(self, name: str) -> list[Path]:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or f"{name}.json" in (MANIFEST, TIMES):
            raise ValueError(f"not a stage name: {name!r}")
        found = [*self.folder.glob(f"{name}.*"), *(self.folder / name).rglob("*")]
        return sorted(file for file in found if file.is_file())

    def _clear(self, name: str) -> None:
        for file in self._files(name):
            file.unlink()
        if (self.folder / name).exists():
            shutil.rmtree(self.folder / name)

    def _put(self, name: str, record: StageRecord) -> None:
        self._stages[name] = record
        self._save()

    def _load(self) -> None:
        path = self.folder / MANIFEST
        if not path.exists():
            return
        if not os.access(path, os.R_OK):
            raise RunError(f"{path}: cannot be read", hint="See that you may read it.")
        try:
            manifest = read_json(path)
            self._config, self._version = dict(manifest["config"]), str(manifest["version"])
            self._stages = {name: from_row(StageRecord, row) for name, row in manifest["stages"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            detail = error.args[0] if isinstance(error, RunError) else "the parts config, version, stages are needed"
            raise RunError(
                f"{path}: is not a run's manifest: {detail}",
                hint="It was edited, or is another program's: name a new folder.",
            ) from None

    def _save(self) -> None:
        if self._lock is None:
            raise RunError(f"{self.folder}: is opened for reading only")
        stages = {name: to_row(record) for name, record in self._stages.items()}
        manifest: dict[str, Any] = {"config": self._config, "version": self._version, "stages": stages}
        write_json(self.folder / MANIFEST, manifest)

    def _note_times(self, name: str, entry: Mapping[str, Any]) -> None:
        times = self.times()
        times[name] = {**({} if "started" in entry else times.get(name, {})), **entry}
        write_json(self.folder / TIMES, times)


def _check_place(path: Path, create: bool) -> None:
    """Raises RunError unless `path` is a run, or may become one."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise RunError(f"{str(path)!a}: is not UTF-8, as the names of folders must be", hint="Rename it.") from None
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file, not a run's folder", hint="Name a folder.")
    if (path / MANIFEST).is_file():
        return
    if not create:
        raise RunError(
            f"{path}: is not a run's folder (it has no {MANIFEST})",
            hint=f"`reasoningrec run --run {path} CONFIG.toml` makes one.",
        )
    others = [file.name for file in path.iterdir()] if path.exists() else []
    if strange := sorted(name for name in others if name != LOCK and not name.startswith(TEMPORARY)):
        raise RunError(
            f"{path}: holds other things than a run ({', '.join(strange[:3])})", hint="Name a new or an empty folder."
        )


def _again(name: str) -> str:
    return f"Remove the file, and the next run does stage {name} again."


def _take(lock: int, path: Path) -> None:
    """Lock the open file `lock` for this process, until it is closed or the process ends in whatever way."""
    end = time.monotonic() + A_LOOK
    try:
        while not (taken := _taken(lock)) and time.monotonic() < end:
            time.sleep(A_LOOK / 50)
    except OSError as error:
        raise RunError(f"{path}: cannot be locked: {error.strerror}", hint="Name a folder on a local disk.") from None
    if not taken:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace") or "unknown"
        raise RunError(f"{path}: process {holder} is working in it", hint="Wait until it ends, or name another folder.")
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode("ascii"), 0)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    absent = object()
    names = sorted({*before, *now})
    return tuple(
        name
        for name in names
        if absent in (before.get(name, absent), now.get(name, absent))
        or canonical(before[name]) != canonical(now[name])
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
