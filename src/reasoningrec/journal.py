"""Rows kept one by one while a stage works, so that work killed at any byte goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from reasoningrec.rows import Row, damaged, line_of, parse_line, write_jsonl


class Journal:
    """Rows appended as they come, each under a text id, so that work killed at any byte goes on where it stopped.

    `done` maps the ids written so far to their rows. A line that was cut short is removed on opening; of two rows with
    one id the first wins. One process writes at a time (the run's lock sees to it).
    """

    def __init__(self, path: Path) -> None:
        """Open or make the journal. Raises RunError where a whole line of it is damaged."""
        self.path = path
        self.done: dict[str, Row] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def _recover(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        os.ftruncate(self._handle, whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            entry = parse_line(self.path, number, line)
            if not isinstance(entry.get("id"), str) or not isinstance(entry.get("row"), dict):
                raise damaged(self.path, number, "is not a journal's line")
            self.done.setdefault(entry["id"], entry["row"])

    def append(self, id: str, row: Mapping[str, Any]) -> None:
        """Add a row of JSON values, unless the id has one already. Raises OSError where the disk is full."""
        self.extend([(id, row)])

    def extend(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Add a batch in one write."""
        lines: dict[str, bytes] = {}
        for id, row in rows:
            if id not in self.done:
                lines.setdefault(id, line_of({"id": id, "row": row}))
        size = os.fstat(self._handle).st_size
        batch = b"".join(lines.values())
        if os.write(self._handle, batch) < len(batch):
            os.ftruncate(self._handle, size)
            raise OSError(f"{self.path}: could not be written whole; is the disk full?")
        # Read back what was written: a row looks the same before and after a resume.
        self.done.update((id, json.loads(line)["row"]) for id, line in lines.items())

    def finish(self, target: Path) -> None:
        """Write all rows to `target` as JSON lines, in the order of their ids, and remove the journal."""
        write_jsonl(target, (self.done[id] for id in sorted(self.done)))
        self.discard()

    def discard(self) -> None:
        """Remove the journal: its rows are kept elsewhere, or are not to be gone on from."""
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Let go of the file; rows stay for the next opening."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
