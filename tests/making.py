"""Small made corpora, and all that the line shows of one question on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from reasoningrec.config import DataConfig, EvidenceConfig, Protocol, SplitConfig
from reasoningrec.data import demo, evidence
from reasoningrec.data.attributes import Attributes
from reasoningrec.data.cases import Texts, cases, items_of
from reasoningrec.data.corpus import INTERACTIONS, ITEMS, REVIEWS, Corpus
from reasoningrec.data.split import examples, split
from reasoningrec.data.texts import AllowedReviews, text_key
from reasoningrec.data.timeline import Timeline
from reasoningrec.prompts import PromptSet
from reasoningrec.records import Case, Example, Item
from reasoningrec.teacher.wording import Wording

DAY = 86_400
WORDING = Wording(PromptSet("cited"), "product", "products", "person")


@dataclass(frozen=True)
class Row:
    """An interaction; `row` is its place in the file and its name."""

    row: int
    user: str
    item: str
    rating: float | None = 4.0
    time: int | None = 0
    review: str = ""
    like: bool | None = None
    """None: a like is a rating above 3."""

    @property
    def liked(self) -> bool:
        return (self.rating or 0) > 3 if self.like is None else self.like


CATALOGUE = (
    Item("i1", "Blue Kettle One", "Alder", 10.0, ("kettle", "quiet")),
    Item("i2", "Blue Lamp Two", "Alder", 20.0, ("lamp", "quiet")),
    Item("i3", "Red Kettle Three", "Corvo", 30.0, ("kettle",)),
    Item("i4", "Red Lamp Four", "Corvo", None, ("lamp", "foldable")),
    Item("i5", "Green Clock Five", "", 50.0, ()),
    Item("i6", "Green Kettle Six", "Dunmore", 15.0, ("kettle", "foldable")),
)


def items_frame(items: Iterable[Item]) -> pl.DataFrame:
    rows = [{**dataclasses.asdict(item), "item": item.id, "details": ""} for item in items]
    rows = [{**row, "categories": list(row["categories"])} for row in rows]
    return pl.DataFrame([{name: row[name] for name in ITEMS} for row in rows], schema=dict(ITEMS))


def corpus_of(rows: Iterable[Row], items: Iterable[Item] = CATALOGUE) -> Corpus:
    """A corpus of `rows`, whatever their order, over a catalogue that does not depend on them."""
    rows = sorted(rows, key=lambda row: row.row)
    said = [{"row": row.row, "summary": "", "text": row.review} for row in rows if row.review]
    return Corpus(
        name="made",
        interactions=pl.DataFrame(
            [{name: getattr(row, name) for name in ("row", "user", "item", "rating", "liked", "time")} for row in rows],
            schema=dict(INTERACTIONS),
        ),
        items=items_frame(items),
        reviews=pl.DataFrame(said, schema=dict(REVIEWS)),
    )


@dataclass(frozen=True)
class Line:
    """Data, split, evidence and cases of a corpus; a description or profile is the text it would be written from."""

    corpus: Corpus
    split: SplitConfig = field(default_factory=lambda: SplitConfig(history=3))
    protocol: Protocol = "honest"
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    most_reviews: int = 32

    @cached_property
    def timeline(self) -> Timeline:
        return Timeline.of(self.corpus)

    @cached_property
    def attributes(self) -> Attributes:
        return Attributes.of(self.corpus.items)

    @cached_property
    def windows(self) -> pl.DataFrame:
        return split(self.timeline, self.split, self.protocol)

    @cached_property
    def labels(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return self.windows["label"].to_numpy()

    @cached_property
    def numbers(self) -> pl.DataFrame:
        return self.numbers_of(self.windows)

    def numbers_of(self, windows: pl.DataFrame) -> pl.DataFrame:
        return evidence.numbers(self.timeline, self.attributes, windows, self.evidence, self.split.history)

    @cached_property
    def examples(self) -> list[Example]:
        return list(examples(self.timeline, self.windows, self.split.history))

    @cached_property
    def cases(self) -> list[Case]:
        return self.cases_of(self.windows, self.numbers, self.reviews(self.windows))

    def reviews(self, windows: pl.DataFrame) -> AllowedReviews:
        return AllowedReviews(self.corpus, self.timeline, windows, self.protocol, self.most_reviews)

    def cases_of(self, windows: pl.DataFrame, numbers: pl.DataFrame, reviews: AllowedReviews) -> list[Case]:
        queries = [example.query for example in examples(self.timeline, windows, self.split.history)]
        at = windows["at"].to_numpy()
        item, counts = self.timeline.item[at], reviews.count(self.timeline.item[at], self.timeline.clock[at]).tolist()
        of_target = {query.id: text_key(query.item, n) for query, n in zip(queries, counts, strict=True)}
        of_user = {query.id: text_key(query.user, n) for query, n in zip(queries, windows["profile"], strict=True)}
        descriptions = {
            text_key(query.item, n): " | ".join(reviews.texts(code, n))
            for query, code, n in zip(queries, item.tolist(), counts, strict=True)
        }
        profiles = {
            text_key(query.user, n): self._past(query.user, n)
            for query, n in zip(queries, windows["profile"], strict=True)
        }
        texts = Texts(descriptions, profiles, of_target, of_user)
        return list(cases(queries, numbers, items_of(self.corpus), self.attributes, texts))

    def _past(self, user: str, n: int) -> str:
        """What a profile of a user's first n rows would be written from."""
        line, said = self.timeline, dict(self.corpus.reviews.select("row", "text").iter_rows())
        first = int(line.start[line.users.index(user)])
        return " | ".join(
            f"{line.items[line.item[at]]} {line.liked[at]} {said.get(int(line.row[at]), '')}"
            for at in range(first, first + n)
        )


def demo_line(users: int = 60, seed: int = 7, train_windows: int = 1, history: int = 10) -> Line:
    """The made shop, as far as its cases."""
    config = DataConfig(source="demo", users=users, seed=seed)
    return Line(demo.read(config, "demo"), SplitConfig(history=history, train_windows=train_windows))


def place_of(timeline: Timeline, rows: Sequence[int]) -> list[int]:
    """Where rows of the file stand in the timeline; -1 for those that are not there."""
    where = {int(row): at for at, row in enumerate(timeline.row)}
    return [where.get(row, -1) for row in rows]
