"""How many tokens a prompt has: counted where the model's tokenizer is at hand, else estimated."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reasoningrec.errors import ConfigError

SIGNS_PER_TOKEN = 4.0
"""Signs of English text to a token, roughly, for the tokenizers in use."""
PER_MESSAGE = 4
"""Tokens that a chat template puts around a message, roughly."""
TOKENS_PER_WORD = 1.5


class Counter:
    """Counts the tokens of messages.

    Attributes:
        exact: whether a tokenizer counts; what a chat template adds stays an estimate.
    """

    def __init__(self, place: str) -> None:
        """`place` is a tokenizer.json or its folder; "" = estimate. Raises ConfigError where it cannot be read."""
        self.exact = bool(place)
        self._tokenizer: Any = _open(Path(place)) if place else None

    def count(self, texts: Iterable[str]) -> int:
        """Tokens of messages with these texts."""
        total = 0.0
        for text in texts:
            total += PER_MESSAGE
            total += len(self._tokenizer.encode(text).ids) if self._tokenizer else len(text) / SIGNS_PER_TOKEN
        return round(total)


def of_words(words: int) -> int:
    """Tokens of an answer of so many words, roughly."""
    return round(words * TOKENS_PER_WORD)


def _open(path: Path) -> Any:
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise ConfigError(f"tokenizer: {file}: cannot be read: {error}", hint="Name a tokenizer.json.") from None
