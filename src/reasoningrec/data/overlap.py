"""Phrases that texts share with reviews: exact runs of words, found for all texts in one pass over the reviews.

A *phrase* of a review is every run of `RUN` words within a sentence of it, and every whole sentence of `SENTENCE` to
`RUN` - 1 words, wherever a text has them in a sentence of its own. Shorter sentences ("Love it!") are everybody's, and
tell of no source; nor does a run across the end of a sentence, which a text made of two sources holds and neither of
them. Quotes, accents and letters are compared however they are encoded (Unicode's NFKC), and markup is no word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 8
SENTENCE = 5
SENTENCES = re.compile(r"[.!?;|\n。！？]+")
WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
MARKUP = re.compile(r"<[^<>]{1,80}>")
Hashes = NDArray[np.uint64]
BASE = np.uint64(0x9E3779B97F4A7C15)


def _sentences(text: str) -> Iterator[list[str]]:
    """The words of each sentence, case folded, without punctuation."""
    plain = unicodedata.normalize("NFKC", MARKUP.sub(" ", text)).replace("’", "'").casefold()
    yield from map(WORDS.findall, SENTENCES.split(plain))


def phrases(text: str) -> set[str]:
    """The phrases of a review, as words parted by single spaces."""
    return {
        " ".join(words[at : at + length])
        for words in _sentences(text)
        if (length := min(len(words), RUN)) >= SENTENCE
        for at in range(len(words) - length + 1)
    }


def runs(text: str) -> set[str]:
    """All that may be a phrase of some review: every run of `SENTENCE` to `RUN` words within a sentence."""
    return {
        " ".join(words[at : at + length])
        for words in _sentences(text)
        for length in range(SENTENCE, RUN + 1)
        for at in range(len(words) - length + 1)
    }


class Phrasebook:
    """Which of many documents hold which phrases of the texts that are looked at.

    The texts' runs of words are collected first; then each document is read once, its runs of words compared as 64-bit
    rolling hashes (Karp and Rabin, 1987), and what agrees is compared as words, so that a hash that is equal by chance
    is no find. Memory grows with the texts and their finds, not with the documents.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._code: dict[str, int] = {}
        wanted: dict[int, set[str]] = defaultdict(set)
        for text in texts:
            for phrase in runs(text):
                wanted[phrase.count(" ") + 1].add(phrase)
        self._hashes = {
            length: np.unique(np.concatenate([self._rolling(phrase.split(" "), length) for phrase in sorted(found)]))
            for length, found in wanted.items()
        }
        self._wanted: set[str] = set().union(*wanted.values())
        self.holders: dict[str, list[int]] = defaultdict(list)
        """Phrase -> the documents whose phrase it is, by the number `read` was given."""
        self.within: dict[str, list[int]] = defaultdict(list)
        """The same of documents that hold it within a longer sentence: they have said it, and much else could be it."""

    def read(self, documents: Mapping[int, str]) -> None:
        """Note which phrases stand in each document."""
        for number, text in documents.items():
            whole, inner = self._found(text)
            for phrase in whole:
                self.holders[phrase].append(number)
            for phrase in inner - whole:
                self.within[phrase].append(number)

    def shared(self, text: str) -> dict[str, Sequence[int]]:
        """The runs of `text` that are a phrase of some document, with those documents."""
        return {phrase: self.holders[phrase] for phrase in sorted(runs(text)) if phrase in self.holders}

    def _found(self, text: str) -> tuple[set[str], set[str]]:
        """Its phrases, and shorter runs within its sentences."""
        whole, inner = set[str](), set[str]()
        for words in _sentences(text):
            for length in range(SENTENCE, min(len(words), RUN) + 1):
                found = whole if length == min(len(words), RUN) else inner
                found.update(" ".join(words[at : at + length]) for at in self._agree(words, length))
        return whole & self._wanted, inner & self._wanted

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
