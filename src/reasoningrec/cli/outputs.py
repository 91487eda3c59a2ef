"""Files that a user names for a command to write: looked at before the work is done, not after."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def check_outputs(named: Mapping[str, Path | None]) -> dict[str, Path]:
    """Look at where a command shall write; `named` is flag -> file. A file that stands there is written over.

    Returns:
        Flag -> file to write: where a link leads, so that the link stays.

    Raises:
        InputError: a folder does not exist or cannot be written, what is named is no file (but a folder, a device), it
            lies in a run's folder, or two flags name one.
    """
    from reasoningrec.errors import InputError
    from reasoningrec.runs import MANIFEST

    taken: dict[Path, str] = {}
    found: dict[str, Path] = {}
    for flag, path in named.items():
        if path is None:
            continue
        whole = Path(os.path.realpath(path))  # Path.resolve fails at a link that leads to itself
        if path.exists() and not path.is_file():  # a pipe behind a link has no place of its own
            raise InputError(f"{flag}: {path}: is no file", hint="Name a file.")
        if not whole.parent.is_dir():
            raise InputError(f"{flag}: {path.parent}: no such folder", hint="Make it first, or name another.")
        if run := next((above for above in whole.parents if (above / MANIFEST).is_file()), None):
            raise InputError(
                f"{flag}: {path}: lies in a run's folder, {run} (it has a {MANIFEST})", hint="Name a file outside."
            )
        if not os.access(whole if whole.exists() else whole.parent, os.W_OK):
            raise InputError(f"{flag}: {path}: cannot be written", hint="Name a file elsewhere.")
        if whole in taken:
            raise InputError(f"{flag}: {path}: is the file of {taken[whole]}, too", hint="Name another file.")
        taken[whole], found[flag] = flag, whole
    return found
