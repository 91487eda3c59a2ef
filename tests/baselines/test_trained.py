"""The trained baselines: each finds a planted signal, and none learns from what it may not know."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from making import DAY, Row
from planted import ITEMS, SMALL, allowed_of, on_test, rows, truth
from reasoningrec.baselines import factors, sequential
from reasoningrec.baselines.allowed import Allowed
from reasoningrec.baselines.networks import IMAGE, NETWORKS, Batch, Caser, Sizes
from reasoningrec.config import BaselinesConfig
from reasoningrec.data.timeline import Floats
from reasoningrec.errors import ConfigError

METHODS = (*factors.METHODS, *NETWORKS)
every_method = pytest.mark.parametrize("method", METHODS)
MADE = rows()
QUICK = SMALL.model_copy(update={"epochs": 2})


def answers(method: str, allowed: Allowed, config: BaselinesConfig = SMALL, seed: int = 0) -> Floats:
    if method == "als":
        pytest.importorskip("implicit")
    train = factors.predict if method in factors.METHODS else sequential.predict
    return train(method, allowed, config, seed)


def changed(made: list[Row], where: Callable[[Row, int, int], bool]) -> list[Row]:
    """`made` with other ratings in the rows for which `where` (row, place in the user's rows, their number) holds."""
    lengths: dict[str, int] = {}
    for row in made:
        lengths[row.user] = lengths.get(row.user, 0) + 1
    seen: dict[str, int] = {}
    out = []
    for row in made:
        place = seen.get(row.user, 0)
        seen[row.user] = place + 1
        other = dataclasses.replace(row, rating=6 - (row.rating or 3)) if where(row, place, lengths[row.user]) else row
        out.append(other)
    return out


@every_method
def test_a_planted_taste_is_found(method: str) -> None:
    allowed = allowed_of(MADE)
    found = answers(method, allowed, SMALL.model_copy(update={"epochs": 10, "patience": 0, "refits": 4}))
    assert found.shape == allowed.at.shape
    assert ((found > 0) & (found < 1)).all()
    assert roc_auc_score(*on_test(allowed, found)) > 0.7


@every_method
def test_without_times_no_label_of_test_is_read(method: str) -> None:
    made = rows(times=False)
    other = changed(made, lambda _, place, length: place == length - 1)
    assert (answers(method, allowed_of(other), QUICK) == answers(method, allowed_of(made), QUICK)).all()


@every_method
def test_a_target_is_learned_by_blocks_of_later_alone(method: str) -> None:
    """As the evidence counts it: others' reactions are known once they are given, be they targets or not."""
    before = allowed_of(MADE)
    clock = before.timeline.clock
    first = int(before.at[~before.valid][np.argmin(clock[before.at[~before.valid]])])
    user = before.timeline.users[before.timeline.user[first]]
    after = allowed_of(changed(MADE, lambda row, place, length: place == length - 1 and row.user == user))
    config = QUICK.model_copy(update={"epochs": 1})
    one, other = (answers(method, allowed, config) for allowed in (before, after))
    blocks = list(before.blocks(config.refits, 0, 0))
    later = [bool((clock[before.at[block.asked]] > clock[first]).all()) for block in blocks]
    assert {True, False} == set(later)
    assert [first in block.rows for block in blocks] == later
    early = np.concatenate([block.asked for block, late in zip(blocks, later, strict=True) if not late])
    late = np.setdiff1d(np.arange(before.at.size), early)
    if method in NETWORKS:
        assert (one[early] == other[early]).all()
        assert (one[late] != other[late]).any()
    else:
        fit, (ridge, *_) = factors.METHODS[method]
        for block, is_late in zip(blocks, later, strict=True):
            assert (fit(before, block, 2, ridge, 0) != fit(after, block, 2, ridge, 0)).any() == is_late


@every_method
def test_without_times_valid_labels_are_learned_by_no_model(method: str) -> None:
    """They choose sizes, epochs and the scale of scores, and are history to the same user's test query alone."""
    config = QUICK.model_copy(update={"epochs": 1})
    made = rows(times=False)
    before = allowed_of(made)
    after = allowed_of(changed(made, lambda row, place, length: place == length - 2 and row.user == "u000"))
    one, other = answers(method, before, config), answers(method, after, config)
    mine = before.timeline.user[before.at] == 0
    if method in NETWORKS:
        assert (one[~mine] == other[~mine]).all()
        assert one[before.valid & mine] == other[before.valid & mine]
    else:
        fit, (ridge, *_) = factors.METHODS[method]
        for block, same in zip(before.blocks(config.refits, 0, 0), after.blocks(config.refits, 0, 0), strict=True):
            score, score_after = fit(before, block, 2, ridge, 0), fit(after, same, 2, ridge, 0)
            others = ~mine[block.asked]
            assert (score[others] == score_after[others]).all(), "before they are made probabilities, on valid"
        if method == "mf":
            assert _order(one[~mine & ~before.valid]) == _order(other[~mine & ~before.valid])


def _order(values: Floats) -> list[int]:
    return np.argsort(values, kind="stable").tolist()


@every_method
def test_nothing_later_than_a_query_is_learned(method: str) -> None:
    """What others think of items after the last queries of a block's time is not known to it."""
    early = allowed_of(MADE)
    clock = early.timeline.clock[early.at]
    cut = np.sort(clock)[clock.size // 3 * 2]
    moment = int(early.timeline.time[early.timeline.clock == cut][0]) if early.timeline.time is not None else 0
    late = allowed_of(changed(MADE, lambda row, place, length: row.time >= moment))
    config = QUICK.model_copy(update={"epochs": 1, "refits": 3})
    before = early.blocks(3, 0, 0), late.blocks(3, 0, 0)
    for one, other in zip(*before, strict=True):
        known = early.timeline.clock[early.at[one.asked]].max() < cut
        if known:
            assert (one.rows == other.rows).all()
            assert (early.timeline.liked[one.rows] == late.timeline.liked[other.rows]).all()
    if method in NETWORKS:
        first = next(early.blocks(3, 0, 0)).asked
        one, other = answers(method, early, config), answers(method, late, config)
        assert (one[first] == other[first]).all()


@every_method
@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_every_protocol_is_answered(method: str, protocol: Any) -> None:
    allowed = allowed_of(MADE, protocol)
    assert np.isfinite(answers(method, allowed, QUICK)).all()


def test_blocks_grow_with_rows_and_queries_alike() -> None:
    allowed = allowed_of(MADE)
    blocks = list(allowed.blocks(6, 0, 0))
    assert sorted(np.concatenate([block.asked for block in blocks])) == list(range(allowed.at.size))
    clock = allowed.timeline.clock
    for block in blocks:
        assert (block.rows == np.flatnonzero(clock < clock[allowed.at[block.asked]].min())).all()
    known = [np.sum(clock[allowed.train] < clock[allowed.at[block.asked]].min()) for block in blocks]
    rows = [*known, allowed.train.size]
    steps = [
        block.asked.size / allowed.at.size + (after - before) / allowed.train.size
        for block, before, after in zip(blocks, rows, rows[1:], strict=False)
    ]
    assert len(blocks) == 6
    assert max(steps) < 1.25 * 2 / 6, "an equal part of both; a day's rows are not parted"


@every_method
def test_where_nothing_is_learned_the_own_past_answers(method: str) -> None:
    """On the first day there are no rows before it: those who like all are told from those who like nothing."""
    first = [
        dataclasses.replace(row, user=f"first{row.user}", time=-DAY, rating=5 if row.user < "u010" else 1)
        for row in rows(users=20, length=6)
    ]
    allowed = allowed_of([dataclasses.replace(row, row=place) for place, row in enumerate([*first, *MADE])])
    block = next(allowed.blocks(4, 0, 0))
    assert block.rows.size == 0
    asked = block.asked[allowed.timeline.clock[allowed.at[block.asked]] == 0]
    assert asked.size == 2 * 20
    found = answers(method, allowed, QUICK.model_copy(update={"refits": 4}))
    likes = truth(allowed)[asked]
    assert roc_auc_score(likes, found[asked]) > 0.95
    if method in NETWORKS:  # four of four or five of five, and half a like
        assert found[asked[likes]].min() == pytest.approx(4.5 / 5)
        assert found[asked[~likes]].max() == pytest.approx(0.5 / 5)
    if method == "mf":  # in stars, as every other block's
        scores = factors.biased(allowed, block, 2, 2.0, 0)[np.isin(block.asked, asked)]
        assert scores[likes].min() > 4
        assert scores[~likes].max() < 2


@every_method
def test_data_without_times_have_one_model(method: str) -> None:
    allowed = allowed_of(rows(times=False))
    assert len(list(allowed.blocks(8, 0, 0))) == 1
    assert roc_auc_score(*on_test(allowed, answers(method, allowed, SMALL))) > 0.7


@every_method
def test_strict_does_not_read_the_own_day(method: str) -> None:
    """All rows of u000 on one day: its queries have no past, so its own labels change nothing for it."""
    made = [dataclasses.replace(row, time=50 * DAY) if row.user == "u000" else row for row in MADE]
    other = changed(made, lambda row, place, length: row.user == "u000" and place < length - 2)
    config = QUICK.model_copy(update={"epochs": 1, "refits": 4})
    allowed = allowed_of(made, "strict")
    one, two = (answers(method, a, config) for a in (allowed, allowed_of(other, "strict")))
    mine = allowed.timeline.user[allowed.at] == 0
    assert (allowed.past[allowed.at[mine]] == 0).all()
    if method in NETWORKS:
        assert (one[mine] == two[mine]).all()
    else:  # the regression that makes probabilities of scores is fitted on other users' valid queries, too
        assert one[mine] == pytest.approx(two[mine], abs=0.05)


@every_method
def test_the_seed_decides(method: str) -> None:
    allowed = allowed_of(MADE)
    one = answers(method, allowed, QUICK, 1)
    assert (one == answers(method, allowed, QUICK, 1)).all()
    assert (one != answers(method, allowed, QUICK, 2)).any()


@every_method
@pytest.mark.parametrize("shots", [16, 64])
def test_shots_are_balanced_and_answer_all(method: str, shots: int) -> None:
    allowed = allowed_of(MADE)
    config = QUICK.model_copy(update={"shots": shots, "refits": 1})
    (block,) = allowed.blocks(1, shots, 3)
    assert block.rows.size == shots
    assert set(block.rows) <= set(allowed.main)
    assert allowed.timeline.liked[block.rows].sum() == shots // 2
    assert np.isfinite(answers(method, allowed, config)).all()


@pytest.mark.parametrize("method", NETWORKS)
def test_a_network_of_few_shots_answers_at_the_share_of_likes_of_all(method: str) -> None:
    allowed = allowed_of([dataclasses.replace(row, rating=1 if row.row % 5 == 0 else 5) for row in MADE])
    share = allowed.timeline.liked[allowed.main].mean()
    assert 0.75 < share < 0.85
    found = answers(method, allowed, QUICK.model_copy(update={"shots": 32, "refits": 1}))
    assert found[~allowed.valid].mean() == pytest.approx(share, abs=0.1)


def test_caser_sees_each_question_s_own_image() -> None:
    torch.manual_seed(0)
    net = Caser(Sizes(items=30, reactions=6, users=5, places=40, hidden=8, dropout=0.0))
    items, reactions = torch.randint(1, 30, (3, 40)), torch.randint(1, 6, (3, 40))
    items[0, 25:] = reactions[0, 25:] = 0
    of, place = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 25, 3, 8, 40])
    batch = Batch(items, reactions, torch.tensor([1, 2, 3]), of, place, torch.tensor([4, 5, 6, 7, 8]))
    image = net.reading(*batch.last(IMAGE)).transpose(1, 2)
    parts = [torch.relu(maps(image)).amax(-1) for maps in net.across]  # image by image, as the paper writes it
    state = torch.relu(net.whole(torch.cat([*parts, net.along(image).flatten(1)], -1)))
    state = torch.cat([state, net.user(batch.user_B[of])], -1)
    expected = net.head(state, net.reading.item(batch.target_M), batch.target_M)
    assert torch.allclose(net(batch), expected, atol=1e-6)


@every_method
def test_items_and_users_that_were_never_seen_are_answered(method: str) -> None:
    """One user's two rows come before everybody else's, another's test item is nobody else's."""
    made = [dataclasses.replace(row, time=row.time + 10 * DAY) for row in MADE if row.item != "i19"]
    new = [Row(9000, "new", "i00", 5.0, 0), Row(9001, "new", "i01", 1.0, DAY)]
    strange = [Row(9002, "strange", "i02", 5.0, 900 * DAY), Row(9003, "strange", "i19", 5.0, 901 * DAY)]
    allowed = allowed_of([*made, *new, *strange])
    assert np.isfinite(answers(method, allowed, QUICK)).all()


@every_method
def test_two_rows_each_leave_nothing_to_learn(method: str) -> None:
    made = [
        Row(2 * n + place, f"u{n}", f"i{n + place:02}", 1.0 + 4 * place, place) for n in range(8) for place in (0, 1)
    ]
    found = answers(method, allowed_of(made), QUICK)
    assert found.shape == (8,)
    assert np.isfinite(found).all()


@every_method
def test_long_pasts_are_cut(method: str) -> None:
    rng = np.random.default_rng(0)
    made = [
        Row(400 * user + n, f"u{user}", ITEMS[int(rng.integers(20))].id, float(rng.integers(1, 6)), n * DAY)
        for user in range(3)
        for n in range(400)
    ]
    assert np.isfinite(answers(method, allowed_of(made, tests=3), QUICK)).all()


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("implicit"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="implicit") as error:
        factors.predict("als", allowed_of(MADE), QUICK, 0)
    assert "reasoningrec[baselines]" in str(error.value.hint)
