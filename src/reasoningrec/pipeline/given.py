"""Texts that came with the data or with the configuration, as rows of the stages that would have written them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from reasoningrec.config import Config
from reasoningrec.data import given
from reasoningrec.data.corpus import Corpus
from reasoningrec.errors import DataError
from reasoningrec.records import Description, Profile, Rationale
from reasoningrec.rows import Row, to_row
from reasoningrec.teacher.answers import citations

GIVEN = "given"
"""Stands for the number of reviews or rows in the key of a text that came from elsewhere."""
FILES: Mapping[str, str] = {"describe": "descriptions", "profile": "profiles", "reason": "rationales"}
"""Stage -> the key of `[texts]` that names its file."""
Texts = Mapping[str, Row]
"""By item, user or query id."""


def digest(config: Config, stage: str) -> str:
    """SHA-256 of the file of given texts of a stage; "" where there is none. Raises DataError where it is missing."""
    if stage not in FILES or not (path := getattr(config.texts, FILES[stage])):
        return "with the data" if config.data.given_texts and stage in ("describe", "profile") else ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"texts.{FILES[stage]}: {path}: cannot be read: {error.strerror}") from None


def given_descriptions(config: Config, corpus: Corpus, wanted: Collection[str]) -> Texts:
    """By item, those of the items that are shown."""
    frame = _texts(config, corpus.given_descriptions, "descriptions", "item")
    return {
        id: _row(Description(f"{id}@{GIVEN}", id, text, origin))
        for id, text, origin in frame.iter_rows()
        if id in wanted
    }


def given_profiles(config: Config, corpus: Corpus, windows: pl.DataFrame) -> Texts:
    """By user, those of the windows."""
    frame = _texts(config, corpus.given_profiles, "profiles", "user")
    wanted = set(windows["user"])
    return {
        id: _row(Profile(f"{id}@{GIVEN}", id, text, origin)) for id, text, origin in frame.iter_rows() if id in wanted
    }


def given_rationales(config: Config, windows: pl.DataFrame) -> Texts:
    """By query id, those of train windows; a (user, item) stands for its latest one. Others are passed over."""
    if not config.texts.rationales:
        return {}
    rows = given.rationales(Path(config.texts.rationales), "texts.rationales")
    train = windows.filter(pl.col("role") == "train").sort("at")
    ids = {(user, item): id for user, item, id in train.select("user", "item", "id").iter_rows()}
    columns = ("user", "item", "label", "taste", "why", "origin")
    found = {}
    for user, item, label, taste, why, origin in rows.select(*columns).iter_rows():
        if id := ids.get((user, item)):
            found[id] = _row(Rationale(id, label, taste, why, citations(why), origin))
    return found


def notes(stage: str, texts: Texts, wanted: int) -> tuple[str, ...]:
    """Who wrote the given texts of a stage, and how many are missing, in words."""
    origins = Counter(str(row["origin"]) for row in texts.values())
    told = ", ".join(f"{n} by {origin}" for origin, n in sorted(origins.items())) or "none"
    return (f"{stage}: {len(texts)} of {wanted} texts given ({told}); {wanted - len(texts)} not",)


def _texts(config: Config, with_data: pl.DataFrame, name: str, id_column: str) -> pl.DataFrame:
    if config.data.given_texts:
        return with_data.select("id", "text", "origin")
    path = getattr(config.texts, name)
    return given.texts(Path(path), f"texts.{name}", id_column) if path else with_data.clear()


def _row(text: Description | Profile | Rationale) -> Row:
    used = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "tries": 0, "status": "done"}
    return {**to_row(text), **used}
