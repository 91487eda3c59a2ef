"""Named tensors in a safetensors file, written as any other file is: same errors, same rights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


def write(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write `tensors` to `path`, readable for whoever may read new files. Raises OSError where that is not possible."""
    try:
        # The metadata let other tools read the file.
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written: {error}") from None
    path.chmod(0o666 & ~mask())


def mask() -> int:
    """The rights that new files do not have."""
    found = os.umask(0)
    os.umask(found)
    return found
