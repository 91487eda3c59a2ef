"""Matrix factorisation: `als` on likes and dislikes as implicit feedback, `mf` on ratings with biases.

Both learn item factors from the rows a block of time may know (see `allowed`). A user's factors are then found anew for
each query, from exactly the rows of their past that the query may know, by the same least squares that training uses.
So what a user did last counts, and nothing they did later. Sizes are chosen on the AUC of valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from reasoningrec.baselines.allowed import Allowed, Block
from reasoningrec.baselines.choice import chosen
from reasoningrec.baselines.regression import Linear
from reasoningrec.baselines.statistics import sigmoid
from reasoningrec.config import BaselinesConfig
from reasoningrec.data.timeline import Bools, Floats, Ints, Timeline
from reasoningrec.errors import ConfigError

ROUNDS: Final = 10
"""Times that users' and items' factors are found from each other."""
FIRST: Final = 0.1
"""Standard deviation of mf's first factors."""
FACTORS: Final = (2, 8)
MF_RIDGE: Final = (2.0, 6.0, 20.0)
"""In rows of the mean rating: lambda of Koren et al."""
ALS_RIDGE: Final = (1.0, 10.0)
CONFIDENCE: Final = 10.0
"""alpha of Hu et al. (the paper: 40), for a like and for a dislike."""
CHUNK: Final = 200_000
"""Rows whose outer products are held at once."""

Fit = Callable[[Allowed, Block, int, float, int], Floats]
"""(block's queries,) scores of a model of so many factors and such a ridge, with a seed."""


def predict(method: str, allowed: Allowed, config: BaselinesConfig, seed: int) -> Floats:
    """(Q,) P(like) of the valid and test queries.

    A score becomes a probability by logistic regression, with the user's share and the item's for als (whose scores
    say who will buy, rather than who will like); fitted on valid, by halves of valid where valid itself is answered.

    Args:
        method: "als" or "mf".
        allowed: what may be learned from, and the queries.
        config: blocks and shots.
        seed: of first factors and shots.

    Raises:
        ConfigError: `implicit` is not installed.
    """
    if not allowed.at.size:
        return np.zeros(0)
    fit, ridges = METHODS[method]
    blocks = list(allowed.blocks(config.refits, config.shots, seed))
    if config.shots:  # a shot is a target and the history that a prompt would show with it
        blocks = [Block(allowed.with_past(block.rows, allowed.history), block.asked) for block in blocks]
    beside = _shares(allowed, blocks) if method == "als" else {}
    tried = []
    for factors, ridge in itertools.product(FACTORS, ridges):
        scores = np.zeros(allowed.at.size)
        for block in blocks:
            scores[block.asked] = fit(allowed, block, factors, ridge, seed)
        tried.append(_decided(pl.DataFrame({"score": scores, **beside}), allowed))
    return chosen(allowed, tried)


def biased(allowed: Allowed, block: Block, factors: int, ridge: float, seed: int) -> Floats:
    """Ratings by `Biased`; a block of no rows is answered by the means of its users' pasts."""
    line, asked = allowed.timeline, block.asked
    values = values_of(line)
    rows = block.rows[~np.isnan(values[block.rows])]
    if not rows.size:
        middle = _middle(values[allowed.train])
        return allowed.own_mean(asked, np.where(np.isnan(values), middle, values), middle)
    model = Biased.fit(line, rows, values, factors, ridge, seed)
    query, past = allowed.pasts(asked)
    own = model.user_factors(query, line.item[past], values[past], asked.size)
    return model.mean + model.above_mean(own, line.item[allowed.at[asked]])


@dataclass(frozen=True)
class Biased:
    """Rating = mean + user's bias + item's bias + user's factors x item's factors, by alternating ridge regressions.

    Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, Computer 42(8), 2009, eq. 4.
    Departures: alternating least squares for stochastic gradients; where there are no ratings, 1 for a like and 0; a
    user is known by the rows of a past alone, from which bias and factors are found when asked.
    """

    mean: float
    items: Floats
    """(I, 1 + F) bias and factors of each item."""
    ridge: float
    """In squared ratings."""

    @classmethod
    def fit(cls, line: Timeline, rows: Ints, values: Floats, factors: int, ridge: float, seed: int) -> Self:
        """On some rows of the timeline, one at least and each with a value.

        Args:
            line: N rows.
            rows: those to fit on.
            values: (N,) see `values_of`.
            factors: F.
            ridge: in rows of the mean value.
            seed: of the first factors.
        """
        users, user = np.unique(line.user[rows], return_inverse=True)
        seen, item = np.unique(line.item[rows], return_inverse=True)
        mean = float(values[rows].mean())
        above = values[rows] - mean
        ridge = ridge * max(float(values[rows].var()), 1e-3)
        of_items = np.zeros((seen.size, factors + 1))
        of_items[:, 1:] = np.random.default_rng(seed).normal(0.0, FIRST, (seen.size, factors))
        for _ in range(ROUNDS):
            of_users = _ridge(user, of_items, item, above, ridge, users.size)
            of_items = _ridge(item, of_users, user, above, ridge, seen.size)
        items = np.zeros((len(line.items), factors + 1))
        items[seen] = of_items
        return cls(mean, items, ridge)

    def user_factors(self, user: Ints, read: Ints, values: Floats, users: int) -> Floats:
        """(users, 1 + F) bias and factors of users who gave `values` to the items `read`.

        `user`, `read` and `values` are (P,): whose row it is, 0 to users - 1, its item, its value; nan is not read.
        """
        known = ~np.isnan(values)
        return _ridge(user[known], self.items, read[known], values[known] - self.mean, self.ridge, users)

    def above_mean(self, users: Floats, item: Ints) -> Floats:
        """(Q,) values above the mean that (Q, 1 + F) users give to (Q,) items."""
        of_item = self.items[item]
        return np.asarray(of_item[:, 0] + (users * _with_one(of_item)).sum(1))


def implicit_als(allowed: Allowed, block: Block, factors: int, ridge: float, seed: int) -> Floats:
    """Preference of a user for an item from weighted least squares over all pairs.

    Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008, by the package
    `implicit`. Departure: a dislike is a pair of preference 0 that is as sure as a like; the paper knows likes only.
    """
    als = package()
    line, asked = allowed.timeline, block.asked
    if not block.rows.size:
        return np.zeros(asked.size)
    bought = _pairs(line, line.user[block.rows], block.rows, len(line.users))
    query, past = allowed.pasts(asked)
    known = _pairs(line, query, past, asked.size)
    with _one_blas_thread():
        model = als.AlternatingLeastSquares(
            factors=factors, regularization=ridge, alpha=1.0, iterations=ROUNDS, random_state=seed, num_threads=1
        )
        model.fit(bought, show_progress=False)
        own = np.asarray(model.recalculate_user(np.arange(asked.size), known))
    target = np.asarray(model.item_factors)[line.item[allowed.at[asked]]]
    return np.asarray((own * target).sum(1), dtype=np.float64)


METHODS: Final[Mapping[str, tuple[Fit, tuple[float, ...]]]] = {
    "als": (implicit_als, ALS_RIDGE),
    "mf": (biased, MF_RIDGE),
}


def package() -> Any:
    """The module of `implicit` that fits on a CPU. Raises ConfigError where it is not installed."""
    try:
        from implicit.cpu import als
    except ImportError:
        raise ConfigError(
            'baselines.methods: "als" needs the package `implicit`, which is not installed',
            hint="pip install 'reasoningrec[baselines]', or leave als out.",
        ) from None
    return als


def _one_blas_thread() -> Any:
    """`implicit` shares its work out itself, and warns where the linear algebra does so, too."""
    return threadpool_limits(1, "blas")


def _pairs(line: Timeline, group: Ints, rows: Ints, groups: int) -> csr_matrix:
    """(groups, items) confidences, below zero for dislikes; a pair seen again adds up."""
    sure = np.where(line.liked[rows], 1 + CONFIDENCE, -1 - CONFIDENCE).astype(np.float32)
    found = csr_matrix((sure, (group, line.item[rows])), shape=(groups, len(line.items)))
    found.eliminate_zeros()  # liked once and disliked once
    return found


def values_of(line: Timeline) -> Floats:
    """(N,) ratings, nan for a row without one; where no row has one, likes: 1 and 0."""
    return line.liked.astype(np.float64) if np.isnan(line.rating).all() else line.rating


def _middle(values: Floats) -> float:
    """Of the scale."""
    values = values[~np.isnan(values)]
    return float(values.min() + values.max()) / 2 if values.size else 0.0


def _with_one(factors: Floats) -> Floats:
    """Factors with 1 in the bias's place."""
    return np.concatenate([np.ones((factors.shape[0], 1)), factors[:, 1:]], 1)


def _ridge(group: Ints, others: Floats, other: Ints, above: Floats, ridge: float, groups: int) -> Floats:
    """(groups, 1 + F) bias and factors that best explain each group's rows, by ridge regression; zeros without a row.

    A row says how far a rating is `above` the mean, and whose bias and factors, a row of `others`, are known of it.
    """
    width = others.shape[1]
    gram, moment = np.zeros((groups, width * width)), np.zeros((groups, width))
    for start in range(0, group.size, CHUNK):
        part = slice(start, start + CHUNK)
        known = others[other[part]]
        x = _with_one(known)
        sums = csr_matrix((np.ones(x.shape[0]), (group[part], np.arange(x.shape[0]))), shape=(groups, x.shape[0]))
        gram += sums @ (x[:, :, None] * x[:, None, :]).reshape(x.shape[0], -1)
        moment += sums @ (x * (above[part] - known[:, 0])[:, None])
    matrices = gram.reshape(groups, width, width) + ridge * np.eye(width)
    return np.asarray(np.linalg.solve(matrices, moment[:, :, None])[:, :, 0])


def _shares(allowed: Allowed, blocks: list[Block]) -> dict[str, Floats]:
    """Share of likes in the user's past and among the item's rows, each drawn towards the mean by five rows."""
    line = allowed.timeline
    user, item = np.zeros(allowed.at.size), np.zeros(allowed.at.size)
    for block in blocks:
        mean = float(line.liked[block.rows].mean()) if block.rows.size else 0.5
        query, past = allowed.pasts(block.asked)
        user[block.asked] = _share(query, line.liked[past], mean, block.asked.size)
        shares = _share(line.item[block.rows], line.liked[block.rows], mean, len(line.items))
        item[block.asked] = shares[line.item[allowed.at[block.asked]]]
    return {"user": user, "item": item}


def _share(group: Ints, liked: Bools, mean: float, groups: int) -> Floats:
    """(groups,) (likes + 5 mean) / (rows + 5)."""
    return np.asarray((np.bincount(group, liked, groups) + 5 * mean) / (np.bincount(group, minlength=groups) + 5))


def _decided(scores: pl.DataFrame, allowed: Allowed) -> Floats:
    """(Q,) P(like) from scores, by regressions on valid."""
    found = np.full(allowed.at.size, 0.5)
    labels = allowed.known_labels
    for known, asked in allowed.by_halves():
        if known.any() and asked.any():
            model = Linear.fit(scores.filter(pl.Series(known)), labels[known], scores.columns)
            found[asked] = sigmoid(model(scores.filter(pl.Series(asked))))
    return found
