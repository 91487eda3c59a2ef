"""Stages data, split, evidence: from raw files to windows and the numbers known before each."""

from __future__ import annotations

from typing import Final

import polars as pl

from reasoningrec.data import evidence
from reasoningrec.data.load import load
from reasoningrec.data.split import earlier, split
from reasoningrec.errors import DataError
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.rows import Json, replacing

STRICT_RULE: Final = 2
"""Of the split: 2 since `strict` learns nothing from the time of a target."""
EVIDENCE_RULE: Final = 2
"""Of the numbers: 2 since nothing counts what is liked lately."""


def data_fields(space: Workspace) -> dict[str, Json]:
    """The rules of reading, and the content of the files."""
    return {**data_settings(space), "files": space.sources}


def data_settings(space: Workspace) -> dict[str, Json]:
    """The rules of reading; not where the files are, which may move."""
    settings = space.config.data.model_dump(mode="json", exclude={"path", "items"})
    return {**settings, "name": space.config.name}


def read_data(desk: Desk) -> Outcome:
    """Read, validate and keep the data, so that the run needs nothing outside its folder."""
    corpus = load(desk.space.config.data, desk.space.config.name)
    corpus.save(desk.folder / "data")
    counts = {
        "users": corpus.interactions["user"].n_unique(),
        "items": corpus.items.height,
        "interactions": corpus.interactions.height,
        "reviews": corpus.reviews.height,
        "bad_rows": len(corpus.bad_rows),
    }
    return Outcome(counts, (*corpus.notes, *(f"left out: {row}" for row in corpus.bad_rows[:100])))


def split_fields(space: Workspace) -> dict[str, Json]:
    """The rules of the split."""
    rule: dict[str, Json] = {"rule": STRICT_RULE} if space.config.protocol == "strict" else {}
    return {**space.config.split.model_dump(mode="json"), "protocol": space.config.protocol, **rule}


def make_split(desk: Desk) -> Outcome:
    """Choose the windows. Raises DataError where no user has one to learn from."""
    space = desk.space
    windows = split(space.timeline, space.config.split, space.config.protocol)
    if "train" not in windows["role"]:
        tests = space.config.split.tests_per_user
        several = f"{tests} test targets (split.tests_per_user)" if tests > 1 else "a test target"
        hint = f"A user needs {3 + tests} rows: one to know, a train and a valid target, and {several}."
        if space.config.protocol == "strict":
            hint = 'Under strict these targets need three different times: does protocol = "honest" do?'
        raise DataError("no user has a train window, so there is nothing to learn from", hint=hint)
    with replacing(desk.folder / "split.parquet") as path:
        windows.write_parquet(path)
    roles = dict(windows["role"].value_counts().iter_rows())
    return Outcome({role: roles.get(role, 0) for role in ("train", "valid", "test")})


def evidence_fields(space: Workspace) -> dict[str, Json]:
    """How counts become numbers."""
    settings = space.config.evidence.model_dump(mode="json")
    return {**settings, "history": space.config.split.history, "rule": EVIDENCE_RULE}


def make_evidence(desk: Desk) -> Outcome:
    """Count what was known before each window, and before the earlier rows that the decision learns from besides."""
    space = desk.space
    config = space.config
    past = earlier(space.timeline, config.split, config.protocol, config.evidence.past_rows)
    asked = pl.concat([space.windows.select("role", "label", "at", "past"), past])
    numbers = evidence.numbers(space.timeline, space.attributes, asked, config.evidence, config.split.history)
    windows = space.windows.height
    with replacing(desk.folder / "evidence.parquet") as path:
        numbers[:windows].write_parquet(path)
    with replacing(desk.folder / "evidence.past.parquet") as path:
        numbers[windows:].with_columns(past["label"], past["at"]).write_parquet(path)
    return Outcome({"windows": windows, "past_rows": past.height, "numbers": numbers.width})
