"""Dispatch by source, and digests that change with the data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import pytest

from reasoningrec.config import DataConfig
from reasoningrec.data.load import FILES, SOURCES, fingerprint, load
from reasoningrec.errors import DataError


def config(path: Path) -> DataConfig:
    return DataConfig(source="tables", path=str(path))


def test_every_source_of_the_config_can_be_loaded() -> None:
    known = set(get_args(DataConfig.model_fields["source"].annotation))
    assert set(SOURCES) == known
    assert set(FILES) == known - {"demo"}


def test_load_reads_what_the_config_names(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\nu,i,4\n", encoding="utf-8")
    made = load(config(path), "mine")
    assert made.name == "mine"
    assert made.interactions.height == 1
    assert load(DataConfig(source="demo", users=100), "demo").interactions["user"].n_unique() == 100


def test_the_fingerprint_is_the_digest_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"user,item,rating\nu,i,4\n")
    assert fingerprint(config(path)) == {"r.csv": hashlib.sha256(path.read_bytes()).hexdigest()}
    before = fingerprint(config(path))
    path.write_bytes(b"user,item,rating\nu,i,5\n")
    assert fingerprint(config(path)) != before
    with pytest.raises(DataError, match="no such file"):
        fingerprint(config(tmp_path / "gone.csv"))


def test_the_fingerprint_of_the_demo_is_its_seed_and_size() -> None:
    assert fingerprint(DataConfig(source="demo", seed=3, users=80)) == {"seed": "3", "users": "80"}
