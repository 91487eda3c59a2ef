"""What those who shared a reaction did: by hand, and the same whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest

from making import DAY, Row, corpus_of
from reasoningrec.data import neighbours as module
from reasoningrec.data.neighbours import Crowd, Neighbours, neighbours
from reasoningrec.data.timeline import Ints, Timeline

ROWS = [
    Row(0, "a", "i1", 5, 0),
    Row(1, "a", "i2", 1, 1),
    Row(2, "b", "i1", 5, 0),
    Row(3, "b", "i3", 5, 1),
    Row(4, "c", "i1", 5, 0),
    Row(5, "c", "i2", 1, 0),
    Row(6, "c", "i3", 1, 1),
    Row(7, "d", "i1", 1, 0),
    Row(8, "d", "i1", 5, 1),  # a second thought: the first reaction counts
    Row(9, "d", "i3", 5, 1),
    Row(10, "e", "i1", 5, 9 * DAY),  # too late
    Row(11, "e", "i3", 5, 1),
    Row(12, "a", "i3", 5, 1),  # the asking user's own
]
I1, I2, I3 = 0, 1, 2


def found(clock: int, history: list[int], liked: list[bool]) -> Neighbours:
    line = Timeline.of(corpus_of(ROWS))
    crowd = Crowd.of(line, np.arange(len(ROWS)), line.clock)
    asked: tuple[Ints, ...] = (np.array([0]), np.array([I3]), np.array([clock]))
    return neighbours(crowd, *asked, (np.array([history]), np.array([liked])))


def test_those_who_shared_a_reaction() -> None:
    told = found(2, [-1, I1, I2], [False, True, False])
    assert told.n.tolist() == [[0, 2, 1]]  # b and c liked i1 as a did; c disliked i2 as a did
    assert told.liked.tolist() == [[0, 1, 0]]


def test_a_rater_votes_with_their_agreement() -> None:
    told = found(2, [-1, I1, I2], [False, True, False])
    # b: 1 of 1 shared agrees, liked; c: 2 of 2, disliked; d: 0 of 1, liked; e: nothing shared in time
    votes = 1 / 7 * 0.5 - 2 / 8 * 0.5 - 1 / 7 * 0.5
    assert told.vote.tolist() == pytest.approx([votes / 4**0.5])


def test_nothing_is_known_of_a_moment_before_all() -> None:
    told = found(0, [-1, I1, I2], [False, True, False])
    assert told.n.sum() == told.liked.sum() == told.vote.sum() == 0


def test_an_empty_crowd_and_an_empty_history() -> None:
    line = Timeline.of(corpus_of(ROWS))
    crowd = Crowd.of(line, np.arange(0), line.clock[:0])
    told = neighbours(crowd, np.array([0]), np.array([I3]), np.array([2]), (np.array([[I1]]), np.array([[True]])))
    assert told.n.tolist() == [[0]]
    assert found(2, [], []).vote.tolist() == [0]


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_chunks_do_not_show(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Row(n, f"u{rng.integers(9)}", f"i{rng.integers(1, 7)}", int(rng.integers(1, 6)), int(rng.integers(20)))
        for n in range(120)
    ]
    line = Timeline.of(corpus_of(rows))
    crowd = Crowd.of(line, np.arange(120), line.clock)
    asked = (line.user, line.item, line.clock, (rng.integers(-1, 6, (120, 4)), rng.random((120, 4)) < 0.5))
    whole = neighbours(crowd, *asked)
    monkeypatch.setattr(module, "CHUNK", chunk)
    parts = neighbours(crowd, *asked)
    assert whole.n.sum() > 100
    for name in ("n", "liked", "vote"):
        assert (getattr(whole, name) == getattr(parts, name)).all()


@pytest.mark.parametrize("marks", [0, 8])
def test_the_filter_of_pairs_hides_none_and_lets_none_through(marks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a plain account, with a roomy filter and one of a single place."""
    monkeypatch.setattr(module, "MARKS", marks)
    rng = np.random.default_rng(3)
    rows = [
        Row(n, f"u{rng.integers(9)}", f"i{rng.integers(1, 7)}", rng.integers(1, 6), int(rng.integers(5)))
        for n in range(60)
    ]
    line = Timeline.of(corpus_of(rows))
    crowd = Crowd.of(line, np.arange(60), line.clock)
    history = rng.integers(-1, 6, (40, 3)), rng.random((40, 3)) < 0.5
    user, item, clock = rng.integers(0, len(line.users), 40), rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    told = neighbours(crowd, user, item, clock, history)
    n = np.zeros((40, 3))
    for q in range(40):
        for row in range(crowd.item.size):
            if crowd.item[row] != item[q] or crowd.user[row] == user[q] or crowd.clock[row] >= clock[q]:
                continue
            for place in range(3):
                both = np.flatnonzero((crowd.item == history[0][q, place]) & (crowd.user == crowd.user[row]))
                if both.size and crowd.clock[both[0]] < clock[q]:
                    n[q, place] += crowd.liked[both[0]] == history[1][q, place]
    assert told.n.tolist() == n.tolist()
    assert n.sum() > 20
