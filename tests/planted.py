"""Made reactions with a planted signal: users of two tastes, items of two kinds, and some of each that all like."""

from __future__ import annotations

import numpy as np

from making import DAY, Row, corpus_of
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.config import BaselinesConfig, Protocol, SplitConfig
from reasoningrec.data.split import split
from reasoningrec.data.timeline import Floats, Timeline
from reasoningrec.records import Item

ITEMS = tuple(Item(f"i{n:02}", f"Thing {n}", "", None, ()) for n in range(20))
SMALL = BaselinesConfig(hidden=16, epochs=12, learning_rate=0.01, dropout=0.1, refits=3, veiled=(0.1,))


def rows(users: int = 120, length: int = 12, seed: int = 0, times: bool = True) -> list[Row]:
    """A user of even number likes items of even number, one of odd number the odd ones; nine times in ten."""
    rng = np.random.default_rng(seed)
    made = []
    for user in range(users):
        start = int(rng.integers(0, 200))
        for place, item in enumerate(rng.permutation(len(ITEMS))[:length].tolist()):
            likes = (user % 2 == item % 2) == (rng.random() < 0.9)
            stars = float(rng.integers(4, 6) if likes else rng.integers(1, 4))
            time = (start + place) * DAY if times else None
            made.append(Row(len(made), f"u{user:03}", f"i{item:02}", stars, time))
    return made


def allowed_of(made: list[Row], protocol: Protocol = "honest", tests: int = 1) -> Allowed:
    line = Timeline.of(corpus_of(made, ITEMS))
    config = SplitConfig(history=4, tests_per_user=tests)
    return Allowed.of(line, split(line, config, protocol), protocol, config.history)


def truth(allowed: Allowed) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return allowed.timeline.liked[allowed.at]


def on_test(allowed: Allowed, answers: Floats) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], Floats]:
    return truth(allowed)[~allowed.valid], answers[~allowed.valid]
