"""The one place that reads secrets: from the environment, into a value that never shows itself."""

from __future__ import annotations

import os

from reasoningrec.errors import ConfigError

MASK = "[key]"


class Key:
    """A server's key, or none. Its text comes out of `header` alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    @classmethod
    def of(cls, name: str) -> Key:
        """The key in the environment variable `name`; none where `name` is "".

        Raises:
            ConfigError: the variable is not set, or holds what no header can carry.
        """
        if not name:
            return cls()
        text = os.environ.get(name, "").strip()
        if not text:
            raise ConfigError(f"key_env: the environment variable {name} is not set", hint=f"export {name}=...")
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(f"key_env: what {name} holds cannot be a key: it has signs no header may carry")
        return cls(text)

    def header(self) -> dict[str, str]:
        """The request header that carries it; nothing where there is no key."""
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def scrub(self, text: str) -> str:
        """`text` without the key: servers repeat what they were sent in their errors."""
        return text.replace(self._text, MASK) if self._text else text

    def __repr__(self) -> str:
        return f"Key({MASK if self._text else ''})"
