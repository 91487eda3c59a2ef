"""Texts that exist already: descriptions, profiles and rationales from tables of the user's, marked by their origin.

A table is CSV, TSV, JSON lines or Parquet. Descriptions have the columns item, text; profiles user, text; rationales
user, item, label (yes or no), taste, why. The column origin says who wrote them, else "given". Of two texts for one id
the first counts; rows without a text are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from reasoningrec.data.corpus import GIVEN
from reasoningrec.data.files import LINE, require
from reasoningrec.data.intake import ids, refuse
from reasoningrec.data.tables import table
from reasoningrec.errors import DataError

ORIGIN = "given"
LABELS = {"yes": True, "true": True, "1": True, "like": True, "no": False, "false": False, "0": False, "dislike": False}


def texts(path: Path, setting: str, id_column: str) -> pl.DataFrame:
    """Texts by id (see `corpus.GIVEN`), sorted by it.

    Args:
        path: the table.
        setting: that names it, for messages.
        id_column: "item" or "user".

    Raises:
        DataError: it is missing, lacks a column, or holds rows that cannot be read.
    """
    rows = _rows(path, setting, [id_column, "text"]).rename({id_column: "id"})
    found = rows.filter((pl.col("text") != "") & (pl.col("id") != ""))
    return found.unique("id", keep="first").sort("id").select(*GIVEN)


def rationales(path: Path, setting: str) -> pl.DataFrame:
    """Rationales: user, item, label, taste, why, origin, in file order. Raises DataError, as above."""
    rows = _rows(path, setting, ["user", "item", "label", "taste", "why"])
    label = rows["label"].str.to_lowercase()
    wrong = rows.filter(~label.is_in(list(LABELS)))
    if wrong.height:
        line, value = wrong.select(LINE, "label").row(0)
        raise DataError(f"{path.name}:{line}: label: {value!r} is neither yes nor no")
    found = rows.with_columns(label=label.replace_strict(LABELS, return_dtype=pl.Boolean))
    return found.filter(pl.col("why") != "").unique(["user", "item"], keep="first", maintain_order=True)


def _rows(path: Path, setting: str, columns: Sequence[str]) -> pl.DataFrame:
    require(path, setting)
    wanted = {column: ("", column) for column in columns}
    try:
        found = table(path.name, path, {**wanted, "origin": ("", "origin")})
    except DataError as error:
        if "no column 'origin'" not in str(error):
            raise
        found = table(path.name, path, wanted)
    refuse("stop", [found])
    rows = found.rows
    if "origin" not in rows.columns:
        rows = rows.with_columns(origin=pl.lit(ORIGIN))
    texts = pl.col(pl.String).fill_null("").str.strip_chars()
    rows = rows.with_columns(texts).with_columns(ids(pl.col(name)) for name in ("user", "item") if name in columns)
    return rows.with_columns(origin=pl.when(pl.col("origin") == "").then(pl.lit(ORIGIN)).otherwise(pl.col("origin")))
