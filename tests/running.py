"""A configuration small enough to run in tests, what a command line answered, and processes that are killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reasoningrec.cli import main

SMALL = """name = "demo"
item_word = "product"
threads = 1
[data]
source = "demo"
users = 60
[split]
history = 4
[train]
hidden = 32
layers = 1
heads = 2
vocabulary = 800
max_tokens = 320
epochs = 2
batch_tokens = 4096
checkpoint_seconds = 0.0
[predict]
explain = 24
max_new_tokens = 64
[evaluate]
resamples = 100
[report]
samples = 6
"""
"""A run of the whole line in two or three seconds."""


@dataclass(frozen=True)
class Answer:
    """What a command line printed, and how it ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def alone(arguments: list[str], log: str) -> None:
    """The command line in a process group of its own, its standard error in a file, for a child process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 2)
    sys.stderr = os.fdopen(file, "w", buffering=1)
    main(arguments)


def dying(arguments: list[str], folder: str, when: int) -> None:
    """The command line, killed just before its `when`-th change to a file in `folder`, for a child process."""
    left = when

    def count(event: str, values: tuple[object, ...]) -> None:
        nonlocal left
        writing = event in WRITES or (event == "open" and values[1] != "r")
        if writing and str(values[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    main(arguments)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a run but times, looks and the lock."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {name: content for name, content in found.items() if name not in ("times.json", "looks.jsonl", ".lock")}


def assert_same(folder: Path, straight: Path) -> None:
    ended, expected = files(folder), files(straight)
    assert sorted(ended) == sorted(expected)
    assert not [name for name in expected if ended[name] != expected[name]]
