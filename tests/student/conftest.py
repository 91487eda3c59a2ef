"""Made cases whose labels are a noisy function of their facts' weights, and small students trained on them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from reasoningrec.config import TrainConfig
from reasoningrec.llm.offline import plan
from reasoningrec.records import Case, Evidence, Fact, Item, Query, Rationale, Reaction
from reasoningrec.student.encode import TrainingRow
from reasoningrec.student.train import TrainingResult, TrainingRun, train

NOUNS = ("Mug", "Lamp", "Scarf", "Kettle", "Tent", "Radio", "Chair", "Clock", "Brush", "Basket")
KINDS = ("Trail", "Harbor", "Copper", "Velvet", "Quiet", "Winter", "Garden", "Pocket", "Amber", "Stone")
OPENINGS = (
    "{main} speaks loudest here, so {end}.",
    "Look at {main} first: {end}.",
    "Since {main}, {end}.",
)


@dataclass(frozen=True)
class Shop:
    """Makes rows from a seed."""

    seed: int = 0
    history: int = 4

    def rows(self, count: int, texts: bool = True) -> list[TrainingRow]:
        luck = random.Random(self.seed)
        return [self._row(luck, f"{self.seed}-{n}", texts) for n in range(count)]

    def _row(self, luck: random.Random, id_: str, texts: bool) -> TrainingRow:
        case = self._case(luck, id_)
        total = sum(fact.weight for fact in case.evidence.facts)
        label = luck.random() < 1.0 / (1.0 + math.exp(-2.0 * total))
        return TrainingRow(case, label, self._rationale(luck, case, label) if texts else None)

    def _case(self, luck: random.Random, id_: str) -> Case:
        items = [
            Item(f"i{n}", f"{luck.choice(KINDS)} {luck.choice(NOUNS)}", "Acme", luck.randrange(5, 50))
            for n in range(self.history + 1)
        ]
        target, past = items[-1], items[:-1]
        reactions = tuple(Reaction(item.id, luck.random() < 0.6) for item in past)
        facts = [
            Fact(
                f"H{n}",
                "history",
                f'"{item.title}" (Acme, ${item.price:.2f}): {"liked" if reaction.liked else "disliked"}',
                round(luck.gauss(0, 0.5), 3),
                {"title": item.title, "liked": reaction.liked},
                True,
            )
            for n, (item, reaction) in enumerate(zip(past, reactions, strict=True), 1)
        ]
        liked = sum(reaction.liked for reaction in reactions)
        share = math.log((liked + 1) / (len(reactions) - liked + 1))
        facts += [
            Fact("U1", "user-share", f"liked {liked} of {len(reactions)} so far", share, {}, True),
            Fact("T", "target", f'"{target.title}" (Acme, ${target.price:.2f})', 0.0, {"title": target.title}),
            Fact("C1", "item-share", f"{luck.randrange(9)} of 9 others liked it", round(luck.gauss(0, 0.8), 3)),
            Fact("C2", "neighbours", "of those who liked [H1] most liked it", round(luck.gauss(0, 0.4), 3)),
        ]
        query = Query(id_, f"u{id_}", target.id, 0, reactions)
        profile = "Buys sturdy things for the house and for walks, and minds the price."
        description = f"A {target.title.lower()} praised for its finish, sometimes said to be small."
        by_id = {item.id: item for item in past}
        return Case(query, target, by_id, Evidence(id_, tuple(facts), {}), description, profile=profile)

    @staticmethod
    def _rationale(luck: random.Random, case: Case, label: bool) -> Rationale:
        facts = case.evidence.by_id()
        ids = plan(case.evidence.facts, label, 3).ids or ("C1",)
        shown = [
            f'"{facts[id_].values["title"]}" [{id_}]' if "title" in facts[id_].values else f"that [{id_}]"
            for id_ in ids
        ]
        end = "they will enjoy it" if label else "they will not enjoy it"
        why = luck.choice(OPENINGS).format(main=shown[0], end=end) + "".join(f" So does {one}." for one in shown[1:])
        taste = f"They liked {sum(r.liked for r in case.query.history)} things, above all sturdy ones."
        return Rationale(case.query.id, label, taste, why, ids, "offline")


@pytest.fixture(scope="session")
def shop() -> type[Shop]:
    return Shop


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """A student that trains in about a second."""
    return TrainConfig(
        hidden=32,
        layers=1,
        heads=2,
        vocabulary=700,
        max_tokens=320,
        epochs=2,
        batch_tokens=2048,
        checkpoint_seconds=1e9,
    )


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A small student that has learned the shop's rule."""
    config = TrainConfig(
        **{"hidden": 64, "layers": 2, "heads": 2, "vocabulary": 1500, "max_tokens": 256, "epochs": 8, "patience": 0},
        **{"batch_tokens": 1536, "learning_rate": 3e-3, "text_weight": 1.0},
    )
    folder: Path = tmp_path_factory.mktemp("student")
    return train(Shop(1).rows(600), Shop(2).rows(200), config, TrainingRun(folder, seed=3, threads=1))
