"""The log of looks at a test set: a line for each time that test figures were computed, kept beside the run.

Whoever tries twenty settings and reports the best has looked twenty times; the log says so. It stands in the run's
folder as `looks.jsonl`, is only ever appended to, and outlives the stages that are done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten

from reasoningrec import __version__
from reasoningrec.errors import RunError
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Row, line_of, read_jsonl

LOOKS = "looks.jsonl"
COMMAND = 300
"""Characters of a command that are kept at most."""


def note(space: Workspace, by: str, labels: Mapping[str, bool], methods: int) -> None:
    """Append a look.

    Args:
        space: of the run whose test set was looked at.
        by: the command that computed the figures: evaluate, compare, audit, curve.
        labels: of the test queries, by id.
        methods: how many were measured.

    Raises:
        OSError: the disk is full, or the run may not be written.
    """
    row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": commit_of(Path(__file__).parent),
        "dataset": space.config.name,
        "protocol": space.config.protocol,
        "seed": space.config.seed,
        "by": by,
        "command": shorten(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]), COMMAND, placeholder=" …"),
        "methods": methods,
        "queries": len(labels),
        "test": mark(labels),
    }
    handle = os.open(space.folder / LOOKS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        cut_short = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # by a crash or an editor
        os.write(handle, b"\n" * cut_short + line_of(row))
    finally:
        os.close(handle)


def note_or_tell(space: Workspace, by: str, labels: Mapping[str, bool], methods: int) -> tuple[str, ...]:
    """As `note`, for commands that only read runs; where one may not be written, says so in words."""
    try:
        note(space, by, labels, methods)
    except OSError as error:
        return (f"{space.folder}: this look at its test set is not noted: {error.strerror}",)
    return ()


def looks(folder: Path) -> list[Row]:
    """The looks noted in a run's folder, oldest first. Raises RunError where a line is damaged."""
    path = folder / LOOKS
    try:
        return list(read_jsonl(path)) if path.exists() else []
    except RunError as error:
        raise RunError(
            str(error.args[0]), hint="Mend that line, or take it out; nothing writes the log anew."
        ) from None


def mark(labels: Mapping[str, bool]) -> str:
    """A short digest of the test queries and their labels: looks with the same mark were at the same test set."""
    content = json.dumps(sorted(labels.items()), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def commit_of(package: Path) -> str:
    """The commit that is checked out where the package lies; "" where it is installed from elsewhere."""
    git = next((folder / ".git" for folder in package.parents[:3] if (folder / ".git").is_dir()), None)
    if git is None:
        return ""
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref: "):
            return head[:12]
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text("utf-8").strip()[:12]
        packed = (git / "packed-refs").read_text("utf-8").splitlines()
        return next((line.split()[0][:12] for line in packed if line.endswith(f" {name}")), "")
    except OSError:
        return ""
