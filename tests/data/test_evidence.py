"""Every number against a slow and obvious account of the same thing."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS as STOP_WORDS

from making import CATALOGUE, DAY, Line, Row, corpus_of
from reasoningrec.config import EvidenceConfig, Protocol, SplitConfig
from reasoningrec.data import evidence
from reasoningrec.data.evidence import EvidenceTable, Questions, logit, train_rows
from reasoningrec.records import Item

M = EvidenceConfig().smoothing
ITEM = {item.id: item for item in CATALOGUE}


def weight(s: float, n: float, base: float) -> float:
    """Log-odds of a share drawn towards its base, over the base."""
    p = (s + M * base) / (n + M)
    return math.log(p / (1 - p)) - math.log(base / (1 - base))


def likes(rows: Iterable[Row]) -> int:
    return sum(row.liked for row in rows)


@dataclasses.dataclass
class Slow:
    """One question on a list of rows, answered by loops."""

    rows: list[Row]
    target: Row
    history: int
    strict: bool

    def __post_init__(self) -> None:
        in_order = sorted(self.rows, key=lambda row: (row.time, row.row))
        self.by_user = {user: [row for row in in_order if row.user == user] for user in {row.user for row in in_order}}
        own = self.by_user[self.target.user]
        before = own[: own.index(self.target)]
        self.own = [row for row in before if row.time < self.target.time] if self.strict else before
        self.others = [row for row in in_order if row.user != self.target.user and row.time < self.target.time]
        self.base = (likes(self.others) + 1) / (len(self.others) + 2)
        self.user_share = (likes(self.own) + M * self.base) / (len(self.own) + M)
        self.shown = self.own[-self.history :]

    def user(self) -> dict[str, float]:
        own, last, share = self.own, self.own[-3:], self.user_share
        rated, others = [row.rating for row in own if row.rating], [row.rating for row in self.others if row.rating]
        stars = sum(rated) / len(rated) - sum(others) / len(others) if rated and others else 0.0
        same = [row for row in own if row.item == self.target.item]
        today = [row for row in own if row.time // DAY == self.target.time // DAY]
        gap = self.target.time // DAY - own[-1].time // DAY if own else 0
        return {
            "base": self.base,
            "user_n": len(own),
            "user_liked": likes(own),
            "user_share": share,
            "user": weight(likes(own), len(own), self.base),
            "window_n": len(self.shown),
            "window_liked": likes(self.shown),
            "window": weight(likes(self.shown), len(self.shown), share),
            "recent_n": len(last),
            "recent_liked": likes(last),
            "recent": weight(likes(last), len(last), share),
            "last": own[-1].liked - 0.5 if own else 0.0,
            "user_stars": stars * len(rated) / (len(rated) + M),
            "same_n": len(same),
            "same_liked": likes(same),
            "same": (2 * likes(same) - len(same)) / (len(same) + 1),
            "day_n": len(today),
            "day_liked": likes(today),
            "day": weight(likes(today), len(today), share),
            "gap": math.log1p(gap),
        }

    def item(self) -> dict[str, float]:
        raters = [row for row in self.others if row.item == self.target.item]
        rated, everyone = (
            [row.rating for row in raters if row.rating],
            [row.rating for row in self.others if row.rating],
        )
        usual = sum(everyone) / len(everyone) if everyone else 0.0
        share = (likes(raters) + M * self.base) / (len(raters) + M)
        return {
            "item_n": len(raters),
            "item_liked": likes(raters),
            "item_share": share,
            "item": weight(likes(raters), len(raters), self.base),
            "item_surprise": sum(map(self._surprise, raters)) / (len(raters) + M),
            "item_stars": sum(stars - usual for stars in rated) / (len(rated) + M),
            "item_log_n": math.log1p(len(raters)),
        }

    def _surprise(self, row: Row) -> float:
        own = self.by_user[row.user]
        before = own[: own.index(row)]
        return row.liked - (likes(before) + 1) / (len(before) + 2)

    def attributes(self, bands: dict[str, str]) -> dict[str, float]:
        found = {}
        for name in ("brand", "category", "price"):

            def groups(item: str, name: str = name) -> set[str]:
                known = ITEM[item]
                sets = {"brand": {known.brand}, "category": set(known.categories), "price": {bands.get(item, "")}}
                return sets[name] - {""}

            own, crowd, n_crowd, best = [], [], [], (0.0, 0, 0)
            for group in sorted(groups(self.target.item)):
                mine = [row for row in self.own if group in groups(row.item)]
                own.append(weight(likes(mine), len(mine), self.user_share))
                if abs(own[-1]) > abs(best[0]) + 1e-12:
                    best = (own[-1], len(mine), likes(mine))
                theirs = [row for row in self.others if group in groups(row.item)]
                crowd.append(weight(likes(theirs), len(theirs), self.base))
                n_crowd.append(len(theirs))
            k = max(len(own), 1)
            found |= {f"own_{name}": sum(own) / k, f"crowd_{name}": sum(crowd) / k, f"crowd_{name}_n": sum(n_crowd) / k}
            found |= {f"own_{name}_best": best[0]}
            if abs(best[0]) > 1e-9:
                found |= {f"own_{name}_n": best[1], f"own_{name}_liked": best[2]}
        return found

    def words(self) -> dict[str, float]:
        """Others' reactions to items with a word of the target's title: words of two or three items (half of six)."""

        def words_of(item: Item) -> set[str]:
            return {word.lower() for word in item.title.split()}

        shared = Counter(word for item in CATALOGUE for word in words_of(item))
        weights, counts = [], []
        for word in words_of(ITEM[self.target.item]):
            if 2 <= shared[word] <= 3 and word not in STOP_WORDS:
                theirs = [row for row in self.others if word in words_of(ITEM[row.item])]
                weights.append(weight(likes(theirs), len(theirs), self.base))
                counts.append(len(theirs))
        k = max(len(weights), 1)
        return {"crowd_word": sum(weights) / k, "crowd_word_n": sum(counts) / k}

    def co_liked(self) -> dict[str, float]:
        found: dict[str, float] = {}
        places = [None] * (self.history - len(self.shown)) + self.shown
        vote, voters = 0.0, 0
        for row in (row for row in self.others if row.item == self.target.item):
            firsts = [
                next((r for r in self.others if (r.user, r.item) == (row.user, mine.item)), None) for mine in self.shown
            ]
            both = [(first.liked, mine.liked) for first, mine in zip(firsts, self.shown, strict=True) if first]
            agree = sum(theirs == own for theirs, own in both)
            vote += (2 * agree - len(both)) / (len(both) + 6) * (row.liked - 0.5)
            voters += 1
            for place, first in zip(range(self.history - len(self.shown), self.history), firsts, strict=True):
                if first and first.liked == places[place].liked:  # type: ignore[union-attr]
                    found[f"h{place}_co_n"] = found.get(f"h{place}_co_n", 0) + 1
                    found[f"h{place}_co_liked"] = found.get(f"h{place}_co_liked", 0) + row.liked
        for place in range(self.history):
            found.setdefault(f"h{place}_co_n", 0)
            found.setdefault(f"h{place}_co_liked", 0)
        return found | {"vote": vote / math.sqrt(max(voters, 1))}

    def _first(self, user: str, item: str) -> Row | None:
        return next((row for row in self.others if (row.user, row.item) == (user, item)), None)


def price_bands(items: Iterable[Item]) -> dict[str, str]:
    """Thirds of the known prices of the catalogue, by rank: 10 | 15 20 | 30 50."""
    priced = sorted((item.price, item.id) for item in items if item.price is not None)
    edges = np.quantile([price for price, _ in priced], [1 / 3, 2 / 3])
    return {id_: str(sum(price >= edge for edge in edges)) for price, id_ in priced}


rows_of = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "c", "d")),
        st.sampled_from(sorted(ITEM)),
        st.sampled_from((1.0, 2.0, 3.5, 4.0, 5.0, None)),
        st.integers(0, 4),
        st.sampled_from((0, 60)),
    ),
    min_size=4,
    max_size=28,
)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Groups are counted in many parts, so that short lists test that too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "MEMBERS", 7)
        yield


@settings(max_examples=60, deadline=None)
@given(rows_of, st.sampled_from(("honest", "strict")), st.integers(1, 4))
def test_all_numbers_are_those_of_the_slow_account(
    told: list[tuple[str, str, float | None, int, int]], protocol: Protocol, history: int
) -> None:
    rows = [
        Row(n, user, item, stars, day * DAY + second, like=None if stars else n % 2 == 0)
        for n, (user, item, stars, day, second) in enumerate(told)
    ]
    if max(sum(row.user == user for row in rows) for user in "abcd") < 2:
        return
    line = Line(corpus_of(rows), SplitConfig(history=history, train_windows=0), protocol)
    of_row = {row.row: row for row in rows}
    for at, found in zip(line.windows["at"], line.numbers.iter_rows(named=True), strict=True):
        slow = Slow(rows, of_row[int(line.timeline.row[at])], history, protocol == "strict")
        expected = slow.user() | slow.item() | slow.attributes(price_bands(CATALOGUE)) | slow.co_liked()
        expected |= slow.words()
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-6)


def made_line(**config: int) -> Line:
    rows = [
        Row(0, "a", "i1", 5, 0), Row(1, "a", "i2", 1, DAY), Row(2, "a", "i3", 4, 2 * DAY),
        Row(3, "b", "i1", 4, 0), Row(4, "b", "i2", 2, DAY), Row(5, "b", "i3", 5, DAY), Row(6, "a", "i4", 2, 3 * DAY),
    ]  # fmt: skip
    return Line(corpus_of(rows), SplitConfig(history=3, **config))


def test_likeness_is_the_cosine_of_the_titles_words() -> None:
    line = made_line()
    row = line.numbers.filter(line.windows["id"] == "test/a/000003").row(0, named=True)
    words = line.attributes.words.toarray()
    code = {item: at for at, item in enumerate(line.timeline.items)}
    cosine = [float(words[code[item]] @ words[code["i4"]]) for item in ("i1", "i2", "i3")]
    assert cosine[1] > 0  # both lamps
    assert [row[f"h{place}_alike"] for place in range(3)] == pytest.approx(cosine)
    share = row["user_share"]
    signed = [c * (liked - share) for c, liked in zip(cosine, (1, 0, 1), strict=True)]
    assert row["alike"] == pytest.approx(sum(signed))
    assert row["alike_liked"] == pytest.approx(max(cosine[0], cosine[2]))
    assert row["alike_disliked"] == pytest.approx(cosine[1])


def test_the_history_is_padded_on_the_left() -> None:
    line = made_line(train_windows=0)
    asked = Questions.of_windows(line.timeline, line.windows)
    table = EvidenceTable(line.timeline, line.attributes, line.evidence, 3, np.arange(7))
    item, liked = table.history_of(asked)
    by_id = dict(zip(line.windows["id"], zip(item.tolist(), liked.tolist(), strict=True), strict=True))
    assert by_id["test/a/000003"] == ([0, 1, 2], [True, False, True])
    assert by_id["train/a/000001"] == ([-1, -1, 0], [False, False, True])


def test_switching_neighbours_off_leaves_their_numbers_out() -> None:
    line = dataclasses.replace(made_line(), evidence=EvidenceConfig(neighbours=False))
    assert {"co_liked", "vote"}.isdisjoint(line.numbers.columns)
    assert line.numbers.select(pl.col(r"^h\d_co.*$")).to_numpy().sum() == 0


def test_smoothing_draws_a_share_to_its_base() -> None:
    weak, strong = (
        dataclasses.replace(made_line(), evidence=EvidenceConfig(smoothing=m)).numbers["item"].abs().sum()
        for m in (0.5, 50.0)
    )
    assert weak > 5 * strong


def test_numbers_are_finite_and_in_the_order_of_the_windows() -> None:
    line = made_line(train_windows=0)
    assert line.numbers.height == line.windows.height
    assert np.isfinite(line.numbers.to_numpy()).all()
    backwards = line.numbers_of(line.windows.reverse())
    assert backwards.reverse().equals(line.numbers)


def test_logit() -> None:
    assert logit(np.array([0.5, 0.9])).tolist() == pytest.approx([0.0, math.log(9)])


# Without times.


def timeless(users: int = 12, each: int = 5) -> Line:
    rows = [
        Row(user * each + n, f"u{user:02d}", f"i{(user + n) % 6 + 1}", (user * 7 + n * 3) % 5 + 1, None)
        for user in range(users)
        for n in range(each)
    ]
    return Line(corpus_of(rows), SplitConfig(history=3, train_windows=1))


def test_train_rows_are_those_that_all_held_targets_may_know() -> None:
    rows = [Row(n, "u", f"i{n % 6 + 1}", 4.0, DAY * (n // 3)) for n in range(12)]
    for protocol, last in (("honest", 9), ("strict", 5)):  # valid is row 10, under strict row 8 of rows 6 to 8
        line = Line(corpus_of(rows), SplitConfig(), protocol)  # type: ignore[arg-type]
        assert train_rows(line.timeline, line.windows).tolist() == list(range(last + 1))


def test_without_times_others_are_known_by_their_train_rows() -> None:
    line = timeless()
    rows = train_rows(line.timeline, line.windows)
    assert set(line.timeline.position[rows]) == {0, 1, 2}
    assert "day" not in line.numbers.columns
    for role in ("train", "valid", "test"):
        for at, n in zip(line.windows["at"], line.numbers["item_n"], strict=True):
            window_role = line.windows.filter(at=at)["role"].item()
            if window_role != role:
                continue
            user, item = line.timeline.user[at], line.timeline.item[at]
            others = [
                row
                for row in rows
                if line.timeline.item[row] == item
                and line.timeline.user[row] != user
                and (role != "train" or line.timeline.user[row] % 10 != user % 10)
            ]
            assert n == len(others)


def test_without_times_a_train_question_cannot_be_told_apart_by_its_own_label() -> None:
    """All others less oneself would give the label away: equal users of two labels must see equal crowds."""
    line = timeless()
    flipped = line.corpus.interactions.with_columns(
        liked=pl.when(pl.col("row").is_in(line.timeline.row[line.windows.filter(role="train")["at"].to_numpy()[:1]]))
        .then(~pl.col("liked"))
        .otherwise("liked")
    )
    other = dataclasses.replace(line, corpus=dataclasses.replace(line.corpus, interactions=flipped))
    first = line.windows["id"].to_list().index(line.windows.filter(role="train")["id"][0])
    assert other.numbers[first].equals(line.numbers[first])
    assert not other.numbers.equals(line.numbers)
