"""Stretches hold every row as a question once, with the past it may know, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from making import DAY, Row
from planted import ITEMS, allowed_of, rows
from reasoningrec.baselines.sequences import LONGEST, STEP, Sequences, codes, reaction_codes

LONG = [Row(n, f"u{n // 300}", ITEMS[n % 20].id, float(n % 5 + 1), n // 3 * DAY) for n in range(600)]


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_every_row_is_asked_once_with_its_past(protocol: str) -> None:
    allowed = allowed_of(LONG, protocol)  # type: ignore[arg-type]
    found = Sequences.of(allowed, allowed.train)
    assert sorted(found.row) == allowed.train.tolist()
    questions, of = found.questions(np.arange(found.start.size))
    line = allowed.timeline
    row, start = found.row[questions], found.start[of]
    assert (line.user[start] == line.user[row]).all()
    assert (start + found.known[questions] == line.start[line.user[row]] + allowed.past[row]).all()
    assert (found.stop - found.start).max() <= LONGEST
    assert (found.known[questions] >= np.minimum(allowed.past[row], STEP - 2)).all()


def test_a_query_has_a_stretch_alone() -> None:
    allowed = allowed_of(LONG)
    found = Sequences.alone(allowed, allowed.at)
    assert (found.stop - found.start == np.minimum(allowed.past[allowed.at], LONGEST)).all()
    assert (found.stop <= allowed.at).all()


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_hold_every_stretch_once(seed: int | None) -> None:
    allowed = allowed_of(rows())
    found = Sequences.of(allowed, allowed.train)
    rng = None if seed is None else np.random.default_rng(seed)
    parts = list(found.batches(50, rng))
    assert sorted(np.concatenate(parts)) == list(range(found.start.size))
    assert max(found.questions(part)[0].size for part in parts) < 70


def test_reactions_tell_rating_and_like_apart() -> None:
    allowed = allowed_of(rows())
    found = reaction_codes(allowed.timeline, allowed.train)
    pairs = set(zip(found.tolist(), allowed.timeline.rating.tolist(), strict=True))
    assert len(pairs) == 5
    assert found.min() >= 1
    without = allowed_of([Row(n, "u", "i01", None, n, like=n % 2 == 0) for n in range(6)])
    assert set(reaction_codes(without.timeline, without.train)) == {1, 2}


def test_codes_know_what_was_learned() -> None:
    assert codes(5, np.array([3, 1, 3]), 1).tolist() == [1, 2, 1, 3, 1]
