"""What reviews praise and complain of."""

from __future__ import annotations

import pytest

from reasoningrec.llm.praise import MOST, features


@pytest.mark.parametrize(
    ("reviews", "praised", "blamed"),
    [
        ([], [], []),
        (["", "   ", "It came on Monday."], [], []),
        (["I love the zipper."], ["zipper"], []),
        (["The zipper broke."], [], ["zipper"]),
        (["Great zipper, poor strap."], ["zipper"], ["strap"]),
        (["Great zipper but flimsy strap"], ["zipper"], ["strap"]),
        (["The zipper is not good."], [], ["zipper"]),
        (["Not a bad zipper."], ["zipper"], []),
        (["Good zipper.", "Bad zipper."], [], []),
        (["Good zipper.", "Bad zipper.", "Lovely zipper!"], ["zipper"], []),
        (["GREAT ZIPPER"], ["zipper"], []),
    ],
)
def test_features(reviews: list[str], praised: list[str], blamed: list[str]) -> None:
    assert features(reviews) == (praised, blamed)


def test_what_more_reviews_name_comes_first_and_at_most_two() -> None:
    reviews = ["great strap", "great zipper", "great strap", "great pocket", "great zipper", "great strap"]
    assert features(reviews) == (["strap", "zipper"], [])
    assert len(features(reviews)[0]) == MOST


def test_the_order_of_reviews_does_not_matter() -> None:
    reviews = ["great strap", "poor zipper", "great pocket", "awful lining"]
    assert features(reviews) == features(reviews[::-1])


def test_a_review_counts_once_for_a_thing() -> None:
    assert features(["great strap, great strap, great strap", "bad strap", "poor strap"]) == ([], ["strap"])


@pytest.mark.parametrize("text", ["!!!", "ünïcode ist großartig", "good " * 5000, "great\n\nbad\n"])
def test_odd_texts_do_no_harm(text: str) -> None:
    praised, blamed = features([text])
    assert len(praised) <= MOST
    assert len(blamed) <= MOST
