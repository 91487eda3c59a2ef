"""How many tokens a prompt has: counted where the model's tokenizer is at hand, else estimated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reasoningrec.errors import ConfigError, MissingExtraError

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
        if self._tokenizer is None:
            return estimate(texts)
        # a lone surrogate, which no tokenizer takes, counts as "?"
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        return sum(PER_MESSAGE + len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in whole)


def estimate(texts: Iterable[str]) -> int:
    """Tokens of messages with these texts, by their length."""
    return math.ceil(sum(PER_MESSAGE + len(text) / SIGNS_PER_TOKEN for text in texts))


def of_words(words: int) -> int:
    """Tokens of an answer of so many words, roughly."""
    return round(words * TOKENS_PER_WORD)


def _open(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        hint = "pip install 'reasoningrec[student]', or leave `tokenizer` out."
        raise MissingExtraError("tokenizer: counting needs the package tokenizers", hint=hint) from None
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()  # such a file may cut every text to a length, or fill it up
        tokenizer.no_padding()
        return tokenizer
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise ConfigError(f"tokenizer: {file}: cannot be read: {error}", hint="Name a tokenizer.json.") from None
