"""A made shop in which the true reasons of every like are known.

The rule, drawn from one seed. An item has a kind of product, a brand, two features, a price and a hidden quality q ~
N(0, 1). A user is driven by one of five motives. The utility of an item to a user is the sum of

    generosity   2.0 for generous users, -2.0 for harsh ones (one in three of that motive), N(0, 0.3) for all others
    quality      2.5 q for users driven by quality, 0.6 q for all others
    brand        3.0 for the loved brand and -2.5 for the disliked one of users driven by brands, else 0
    feature      3.0 for the loved feature and -2.5 for the disliked one of users driven by features, else 0
    price        -2.2 z for users driven by price, else 0, with z the standardised log price

less 0.2, plus logistic noise of scale 0.4. Above 0 the user likes it (4 stars, 5 above 1.8), below not (3, 2 below -1,
1 below -2.2). The true reasons of a like are the positive terms, each with its share of their sum. Users driven by a
brand or feature choose the loved one in two of five visits and the disliked one in one of eight. Two rows in three
carry a review that praises what drove the rating up and complains of what drove it down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REASONS, REVIEWS, Corpus
from reasoningrec.records import Case

MOTIVES = ("generosity", "quality", "brand", "feature", "price")
BRANDS = ("Alder", "Brightwell", "Corvo", "Dunmore", "Eastlake", "Fjord", "Grove", "Halden", "Isola", "Juniper")
PRODUCTS = ("Lamp", "Backpack", "Kettle", "Blanket", "Headphones", "Notebook", "Clock", "Bottle")
FEATURES = (
    "bamboo", "foldable", "waterproof", "wireless", "handmade", "recycled", "compact", "quiet", "magnetic", "washable",
)  # fmt: skip
MODELS = ("One", "Duo", "Mini", "Max", "Air", "Pro", "Lite", "Go", "Plus", "Neo", "Prime", "Core")
START = 1_672_531_200  # 2023-01-01
DAY = 86_400
PRAISE = {
    "quality": ("Very well made and sturdy", "Great build, feels solid", "Excellent workmanship"),
    "brand": ("{brand} never lets me down", "I trust {brand}, and again they deliver", "Another lovely {brand}"),
    "feature": (
        "I love that it is {feature}",
        "Being {feature} makes it perfect for me",
        "The {feature} design is great",
    ),
    "price": ("Good value for the price", "Cheap and does the job well", "Great price"),
    "generosity": ("Happy with it", "Nice, would buy again", "Works great for me"),
}
PLAIN = ("It is okay", "Does what it should", "Fine for daily use")
COMPLAINT = {
    "quality": ("Poor build, it broke quickly", "Feels flimsy and cheap", "Bad workmanship"),
    "brand": ("{brand} disappoints again", "I should not have bought {brand}", "Not a fan of {brand}"),
    "feature": ("I dislike that it is {feature}", "Being {feature} is annoying", "The {feature} design is bad"),
    "price": ("Far too expensive", "Not worth the price", "Overpriced"),
    "generosity": ("It is not what I wanted", "Disappointed", "Would not buy again"),
}


@dataclass(frozen=True)
class _Shop:
    """I items as arrays: codes of product, brand and features (I, 2), price, its z-score, and quality."""

    product: np.ndarray
    brand: np.ndarray
    features: np.ndarray
    price: np.ndarray
    z: np.ndarray
    quality: np.ndarray


@dataclass(frozen=True)
class _Person:
    motive: str
    generosity: float
    loved: int
    disliked: int


def read(config: DataConfig, name: str) -> Corpus:
    """Make the shop of `config.seed` with `config.users` users and half as many items."""
    rng = np.random.default_rng(config.seed)
    shop = _make_shop(rng, config.users // 2)
    rows = [row for user in range(config.users) for row in _visits(rng, shop, f"u{user + 1:04d}")]
    rows.sort(key=lambda row: (row["time"], row["user"]))
    frame = pl.DataFrame(rows).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    reasons = (
        frame.select("row", pl.col("reasons")).explode("reasons", empty_as_null=True).drop_nulls().unnest("reasons")
    )
    return Corpus(
        name=name,
        interactions=frame.select(list(INTERACTIONS)).cast(pl.Schema(INTERACTIONS)),
        items=_items_frame(shop),
        reviews=frame.filter(pl.col("text") != "")
        .select("row", pl.lit("").alias("summary"), "text")
        .cast(pl.Schema(REVIEWS)),
        true_reasons=reasons.select(list(REASONS)).cast(pl.Schema(REASONS)),
        notes=(f"made data: seed {config.seed}, {config.users} users, {config.users // 2} items",),
    )


def accepted(case: Case) -> dict[str, set[str]]:
    """For each true kind of reason, the ids of the lines of evidence that speak of it.

    A loved brand or feature shows in the user's record with it ([U3], [U4]) and in every liked item of the history that
    shares it; generosity in [U1] and [U2], quality in what others say [C1], price in the record with the band [U5].
    """
    ids: dict[str, set[str]] = {"generosity": {"U1", "U2"}, "quality": {"C1"}, "price": {"U5"}}
    ids |= {"brand": {"U3"}, "feature": {"U4"}}
    for place, reaction in enumerate(case.query.history, 1):
        item = case.items[reaction.item]
        if reaction.liked and item.brand == case.target.brand:
            ids["brand"].add(f"H{place}")
        if reaction.liked and set(item.categories) & set(case.target.categories):
            ids["feature"].add(f"H{place}")
    return ids


def _make_shop(rng: np.random.Generator, count: int) -> _Shop:
    log_price = rng.normal(3.2, 0.7, count)
    return _Shop(
        product=rng.integers(len(PRODUCTS), size=count),
        brand=rng.integers(len(BRANDS), size=count),
        features=np.stack([rng.permutation(len(FEATURES))[:2] for _ in range(count)]),
        price=np.round(np.exp(log_price), 2),
        z=(log_price - 3.2) / 0.7,
        quality=rng.normal(size=count),
    )


def _items_frame(shop: _Shop) -> pl.DataFrame:
    rows = []
    for index in range(shop.price.size):
        features = [FEATURES[code] for code in sorted(shop.features[index])]
        product = PRODUCTS[shop.product[index]]
        model = f"{MODELS[index % len(MODELS)]} {index + 1}"
        rows.append(
            {
                "item": f"i{index + 1:04d}",
                "title": f"{product} {model}",
                "brand": BRANDS[shop.brand[index]],
                "price": float(shop.price[index]),
                "categories": [product.lower(), *features],
                "details": f"A {features[0]} and {features[1]} {product.lower()}.",
            }
        )
    return pl.DataFrame(rows, schema=dict(ITEMS)).sort("item")


def _visits(rng: np.random.Generator, shop: _Shop, user: str) -> list[dict[str, object]]:
    motive = MOTIVES[rng.integers(len(MOTIVES))]
    generosity = float(rng.normal(0, 0.3)) if motive != "generosity" else (-2.0 if rng.random() < 1 / 3 else 2.0)
    options = len(BRANDS) if motive == "brand" else len(FEATURES)
    loved, disliked = (int(code) for code in rng.permutation(options)[:2])
    person = _Person(motive, generosity, loved, disliked)
    count = int(rng.integers(12, 31))
    days = np.sort(rng.choice(700, size=count, replace=False))
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(_choose(rng, shop, person, chosen))
    return [_row(rng, shop, person, user, item, START + int(day) * DAY) for item, day in zip(chosen, days, strict=True)]


def _choose(rng: np.random.Generator, shop: _Shop, person: _Person, seen: list[int]) -> int:
    fresh = np.setdiff1d(np.arange(shop.price.size), seen)
    draw = rng.random()
    wanted = person.loved if draw < 0.4 else person.disliked if draw < 0.525 else None
    if wanted is not None and person.motive == "brand":
        fits = fresh[shop.brand[fresh] == wanted]
    elif wanted is not None and person.motive == "feature":
        fits = fresh[(shop.features[fresh] == wanted).any(axis=1)]
    else:
        fits = fresh
    return int(rng.choice(fits if fits.size else fresh))


def _terms(shop: _Shop, person: _Person, item: int) -> dict[str, float]:
    """The utility's terms by name, as the module's docstring states them."""
    quality, motive = float(shop.quality[item]), person.motive
    brand = {person.loved: 3.0, person.disliked: -2.5}.get(int(shop.brand[item]), 0.0)
    features = shop.features[item].tolist()
    feature = 3.0 * (person.loved in features) - 2.5 * (person.disliked in features)
    return {
        "generosity": person.generosity,
        "quality": (2.5 if motive == "quality" else 0.6) * quality,
        "brand": brand if motive == "brand" else 0.0,
        "feature": feature if motive == "feature" else 0.0,
        "price": -2.2 * float(shop.z[item]) if motive == "price" else 0.0,
    }


def _row(rng: np.random.Generator, shop: _Shop, person: _Person, user: str, item: int, time: int) -> dict[str, object]:
    terms = _terms(shop, person, item)
    utility = sum(terms.values()) - 0.2 + float(rng.logistic(0, 0.4))
    rating = 5.0 if utility > 1.8 else 4.0 if utility > 0 else 3.0 if utility > -1 else 2.0 if utility > -2.2 else 1.0
    positive = {name: value for name, value in terms.items() if value > 0}
    total = sum(positive.values())
    shares = [{"kind": name, "share": value / total} for name, value in positive.items()] if utility > 0 else []
    return {
        "user": user,
        "item": f"i{item + 1:04d}",
        "rating": rating,
        "liked": rating > 3,
        "time": time + int(rng.integers(DAY)),
        "text": _review(rng, shop, terms, item, person) if rng.random() < 2 / 3 else "",
        "reasons": shares,
    }


def _review(rng: np.random.Generator, shop: _Shop, terms: dict[str, float], item: int, person: _Person) -> str:
    said = sorted((name for name in terms if abs(terms[name]) > 0.4), key=lambda name: -abs(terms[name]))[:2]
    features = shop.features[item].tolist()
    named = (
        person.loved if person.loved in features else person.disliked if person.disliked in features else features[0]
    )
    words = {"brand": BRANDS[shop.brand[item]], "feature": FEATURES[named]}
    bank = [(PRAISE if terms[name] > 0 else COMPLAINT)[name] for name in said] or [PLAIN]
    return ". ".join(str(rng.choice(sentences)).format(**words) for sentences in bank) + "."
