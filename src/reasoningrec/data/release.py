"""The folders that the authors of ReasoningRec released (arXiv 2410.23180): ratings, items, windows, LLM-written texts.

With `ratings.csv` (Fashion, Beauty) the interactions are its rows in file order, repeats included, since the authors'
windows count them. `processed_item_information.json` has title, brand and price, and a description by
Mixtral-8x7B-Instruct; `user_profile_summary.json` has profiles by the same model.

Without it (ML-1M) the interactions are rebuilt from the ready-made windows `ctr/{train,valid,test}.csv`: of each user,
in the train file's order, the train history and target, then the valid target, then the test target; no times and no
ratings, likes as the files have them. `movies.csv` has titles, years, genres; `movie_summary_25_words.csv` summaries
by an LLM; `users.csv` the users' sex, job and age in words.

The windows are also checked against `ratings.csv`, and what differs is said in the notes. A test target that the user's
rows lack is appended as the user's last row: no rating, the label of the file, and the time of the row before. Items
of a window's history that the rows lack are left out. All given texts are read with `data.given_texts` only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import GIVEN, Corpus, replace
from reasoningrec.data.files import LINE, Table, delimited, mended, read_text, require
from reasoningrec.data.intake import Raw, corpus, items, refuse, unescape
from reasoningrec.data.release_windows import FILES as WINDOWS
from reasoningrec.data.release_windows import align, read_windows, rebuild, with_columns
from reasoningrec.errors import DataError

RATINGS = "ratings.csv"
ITEMS = "processed_item_information.json"
PROFILES = "user_profile_summary.json"
MOVIES = "movies.csv"
SUMMARIES = "movie_summary_25_words.csv"
USERS = "users.csv"
MIXTRAL = "mixtral-8x7b-instruct (paper release)"
ORIGINS = {ITEMS: MIXTRAL, PROFILES: MIXTRAL, SUMMARIES: "llm (paper release)", USERS: "paper release"}

WRAPPED = r'^"([^"]*)"$'
OPENED = r'^"([^"]*(?:"[^"]*"[^"]*)*)$'  # a first quote without its second


def files(config: DataConfig) -> dict[str, Path]:
    """The files that are read, by the name messages give them. Raises DataError if the folder is no release."""
    folder = require(Path(config.path), "the folder of the release")
    windows = [*WINDOWS.values()] if any((folder / name).is_file() for name in WINDOWS.values()) else []
    if (folder / RATINGS).is_file():
        names = [RATINGS, ITEMS, *windows, *([PROFILES] if config.given_texts else [])]
    elif windows:
        names = [MOVIES, *windows, *([SUMMARIES, USERS] if config.given_texts else [])]
    else:
        raise DataError(f"{folder}: is no folder of the paper's release: it has neither {RATINGS} nor ctr/train.csv")
    return {name: require(folder / name, "part of the release") for name in names}


def read(config: DataConfig, name: str) -> Corpus:
    """Read a folder of the release. Raises DataError: no such folder, files missing, or bad rows."""
    paths = files(config)
    return _from_ratings(config, name, paths) if RATINGS in paths else _from_windows(config, name, paths)


def windows(folder: Path) -> pl.DataFrame:
    """The authors' windows, one row each: role, line, user, history, history_rating, item, label.

    `history` are item ids and `history_rating` 0 or 1, oldest first; in Beauty the second is sometimes shorter. Raises
    DataError for missing files and bad rows.
    """
    for file in WINDOWS.values():
        require(folder / file, "part of the release")
    frame, tables = read_windows(folder)
    refuse("stop", tables)
    return frame


def _from_ratings(config: DataConfig, name: str, paths: Mapping[str, Path]) -> Corpus:
    ratings = with_columns(delimited(paths[RATINGS], RATINGS), ("item", "user", "rating", "timestamp"))
    table = Table(RATINGS, ratings.rows.rename({"timestamp": "time"}), ratings.bad)
    known = _item_table(paths[ITEMS])
    given = known.rows["item"], known.rows["description"]
    catalogue = Table(known.file, known.rows.drop("description"))
    found = corpus(config, name, Raw((table,), catalogue, repeats_are_meant=True))
    if WINDOWS["test"] in paths:
        frame, tables = read_windows(Path(config.path))
        bad = refuse(config.on_bad_rows, tables)
        found = replace(align(found, frame, config.repeats), bad_rows=(*found.bad_rows, *bad))
    if config.given_texts:
        profiles = _object(paths[PROFILES], PROFILES)
        found = _give(found, "given_descriptions", ITEMS, *given)
        texts = pl.Series([_profile(user, text) for user, text in profiles.items()], dtype=pl.String)
        found = _give(found, "given_profiles", PROFILES, pl.Series(list(profiles), dtype=pl.String), texts)
    return found


def _profile(user: str, text: object) -> str:
    if not isinstance(text, str):
        raise DataError(f"{PROFILES}: user {user}: is no text")
    return text


def _item_table(path: Path) -> Table:
    keys = ("title", "brand", "price", "description")
    rows = []
    for item, value in _object(path, ITEMS).items():
        fields = value if isinstance(value, dict) else {"title": value}
        wrong = [key for key in keys if not isinstance(fields.get(key, ""), str)]
        if wrong:
            raise DataError(f"{ITEMS}: item {item}: {wrong[0]}: is no text")
        rows.append((0, item, *(fields.get(key, "") for key in keys)))
    names = dict.fromkeys(("item", *keys), pl.String())
    frame = pl.DataFrame(rows, schema={LINE: pl.Int64(), **names}, orient="row")
    brand = unescape(frame["brand"]).replace("Unknown", "")
    return Table(ITEMS, frame.with_columns(unescape(frame["title"]), brand))


def _object(path: Path, file: str) -> dict[str, Any]:
    try:
        value = mended(json.loads(read_text(path, file)))
    except RecursionError:
        raise DataError(f"{file}: is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: is not valid JSON: {error.msg} (column {error.colno})") from None
    if not isinstance(value, dict):
        raise DataError(f"{file}: is not a JSON object with one entry per id")
    return value


def _from_windows(config: DataConfig, name: str, paths: Mapping[str, Path]) -> Corpus:
    frame, tables = read_windows(Path(config.path))
    interactions, broken, notes = rebuild(frame)
    tables = [*tables, *(Table(bad.file, pl.DataFrame(), (bad,)) for bad in broken)]
    movies = with_columns(delimited(paths[MOVIES], MOVIES), ("movie_id", "name", "cleaned_genre", "year"))
    bad = refuse(config.on_bad_rows, [*tables, movies])
    if not len(interactions):
        raise DataError(f"{config.path}: holds no interactions", hint="Each window file needs at least one row.")
    found = Corpus(
        name=name,
        interactions=interactions,
        items=items(interactions["item"], _movies(movies.rows, notes), notes),
        bad_rows=bad,
        notes=tuple(notes),
    )
    if config.given_texts:
        texts = (
            ("given_descriptions", SUMMARIES, "movie_id", "summary"),
            ("given_profiles", USERS, "user_id", "user_profile"),
        )
        for kind, file, key, text in texts:
            table = with_columns(delimited(paths[file], file), (key, text))
            found = replace(found, bad_rows=(*found.bad_rows, *refuse(config.on_bad_rows, [table])))
            found = _give(found, kind, file, table.rows[key], table.rows[text])
    return found


def _movies(rows: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    known = rows.filter(pl.col("movie_id").str.strip_chars() != "")
    if known.height < rows.height:
        notes.append(f"blank rows of {MOVIES}, left out: {rows.height - known.height}")
    year = pl.col("year").str.strip_chars()
    name = pl.col("name").str.strip_chars()
    dated = pl.when((year == "") | (name == "")).then(name).otherwise(pl.format("{} ({})", name, year))
    genres = pl.col("cleaned_genre").str.split(",").list.eval(pl.element().filter(pl.element() != ""))
    return known.select(pl.col("movie_id").alias("item"), dated.alias("title"), genres.alias("categories"))


def _give(found: Corpus, kind: str, file: str, ids: pl.Series, texts: pl.Series) -> Corpus:
    """`found` with the texts of one file as its `kind`, without blanks and quotes around the whole."""
    frame = pl.DataFrame({"id": ids, "text": texts.fill_null("").str.strip_chars()})
    frame = frame.with_columns(
        pl.col("text").str.replace(WRAPPED, "${1}").str.replace(OPENED, "${1}"), origin=pl.lit(ORIGINS[file])
    )
    given = frame.filter(pl.col("text") != "").unique("id", keep="first").sort("id").select(*GIVEN)
    blank = frame.filter(pl.col("text") == "").height
    note = f"{kind.replace('_', ' ')} read from {file}: {given.height}" + f" (blank ones left out: {blank})" * (
        blank > 0
    )
    return replace(found, **{kind: given, "notes": (*found.notes, note)})
