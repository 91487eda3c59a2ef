"""Settings that must stand before numpy, torch or matplotlib are imported, and the way to real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    place = os.environ.get("REASONINGREC_DATA", "")
    if not place:
        pytest.skip("REASONINGREC_DATA is not set: no real data to test on")
    if not Path(place).is_dir():
        pytest.skip(f"REASONINGREC_DATA names no folder: {place}")
    return Path(place)
