"""Measure windows, evidence and `latent` for many made interactions, at three sizes, and the published way.

    python benchmarks/scale.py [--rows N ...] [--keep]

The published code of the field filters the whole table once per user to find the user's windows and, to count what
others did with an item, once per question. That is measured on a few users and questions and extrapolated to all; the
filters are those of Polars, which are quicker than those of pandas that the published code uses. It has nothing like
`latent`, which is timed apart. Every size runs in a process of its own, so that its memory is its own, and both ways
on one core, as pandas does. Users and items grow with the rows. `--keep` puts the figures into
benchmarks/results/speed.jsonl; do that on a machine that does nothing else (`load` is recorded with them). Every user
is asked about three times, at each size: no further rows of the past are drawn to learn from (`past_rows`), of which
there are at most a fixed number, whatever the size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reasoningrec.config import EvidenceConfig, SplitConfig
from reasoningrec.data import evidence
from reasoningrec.data.attributes import Attributes
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REVIEWS, Corpus
from reasoningrec.data.split import earlier, split
from reasoningrec.data.timeline import Timeline
from reasoningrec.ranking import latent

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from table import RESULTS

ON_ONE_CORE = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
ROWS = (1_000_000, 5_000_000, 25_000_000)
PER_USER, PER_ITEM = 156.25, 416.6667
"""Reactions of a user and of an item: 160 thousand users and 60 thousand items at 25 million rows."""
DAYS = 3650
FILTERED = 12
"""Users and questions that the published way is measured on."""


def made(rows: int) -> Corpus:
    """`rows` reactions of even users to even items over ten years; four of five are likes."""
    rng = np.random.default_rng(0)
    users, items = round(rows / PER_USER), round(rows / PER_ITEM)
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    rating = np.where(rng.random(rows) < 0.8, 5.0, 2.0)
    name = pl.Series([f"u{number:06d}" for number in range(users)])
    code = pl.Series([f"i{number:06d}" for number in range(items)])
    interactions = pl.DataFrame(
        {
            "row": np.arange(rows), "user": name.gather(user), "item": code.gather(item), "rating": rating,
            "liked": rating > 3, "time": rng.integers(0, DAYS, rows) * evidence.DAY,
        },
    ).select([pl.col(column).cast(kind) for column, kind in INTERACTIONS.items()])  # fmt: skip
    words = rng.integers(0, 3000, (items, 4))
    catalogue = pl.DataFrame(
        {
            "item": code, "title": [" ".join(f"word{word}" for word in row) for row in words],
            "brand": [f"brand{number % 997}" for number in range(items)], "price": rng.integers(1, 100, items) * 1.0,
            "categories": [[f"category{number % 19}"] for number in range(items)], "details": "",
        },
    ).select([pl.col(column).cast(kind) for column, kind in ITEMS.items()])  # fmt: skip
    return Corpus("made", interactions, catalogue, pl.DataFrame(schema=dict(REVIEWS)))


def measure(rows: int) -> dict[str, Any]:
    """Seconds and memory of the windows, their evidence and `latent`, and seconds of the published way."""
    corpus = made(rows)
    held = peak()
    begun = time.perf_counter()
    line, attributes = Timeline.of(corpus), Attributes.of(corpus.items)
    config, settings = SplitConfig(), EvidenceConfig(past_rows=0)
    windows = split(line, config, "honest")
    past = earlier(line, config, "honest", settings.past_rows)
    in_order = time.perf_counter() - begun
    del corpus
    asked = pl.concat([windows.select("role", "label", "at", "past"), past])
    numbers = evidence.numbers(line, attributes, asked, settings, config.history)
    seconds = time.perf_counter() - begun
    assert numbers.height == asked.height
    most = peak()
    begun = time.perf_counter()
    latent.of_windows(line, asked)
    fitted = time.perf_counter() - begun
    by_filter = filtering(made(rows).interactions, windows)
    return {
        "name": f"evidence-scale-{rows}", "value": round(seconds, 2), "unit": "s",
        "baseline": f"a data-frame filter per user and per question, extrapolated from {FILTERED}",
        "baseline_value": round(by_filter, 1), "ratio": round(by_filter / seconds, 1), "rows": rows,
        "users": len(line.users), "items": len(line.items), "questions": numbers.height, "numbers": numbers.width,
        "windows_s": round(in_order, 2), "us_per_row": round(1e6 * seconds / rows, 3),
        "memory_mb": round(most), "data_mb": round(held), "latent_s": round(fitted, 1), "latent_mb": round(peak()),
    }  # fmt: skip


def peak() -> float:
    """Megabytes this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def filtering(table: pl.DataFrame, windows: pl.DataFrame) -> float:
    """Seconds for all users and windows, from `FILTERED` of each."""
    users = windows["user"].unique(maintain_order=True)
    begun = time.perf_counter()
    for user in users[:FILTERED]:
        own = table.filter(pl.col("user") == user).sort("time")
        own[:-1]["liked"].mean()
    per_user = (time.perf_counter() - begun) / FILTERED
    begun = time.perf_counter()
    for item, moment in windows.select("item", "time").head(FILTERED).iter_rows():
        table.filter((pl.col("item") == item) & (pl.col("time") < moment))["liked"].mean()
    per_question = (time.perf_counter() - begun) / FILTERED
    return per_user * len(users) + per_question * windows.height


def main() -> None:
    """Measure, show, and keep if asked to."""
    parser = argparse.ArgumentParser(description="Measure windows and evidence on many made interactions.")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--keep", action="store_true", help="into benchmarks/results/speed.jsonl")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one)))
        return
    for rows in asked.rows:
        load = round(os.getloadavg()[0], 2)
        command = [sys.executable, __file__, "--one", str(rows)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ON_ONE_CORE)
        found = json.loads(done.stdout)
        speed = f"{found['value']} s ({found['windows_s']} s to the windows), {found['us_per_row']} us a row"
        print(
            f"{rows:>11,} rows: {speed}, {found['memory_mb']} MB; "
            f"by filters {found['baseline_value']} s, {found['ratio']} times as long",
            flush=True,
        )
        if asked.keep:
            keep(RESULTS / "speed.jsonl", [found], load=load)


if __name__ == "__main__":
    main()
