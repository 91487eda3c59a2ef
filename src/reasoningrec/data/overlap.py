"""Phrases that texts share with reviews: exact runs of words, found for all texts in one pass over the reviews.

A *phrase* of a text is every run of `RUN` words within a sentence of it, and every whole sentence of `SENTENCE` to
`RUN` - 1 words. Shorter sentences ("Love it!") are everybody's, and tell of no source; nor does a run across the end of
a sentence, which a text made of two sources holds and neither of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 8
SENTENCE = 5
SENTENCES = re.compile(r"[.!?;|\n]+")
WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
Hashes = NDArray[np.uint64]
BASE = np.uint64(0x9E3779B97F4A7C15)


def words_of(text: str) -> list[str]:
    """The words of a text, case folded, without punctuation."""
    return WORDS.findall(text.casefold())


def phrases(text: str) -> set[str]:
    """The phrases of a text, as words parted by single spaces."""
    return {" ".join(phrase) for phrase in _phrases(text)}


def _phrases(text: str) -> Iterator[list[str]]:
    for sentence in SENTENCES.split(text):
        words = words_of(sentence)
        if SENTENCE <= len(words) < RUN:
            yield words
        yield from (words[at : at + RUN] for at in range(len(words) - RUN + 1))


class Phrasebook:
    """Which of many documents hold which phrases of the texts that are looked at.

    The texts' phrases are collected first; then each document is read once, its runs of words compared as 64-bit
    rolling hashes (Karp and Rabin, 1987), and what agrees is compared as words, so that a hash that is equal by chance
    is no find. Memory grows with the texts and their finds, not with the documents.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._code: dict[str, int] = {}
        wanted: dict[int, set[str]] = defaultdict(set)
        for text in texts:
            for phrase in phrases(text):
                wanted[phrase.count(" ") + 1].add(phrase)
        self._hashes = {
            length: np.unique(np.concatenate([self._rolling(phrase.split(" "), length) for phrase in sorted(found)]))
            for length, found in wanted.items()
        }
        self._wanted: set[str] = set().union(*wanted.values())
        self.holders: dict[str, list[int]] = defaultdict(list)
        """Phrase -> the documents that hold it, by the number `read` was given."""

    def read(self, documents: Mapping[int, str]) -> None:
        """Note which phrases stand in each document."""
        for number, text in documents.items():
            for phrase in self._found(text):
                self.holders[phrase].append(number)

    def shared(self, text: str) -> dict[str, Sequence[int]]:
        """The phrases of `text` that stand in some document, with those documents."""
        return {phrase: self.holders[phrase] for phrase in sorted(phrases(text)) if phrase in self.holders}

    def _found(self, text: str) -> set[str]:
        found: set[str] = set()
        for sentence in SENTENCES.split(text):
            words = words_of(sentence)
            if len(words) >= SENTENCE:
                length = min(len(words), RUN)
                found.update(" ".join(words[at : at + length]) for at in self._agree(words, length))
        return found & self._wanted

    def _agree(self, words: Sequence[str], length: int) -> list[int]:
        """Where runs of `length` words begin whose hash is one of the texts'."""
        if length not in self._hashes or len(words) < length:
            return []
        return np.flatnonzero(np.isin(self._rolling(words, length), self._hashes[length])).tolist()

    def _rolling(self, words: Sequence[str], length: int) -> Hashes:
        codes = np.array([self._code.setdefault(word, len(self._code) + 1) for word in words], dtype=np.uint64)
        runs = np.lib.stride_tricks.sliding_window_view(codes, length)
        powers = np.cumprod(np.full(length, BASE, dtype=np.uint64), dtype=np.uint64)
        hashes: Hashes = (runs * powers).sum(axis=1, dtype=np.uint64)
        return hashes
