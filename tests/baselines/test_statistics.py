"""Plain counts as recommenders: they keep the order of the count, and learn from nothing they may not."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from making import Row, corpus_of, demo_line
from reasoningrec.baselines.statistics import COUNTS, predict, sigmoid
from reasoningrec.data.timeline import Floats

LINE = demo_line(100)
ROLE = LINE.windows["role"]
TEST = (ROLE == "test").to_numpy()
FOUND = predict(LINE.numbers, LINE.labels, ROLE, 0)


def test_every_method_gives_a_probability_for_every_row() -> None:
    assert set(FOUND) == {*COUNTS, "logistic", "boosting"}
    for answers in FOUND.values():
        assert answers.shape == (LINE.windows.height,)
        assert ((answers > 0) & (answers < 1)).all()


def history_share() -> Floats:
    numbers = LINE.numbers
    share = pl.when(pl.col("window_n") > 0).then(pl.col("window_liked") / pl.col("window_n")).otherwise(pl.col("base"))
    return numbers.select(share).to_series().to_numpy()


@pytest.mark.parametrize("role", ["valid", "test"])
@pytest.mark.parametrize("method", ["user-share", "item-share", "last", "popularity"])
def test_the_auc_is_that_of_the_count_itself(method: str, role: str) -> None:
    asked = (role == ROLE).to_numpy()
    (column,) = COUNTS[method]
    count = history_share() if column == "history share" else LINE.numbers[column].to_numpy()
    ours, plain = (float(roc_auc_score(LINE.labels[asked], value[asked])) for value in (FOUND[method], count))
    assert ours == pytest.approx(plain) or ours == pytest.approx(1 - plain)  # the fit may turn the order round


def test_share_methods_keep_the_order_of_the_share() -> None:
    for method, count in (("user-share", history_share()), ("item-share", LINE.numbers["item_share"].to_numpy())):
        order = np.argsort(count[TEST], kind="stable")
        assert (np.diff(FOUND[method][TEST][order]) >= 0).all()


def test_more_evidence_does_better() -> None:
    auc = {method: roc_auc_score(LINE.labels[TEST], answers[TEST]) for method, answers in FOUND.items()}
    assert auc["logistic"] > auc["user-share"] > 0.55
    assert auc["boosting"] > auc["popularity"]


def test_no_label_of_test_is_read() -> None:
    other = predict(LINE.numbers, LINE.labels ^ TEST, ROLE, 0)
    for method, answers in FOUND.items():
        assert (other[method] == answers).all()


def test_valid_is_answered_from_train_alone() -> None:
    valid = (ROLE == "valid").to_numpy()
    other = predict(LINE.numbers, LINE.labels ^ valid, ROLE, 0)
    for method, answers in FOUND.items():
        assert (other[method][valid] == answers[valid]).all()
    assert (other["logistic"][TEST] != FOUND["logistic"][TEST]).any()


def test_the_rows_order_does_not_matter() -> None:
    back = predict(LINE.numbers.reverse(), LINE.labels[::-1], ROLE.reverse(), 0)
    for method in ("user-share", "logistic"):
        assert back[method][::-1] == pytest.approx(FOUND[method], abs=1e-6)


def test_one_class_alone_can_be_answered() -> None:
    found = predict(LINE.numbers, np.ones(LINE.windows.height, dtype=np.bool_), ROLE, 0)
    for answers in found.values():
        n = (~TEST).sum()
        assert answers[TEST] == pytest.approx((n + 1) / (n + 2))


def test_a_corpus_without_train_windows_is_answered_in_sample() -> None:
    rows = [
        Row(2 * n + place, f"u{n}", f"i{(n + place) % 6 + 1}", n * 3 % 5 + 1, place)
        for n in range(8)
        for place in (0, 1)
    ]
    line = dataclasses.replace(LINE, corpus=corpus_of(rows))
    assert set(line.windows["role"]) == {"test"}
    for answers in predict(line.numbers, line.labels, line.windows["role"], 0).values():
        assert np.isfinite(answers).all()


def test_shots_answer_at_the_share_of_likes_of_all() -> None:
    """Drawn half and half, of data where most is liked, or hardly anything is."""
    for mostly in (True, False):
        rare = np.random.default_rng(0).random(LINE.windows.height) < 0.4
        labels = LINE.labels | ~rare if mostly else LINE.labels & rare
        train = (ROLE == "train").to_numpy()
        share = labels[train].mean()
        assert abs(share - 0.5) > 0.2
        for method, answers in predict(LINE.numbers, labels, ROLE, 0, shots=32).items():
            assert answers[TEST].mean() == pytest.approx(share, abs=0.1), method


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20))
def test_sigmoid(values: list[float]) -> None:
    z = np.array(values)
    p = sigmoid(z)
    assert ((p >= 0) & (p <= 1)).all()
    assert p + sigmoid(-z) == pytest.approx(np.ones(z.size))
    assert sigmoid(np.array([0.0]))[0] == 0.5
