"""The made shop: its stated rule, and the true reasons it knows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from making import demo_line
from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REASONS, REVIEWS, Corpus
from reasoningrec.data.demo import BRANDS, FEATURES, MOTIVES, accepted, read


@pytest.fixture(scope="module")
def shop() -> Corpus:
    return read(DataConfig(source="demo", users=120), "demo")


def test_the_shop_is_made_from_its_seed(shop: Corpus) -> None:
    again = read(DataConfig(source="demo", users=120), "demo")
    other = read(DataConfig(source="demo", users=120, seed=8), "demo")
    for name in ("interactions", "items", "reviews", "true_reasons"):
        assert getattr(shop, name).equals(getattr(again, name))
        assert not getattr(shop, name).equals(getattr(other, name))


def test_sizes_and_types(shop: Corpus) -> None:
    for frame, schema in (
        ("interactions", INTERACTIONS),
        ("items", ITEMS),
        ("reviews", REVIEWS),
        ("true_reasons", REASONS),
    ):
        assert dict(getattr(shop, frame).schema) == dict(schema)
    assert shop.interactions["user"].n_unique() == 120
    assert shop.items.height == 60
    assert shop.interactions["row"].to_list() == list(range(shop.interactions.height))
    assert shop.interactions["time"].is_sorted()
    visits = shop.interactions.group_by("user").len()["len"]
    assert (visits.min(), visits.max()) == (12, 30)


def test_a_user_buys_one_thing_a_day_and_nothing_twice(shop: Corpus) -> None:
    rows = shop.interactions.with_columns(day=pl.col("time") // 86_400)
    assert rows.select("user", "item").is_unique().all()
    assert rows.select("user", "day").is_unique().all()


def test_ratings_likes_and_reviews(shop: Corpus) -> None:
    rows = shop.interactions
    assert set(rows["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert (rows["liked"] == (rows["rating"] > 3)).all()
    assert 0.35 < float(np.mean(rows["liked"].to_numpy())) < 0.65
    assert shop.reviews.height / rows.height == pytest.approx(2 / 3, abs=0.03)
    assert shop.reviews["text"].str.ends_with(".").all()


def test_items(shop: Corpus) -> None:
    assert set(shop.items["brand"]) <= set(BRANDS)
    assert shop.items["title"].is_unique().all()
    for categories in shop.items["categories"].to_list():
        assert len(set(categories)) == 3
        assert set(categories[1:]) <= set(FEATURES)


def test_true_reasons_are_of_likes_alone_and_their_shares_add_up(shop: Corpus) -> None:
    reasons = shop.true_reasons.join(shop.interactions.select("row", "liked"), on="row", how="left")
    assert reasons["liked"].all()
    assert set(reasons["kind"]) == set(MOTIVES)
    assert (reasons["share"] > 0).all()
    sums = reasons.group_by("row").agg(pl.col("share").sum())["share"].to_numpy()
    assert np.allclose(sums, 1.0)
    liked = shop.interactions.filter("liked")["row"]
    assert reasons["row"].n_unique() / len(liked) > 0.97  # noise alone makes the rest


def test_who_is_driven_by_a_brand_has_one_they_love(shop: Corpus) -> None:
    """A user's likes that are mostly due to a brand are all of one brand."""
    main = shop.true_reasons.sort("row", "share", descending=[False, True]).group_by("row", maintain_order=True).first()
    rows = shop.interactions.join(main, on="row", how="left").join(shop.items.select("item", "brand"), on="item")
    of_brand = rows.filter(kind="brand").group_by("user").agg("brand")
    assert of_brand.height > 5
    for brands in of_brand["brand"].to_list():
        assert len(Counter(brands)) == 1


def test_dear_things_please_those_who_watch_the_price_less(shop: Corpus) -> None:
    priced = shop.interactions.join(shop.items.select("item", "price"), on="item")
    watchers = shop.true_reasons.filter(kind="price").join(shop.interactions, on="row")["user"].unique()
    mine = priced.filter(pl.col("user").is_in(watchers.implode()))
    cheap, dear = (mine.filter(part)["liked"].mean() for part in (pl.col("price") < 20, pl.col("price") > 30))
    assert cheap - dear > 0.2  # type: ignore[operator]


def test_accepted_lines_speak_of_their_reason() -> None:
    line = demo_line(60)
    for case in line.cases:
        ids = accepted(case)
        assert set(ids) == set(MOTIVES)
        facts = case.evidence.by_id()
        for kind, accept in ids.items():
            for id_ in accept:
                if id_.startswith("H"):
                    assert facts[id_].values["liked"] is True
                    item = case.items[case.query.history[int(id_[1:]) - 1].item]
                    shared = set(item.categories) & set(case.target.categories)
                    assert item.brand == case.target.brand if kind == "brand" else shared
    assert any(id_.startswith("H") for case in line.cases for id_ in accepted(case)["brand"])
