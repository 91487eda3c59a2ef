"""The values that travel between the rooms. Frozen, standard library only, knowing nothing of storage or models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["train", "valid", "test"]
Number = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Reaction:
    """One row of a user's past as a prompt may show it."""

    item: str
    liked: bool
    rating: float | None = None
    time: int | None = None
    """Unix seconds; None where the data have no times."""


@dataclass(frozen=True, slots=True)
class Query:
    """Will `user` like `item` at `time`? Has no label: what predicts takes queries, so a label cannot leak in."""

    id: str
    user: str
    item: str
    time: int | None
    history: tuple[Reaction, ...]
    """At most k reactions before the target, oldest first; [H1] is the first of them."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its answer, for training, fitting and measuring."""

    query: Query
    label: bool
    role: Role


@dataclass(frozen=True, slots=True)
class Fact:
    """One citable line of evidence."""

    id: str
    """H1..Hk history items, T the target, U1.. facts on the user, C1.. what others did."""
    kind: str
    """What the line is about, one of `data.facts.KINDS`; fixes which `values` it carries."""
    text: str
    weight: float
    """Weight of evidence in log-odds for "will like" (I. J. Good, 1950); above 0 speaks for, below 0 against."""
    values: Mapping[str, Number] = field(default_factory=dict)
    shared: bool = False
    """True where the line is the same for every candidate of the user, and so may stand in the shared prefix."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may be said on one query, in words (`facts`) and in numbers (`numbers`), all of it known before it."""

    query_id: str
    facts: tuple[Fact, ...]
    numbers: Mapping[str, float]

    def by_id(self) -> dict[str, Fact]:
        """The facts by their citation id."""
        return {fact.id: fact for fact in self.facts}


@dataclass(frozen=True, slots=True)
class Item:
    """An item as a prompt may show it."""

    id: str
    title: str
    brand: str = ""
    price: float | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """All that a teacher's or student's prompt may show of one query. Has no label."""

    query: Query
    target: Item
    items: Mapping[str, Item]
    """The history's items by item id."""
    evidence: Evidence
    description: str = ""
    """Of the target, as of the query; empty where there is none."""
    profile: str = ""
    item_texts: Mapping[str, str] = field(default_factory=dict)
    """Descriptions of the history's items, by item id, "" where there is none; under the `paper` protocol alone."""
    published: bool = False
    """Whether the student is asked as the paper asks: titles and reactions in a numbered list, nothing to cite."""


@dataclass(frozen=True, slots=True)
class Description:
    """A teacher's text on one item, written from the reviews named by `reviews`."""

    key: str
    item: str
    text: str
    origin: str
    """Who wrote it: "offline", a model's name, or "given"."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A teacher's text on one user, written from rows that lie before the windows."""

    key: str
    user: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Rationale:
    """A teacher's reasons for a known label; the only texts a student trains on."""

    query_id: str
    label: bool
    taste: str
    why: str
    citations: tuple[str, ...]
    origin: str
    hinted: bool = True
    """Whether its writer was told the label."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which gates a text failed; kept when none."""

    query_id: str
    failures: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the text passed every gate."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Prediction:
    """A method's answer to one query."""

    query_id: str
    user: str
    item: str
    method: str
    probability: float | None
    """P(like) in [0, 1]; None is an invalid answer, counted and never dropped."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reason for a decision already made."""

    query_id: str
    decision: bool
    taste: str
    why: str
    citations: tuple[str, ...]
    origin: str
    """ "student", or "offline" where the student's text failed a gate and the rule writer stood in."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One answer for a person or a program."""

    user: str
    item: str
    title: str
    prediction: Literal["Yes", "No"]
    probability: float
    student_probability: float | None
    """None where the student gave no valid answer."""
    explanation: str
    citations: tuple[str, ...]
    evidence: Mapping[str, str]
    """Citation id -> text of that line of evidence."""
