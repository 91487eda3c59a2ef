"""MovieLens as GroupLens packs it (https://grouplens.org/datasets/movielens/), recognised by the files in the folder.

100K: `u.data` (tab-separated), `u.item` (pipe-separated, ISO-8859-1). 1M: `ratings.dat`, `movies.dat` (`::`-separated,
ISO-8859-1). latest-small, 20M, 25M, 32M: `ratings.csv`, `movies.csv`. Titles keep their year, as in
"Toy Story (1995)"; genres are the categories. The licence forbids passing the files on: everyone fetches their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.files import LINE, Dialect, Table, delimited, require
from reasoningrec.data.intake import Raw, corpus
from reasoningrec.errors import DataError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
NO_GENRE = ("unknown", "(no genres listed)", "")
RATING = ("user", "item", "rating", "time")


@dataclass(frozen=True)
class Layout:
    """One way GroupLens has packed its files."""

    ratings: str
    ratings_dialect: Dialect
    movies: str
    movies_dialect: Dialect


LAYOUTS = (
    Layout(
        "u.data",
        Dialect("\t", RATING, quotes=False),
        "u.item",
        Dialect("|", ("item", "title", "released", "video", "url", *GENRES), quotes=False, encoding="latin-1"),
    ),
    Layout(
        "ratings.dat",
        Dialect("::", RATING, quotes=False),
        "movies.dat",
        Dialect("::", ("item", "title", "genres"), quotes=False, encoding="latin-1"),
    ),
    Layout("ratings.csv", Dialect(), "movies.csv", Dialect()),
)
HEADERS = {"userId": "user", "movieId": "item", "timestamp": "time"}


def files(config: DataConfig) -> dict[str, Path]:
    """The files that are read, by the name messages give them. Raises DataError if the folder is no MovieLens."""
    folder, layout = _layout(config)
    return {name: require(folder / name, "the movies of this MovieLens") for name in (layout.ratings, layout.movies)}


def read(config: DataConfig, name: str) -> Corpus:
    """Read a MovieLens folder. Raises DataError: no such folder, none of its kinds, or bad rows."""
    _, layout = _layout(config)
    paths = files(config)
    ratings = delimited(paths[layout.ratings], layout.ratings, layout.ratings_dialect)
    movies = delimited(paths[layout.movies], layout.movies, layout.movies_dialect)
    return corpus(config, name, Raw((_named(ratings, RATING),), _categories(_named(movies, ("item", "title")))))


def _layout(config: DataConfig) -> tuple[Path, Layout]:
    folder = require(Path(config.path), "the MovieLens folder")
    for layout in LAYOUTS:
        if (folder / layout.ratings).is_file():
            return folder, layout
    known = ", ".join(layout.ratings for layout in LAYOUTS)
    raise DataError(f"{folder}: is no MovieLens folder: it holds none of {known}", hint="Unpack the archive first.")


def _named(table: Table, wanted: tuple[str, ...]) -> Table:
    rows = table.rows.rename({old: new for old, new in HEADERS.items() if old in table.rows.columns})
    missing = [column for column in wanted if column not in rows.columns]
    if missing:
        original = {new: old for old, new in HEADERS.items()}.get(missing[0], missing[0])
        raise DataError(
            f"{table.file}:1: the column {original!r} is missing; found: {', '.join(table.rows.columns[1:])}"
        )
    return Table(table.file, rows, table.bad)


def _categories(table: Table) -> Table:
    rows = table.rows
    if "genres" in rows.columns:
        listed = pl.col("genres").str.split("|")
    else:
        marks = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
        listed = pl.concat_list(marks).list.drop_nulls() if all(g in rows.columns for g in GENRES) else pl.lit([""])
    genres = listed.list.eval(pl.element().filter(~pl.element().is_in(NO_GENRE))).alias("categories")
    return Table(table.file, rows.select(LINE, "item", "title", genres), table.bad)
