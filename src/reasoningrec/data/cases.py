"""From arrays and texts to what a prompt may show: cases, one for each query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from reasoningrec.data.attributes import Attributes
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.facts import facts
from reasoningrec.records import Case, Evidence, Item, Query

SHOWN_ALWAYS: Final = ("history", "target")
"""Kinds of facts that are no evidence but the question itself."""
OF_ATTRIBUTES: Final = ("own-brand", "own-category", "own-price", "crowd-brand")
"""Kinds of facts that name an attribute."""


@dataclass(frozen=True)
class Texts:
    """A teacher's texts by key (`texts.text_key`), and which of them each query may show.

    `of_target` and `of_user` map a query's id to the key of its target's description and of its user's profile.
    """

    descriptions: Mapping[str, str]
    profiles: Mapping[str, str]
    of_target: Mapping[str, str]
    of_user: Mapping[str, str]
    of_item: Mapping[str, str] = field(default_factory=dict)
    """Item id -> key of its description, for items of the history; `paper` only, where an item has one text."""


def items_of(corpus: Corpus, *, titles_only: bool = False) -> dict[str, Item]:
    """The corpus's items as records, by id; `titles_only`: without brand, price and categories."""
    if titles_only:
        return {name: Item(name, title) for name, title in corpus.items.select("item", "title").iter_rows()}
    columns = ["item", "title", "brand", "price", "categories"]
    return {
        name: Item(name, title, brand, price, tuple(categories))
        for name, title, brand, price, categories in corpus.items.select(columns).iter_rows()
    }


def cases(
    queries: Sequence[Query],
    numbers: pl.DataFrame,
    items: Mapping[str, Item],
    attributes: Attributes,
    texts: Texts,
    without: Collection[str] = (),
) -> Iterator[Case]:
    """One case for each query; `numbers` has one row for each, in the same order; `without` as in the configuration."""
    for query, row in zip(queries, numbers.iter_rows(named=True), strict=True):
        shown = {reaction.item: items[reaction.item] for reaction in query.history}
        target = items[query.item]
        yield Case(
            query=query,
            target=target,
            items=shown,
            evidence=_left(facts(query, target, shown, row, attributes), without),
            description=texts.descriptions.get(texts.of_target.get(query.id, ""), ""),
            profile=texts.profiles.get(texts.of_user.get(query.id, ""), ""),
            item_texts={
                item: text for item in shown if (text := texts.descriptions.get(texts.of_item.get(item, ""), ""))
            },
        )


def _left(evidence: Evidence, without: Collection[str]) -> Evidence:
    """What is left of the facts. A line of the history weighs by shared attributes, too; without them it weighs 0."""
    left = evidence.facts
    if "evidence" in without:
        left = tuple(fact for fact in left if fact.kind in SHOWN_ALWAYS)
    if "attributes" in without:
        told = (fact for fact in left if fact.kind not in OF_ATTRIBUTES)
        left = tuple(replace(fact, weight=0.0) if fact.kind == "history" else fact for fact in told)
    return replace(evidence, facts=left)
