"""The one place that reads secrets: from the environment, into a value that never shows itself."""

from __future__ import annotations

import json
import os
from urllib.parse import quote

from reasoningrec.errors import ConfigError

MASK = "[key]"
SHORTEST = 8
"""Signs of a secret at least: servers that need no key are given words like "none", which stay in texts."""


class Key:
    """A server's key, or none. Its text comes out of `header` alone."""

    __slots__ = ("_shapes", "_text")

    def __init__(self, text: str = "") -> None:
        self._text = text
        quoted = json.dumps(text)[1:-1]
        shapes = {text, quoted, quoted.replace("/", "\\/"), quote(text), quote(text, safe="")}
        self._shapes = sorted(shapes, key=len, reverse=True) if len(text) >= SHORTEST else []

    @classmethod
    def of(cls, name: str, field: str = "key_env") -> Key:
        """The key in the environment variable `name`; none where `name` is "". Messages call the setting `field`.

        Raises:
            ConfigError: the variable is not set, or holds what no header can carry.
        """
        if not name:
            return cls()
        text = os.environ.get(name, "").strip()
        if not text:
            raise ConfigError(f"{field}: the environment variable {name} is not set", hint=f"export {name}=...")
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(f"{field}: what {name} holds cannot be a key: it has signs no header may carry")
        return cls(text)

    def header(self) -> dict[str, str]:
        """The request header that carries it; nothing where there is no key."""
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def scrub(self, text: str) -> str:
        """`text` without the key, in JSON and addresses too: servers repeat what they were sent in their errors."""
        for shape in self._shapes:
            text = text.replace(shape, MASK)
        return text

    def __repr__(self) -> str:
        return f"Key({MASK if self._text else ''})"
