"""Characters that cannot be seen, yet steer terminals and pages: control characters and direction marks."""

from __future__ import annotations

import re
from typing import Final

UNSEEN: Final = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
"""One of them, as a pattern of `re` and of Polars alike."""
_UNSEEN = re.compile(UNSEEN)


def without_unseen(text: str) -> str:
    """`text` on one line, without them."""
    return _UNSEEN.sub("", " ".join(text.split()))


def shown(text: str) -> str:
    """`text` with the code of each in its place; lines stay."""
    return "\n".join(_UNSEEN.sub(lambda match: ascii(match[0])[1:-1], line) for line in text.split("\n"))
