"""What items have in common."""

from __future__ import annotations

import numpy as np
import pytest

from making import CATALOGUE, items_frame
from reasoningrec.data.attributes import PRICE_BANDS, Attributes
from reasoningrec.records import Item


def groups_of(attributes: Attributes, name: str, item: int) -> list[str]:
    offset, values = attributes.groups[name]
    return [attributes.labels[name][code] for code in values[offset[item] : offset[item + 1]]]


def test_groups_of_the_catalogue() -> None:
    found = Attributes.of(items_frame(reversed(CATALOGUE)))  # codes follow the names, not the frame
    assert [groups_of(found, "brand", code) for code in range(6)] == [
        ["Alder"], ["Alder"], ["Corvo"], ["Corvo"], [], ["Dunmore"],
    ]  # fmt: skip
    assert groups_of(found, "category", 0) == ["kettle", "quiet"]
    assert groups_of(found, "category", 4) == []
    assert groups_of(found, "price", 3) == []
    bands = [groups_of(found, "price", code) for code in (0, 5, 1, 2, 4)]
    assert bands == sorted(bands)
    assert {band for (band,) in bands} == set(found.labels["price"])


def test_a_price_band_names_its_bounds() -> None:
    found = Attributes.of(items_frame(CATALOGUE))
    assert len(found.labels["price"]) == PRICE_BANDS
    for code, item in enumerate(CATALOGUE):
        for band in groups_of(found, "price", code):
            low, high = (float(bound.removeprefix("$")) for bound in band.split(" to "))
            assert item.price is not None
            assert low - 0.005 <= item.price <= high + 0.005


def test_one_price_for_all_is_one_band() -> None:
    found = Attributes.of(items_frame(Item(f"i{n}", "A", price=5.0) for n in range(4)))
    codes = found.groups["price"][1]
    assert len(set(codes.tolist())) == 1
    assert max(codes) < len(found.labels["price"])


def test_a_category_named_twice_counts_once() -> None:
    found = Attributes.of(items_frame([Item("i1", "A", categories=("x", "x", "y"))]))
    assert groups_of(found, "category", 0) == ["x", "y"]


def test_likeness_is_a_cosine() -> None:
    found = Attributes.of(items_frame(CATALOGUE))
    dense = found.words.toarray()
    first = np.array([[0, 1, 2], [3, 4, 5]])
    second = np.array([0, 5])
    likeness = found.likeness(first, second)
    for row, col in np.ndindex(2, 3):
        assert likeness[row, col] == pytest.approx(float(dense[first[row, col]] @ dense[second[row]]))
    assert likeness[0, 0] == pytest.approx(1.0)
    assert likeness[0, 2] > 0  # both kettles


@pytest.mark.parametrize("titles", [("alpha", "beta"), ("", ""), ("the", "the")])
def test_titles_without_a_common_word_are_not_alike(titles: tuple[str, str]) -> None:
    found = Attributes.of(items_frame(Item(f"i{n}", title) for n, title in enumerate(titles)))
    assert found.likeness(np.array([[0, 1]]), np.array([1])).tolist() == [[0.0, 0.0]]
    assert found.labels["price"] == found.labels["brand"] == ()
