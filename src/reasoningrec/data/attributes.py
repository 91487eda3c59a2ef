"""What items have in common: brand, categories, price band, and the words of their titles. Static metadata only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from reasoningrec.data.timeline import Floats, Ints

PRICE_BANDS = 3
WORDS: Final[dict[str, Any]] = {"min_df": 2, "max_df": 0.5, "stop_words": "english"}


@dataclass(frozen=True)
class Attributes:
    """Groups of items, by item code (items sorted by name).

    `groups`: name -> (offsets (I + 1,), group codes); `labels`: name -> the group codes' names; `words` (I, W): rows of
    length 1 or 0, TF-IDF of title, brand and categories; `titles`: the words of each title as groups, those
    that stand in at least two titles and in no more than half of them.
    """

    groups: Mapping[str, tuple[Ints, Ints]]
    labels: Mapping[str, tuple[str, ...]]
    words: sparse.csr_matrix
    titles: tuple[Ints, Ints]

    @classmethod
    def of(cls, items: pl.DataFrame) -> Attributes:
        """From the items of a corpus."""
        items = items.sort("item")
        brand = [[value] if value else [] for value in items["brand"].to_list()]
        bands, band_names = _price_bands(items["price"].to_numpy().astype(np.float64))
        named = {"brand": _coded(brand), "category": _coded(items["categories"].to_list())}
        groups = {name: found for name, (found, _) in named.items()}
        labels = {name: names for name, (_, names) in named.items()}
        words = _vectors(TfidfVectorizer(sublinear_tf=True, **WORDS), _texts(items))
        titles = _vectors(CountVectorizer(binary=True, **WORDS), items["title"].to_list())
        found = titles.indptr.astype(np.int64), titles.indices.astype(np.int64)
        return cls(groups | {"price": bands}, labels | {"price": band_names}, words, found)

    def likeness(self, first: Ints, second: Ints) -> Floats:
        """(Q, H) cosine of the words of `first` (Q, H; negative codes are read as 0) and `second` (Q,)."""
        q, h = first.shape
        left = self.words[np.maximum(first, 0).reshape(-1)]
        right = self.words[np.repeat(second, h)]
        return np.asarray(left.multiply(right).sum(axis=1)).reshape(q, h)


def _coded(values: list[list[str]]) -> tuple[tuple[Ints, Ints], tuple[str, ...]]:
    names = sorted({value for row in values for value in row})
    code = {name: index for index, name in enumerate(names)}
    offset = np.concatenate([[0], np.cumsum([len(set(row)) for row in values])]).astype(np.int64)
    flat = np.array([code[value] for row in values for value in sorted(set(row))], dtype=np.int64)
    return (offset, flat), tuple(names)


def _price_bands(price: Floats) -> tuple[tuple[Ints, Ints], tuple[str, ...]]:
    """`PRICE_BANDS` parts of the catalogue, alike in size, by price; items without a price are in none."""
    known = ~np.isnan(price)
    offset = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    if not known.any():
        return (offset, np.zeros(0, np.int64)), ()
    edges = np.unique(np.quantile(price[known], np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]))
    bounds = [price[known].min(), *edges, price[known].max()]
    names = tuple(f"${low:.2f} to ${high:.2f}" for low, high in pairwise(bounds))
    return (offset, np.searchsorted(edges, price[known], side="right").astype(np.int64)), names


def _texts(items: pl.DataFrame) -> list[str]:
    return [
        f"{title} {brand} {' '.join(categories)}"
        for title, brand, categories in items.select("title", "brand", "categories").iter_rows()
    ]


def _vectors(vectorizer: CountVectorizer, texts: list[str]) -> sparse.csr_matrix:
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # no word stands in two texts: nothing is alike
        return sparse.csr_matrix((len(texts), 1))
