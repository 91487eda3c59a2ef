"""What a target's text tells: nothing where it is noise, all where it is the answer; differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from reasoningrec.evaluation.decisions import auc
from reasoningrec.evaluation.leak import Sampling, figures, text_scores

RNG = np.random.default_rng(4)
LABELS = RNG.random(400) < 0.6
CLUSTER = np.arange(400)
NOISE = [" ".join(RNG.choice(["red", "blue", "warm", "soft", "old"], 4)) for _ in LABELS]
TOLD = [f"{text} {'sturdy' if label else 'flimsy'}" for text, label in zip(NOISE, LABELS, strict=True)]


def test_a_text_that_tells_the_answer_is_read() -> None:
    assert auc(LABELS, text_scores(TOLD, LABELS, CLUSTER, 0)) == 1.0


def test_noise_tells_nothing() -> None:
    assert auc(LABELS, text_scores(NOISE, LABELS, CLUSTER, 0)) == pytest.approx(0.5, abs=0.09)


def test_twins_do_not_teach_each_other() -> None:
    """Each text stands for one set of triplets alone, so only a fold that parts them could learn from it."""
    labels = np.repeat(RNG.random(100) < 0.5, 3)
    texts = [f"word{n // 3}" for n in range(300)]
    parted = auc(labels, text_scores(texts, labels, np.arange(300), 0))
    whole = auc(labels, text_scores(texts, labels, np.arange(300) // 3, 0))
    assert parted is not None
    assert whole is not None
    assert parted > 0.85
    assert whole < 0.65


@pytest.mark.parametrize("labels", [np.ones(6, np.bool_), np.zeros(6, np.bool_)])
def test_one_class_teaches_nothing(labels: np.ndarray) -> None:
    assert set(text_scores(["a word"] * 6, labels, np.arange(6), 0)) == {float(labels[0])}


@pytest.mark.parametrize("text", ["", "the"])
def test_texts_without_words_in_common_are_no_error(text: str) -> None:
    labels = np.array([True, False] * 6)
    scores = text_scores([text and f"{text}{n}" for n in range(12)], labels, np.arange(12), 0)
    assert np.isfinite(scores).all()


def test_nothing_to_read_is_no_error() -> None:
    assert text_scores([], np.zeros(0, np.bool_), np.zeros(0, np.int64), 0).size == 0


def test_differences_are_paired_with_the_first() -> None:
    noise, told = (text_scores(texts, LABELS, CLUSTER, 0) for texts in (NOISE, TOLD))
    found = figures(LABELS, {"A": noise, "B": told, "C": told}, CLUSTER, Sampling(resamples=200))
    assert [figure.name for figure in found] == ["A", "B", "C", "B minus A", "C minus A"]
    a, b, c, gain, again = found
    assert gain.value == pytest.approx(b.value - a.value)
    assert (b.low, b.high) == (c.low, c.high) == (1.0, 1.0)
    assert (gain.low, gain.high) == (again.low, again.high)
    assert gain.low is not None
    assert gain.low > 0.3
    assert all((figure.n, figure.positives) == (400, int(LABELS.sum())) for figure in found)
