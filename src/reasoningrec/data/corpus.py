"""The one shape all sources are read into: validated Polars frames, and the rows that were refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

INTERACTIONS: Mapping[str, pl.DataType] = {
    "row": pl.Int64(),  # order in the source file(s); unique; breaks ties in time
    "user": pl.String(),
    "item": pl.String(),
    "rating": pl.Float64(),  # null where only likes are known
    "liked": pl.Boolean(),  # rating > like_above
    "time": pl.Int64(),  # unix seconds; null in every row where the data have no times
}
ITEMS: Mapping[str, pl.DataType] = {
    "item": pl.String(),
    "title": pl.String(),  # never empty: falls back to the item's id
    "brand": pl.String(),  # "" where unknown
    "price": pl.Float64(),  # null where unknown
    "categories": pl.List(pl.String()),
    "details": pl.String(),  # further metadata in words; "" where there is none
}
REVIEWS: Mapping[str, pl.DataType] = {"row": pl.Int64(), "summary": pl.String(), "text": pl.String()}
GIVEN: Mapping[str, pl.DataType] = {"id": pl.String(), "text": pl.String(), "origin": pl.String()}
REASONS: Mapping[str, pl.DataType] = {"row": pl.Int64(), "kind": pl.String(), "share": pl.Float64()}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that breaks a stated rule: where it stands, which field, and what is wrong with it."""

    file: str
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.problem}"


@dataclass(frozen=True)
class Corpus:
    """Interactions, items and reviews of one dataset, sorted by `row`.

    Frames hold the columns named above, in that order and of those types. Every user and item of `interactions` is
    non-empty; every item of it stands in `items`; `reviews` hold a row only where there is a text.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    reviews: pl.DataFrame = field(default_factory=lambda: empty(REVIEWS))
    given_descriptions: pl.DataFrame = field(default_factory=lambda: empty(GIVEN))
    """Texts that came with the data (id = item). They may leak, so only the `paper` protocol uses them."""
    given_profiles: pl.DataFrame = field(default_factory=lambda: empty(GIVEN))
    true_reasons: pl.DataFrame = field(default_factory=lambda: empty(REASONS))
    """Known reasons (demo only): per interaction row, each reason's kind and its share of the utility."""
    bad_rows: tuple[BadRow, ...] = ()
    """Rows left out under `on_bad_rows = "skip"`."""
    notes: tuple[str, ...] = ()
    """Rules that were applied and how often, in words for `data check` and the report."""

    @property
    def has_times(self) -> bool:
        """Whether every interaction has a time."""
        return self.interactions["time"].null_count() == 0

    def save(self, folder: Path) -> None:
        """Write every frame as Parquet under `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in FRAMES:
            getattr(self, name).write_parquet(folder / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path, name: str) -> Corpus:
        """Read what `save` wrote (bad rows and notes stay in the run's manifest)."""
        frames: dict[str, Any] = {frame: pl.read_parquet(folder / f"{frame}.parquet", glob=False) for frame in FRAMES}
        return cls(name=name, **frames)


FRAMES: Mapping[str, Mapping[str, pl.DataType]] = {
    "interactions": INTERACTIONS,
    "items": ITEMS,
    "reviews": REVIEWS,
    "given_descriptions": GIVEN,
    "given_profiles": GIVEN,
    "true_reasons": REASONS,
}


def empty(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A frame of no rows with the columns of `schema`."""
    return pl.DataFrame(schema=dict(schema))


def replace(corpus: Corpus, **changes: object) -> Corpus:
    """A copy of `corpus` with other values in the named fields."""
    return dataclasses.replace(corpus, **changes)  # type: ignore[arg-type]
