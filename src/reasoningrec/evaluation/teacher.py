"""What the report says of the teacher: who wrote its texts, how many are missing or failed, what the gates dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reasoningrec.rows import Row


@dataclass(frozen=True)
class TextAccount:
    """The texts of one stage."""

    stage: str
    writers: tuple[tuple[str, int], ...]
    """(origin, texts), most first."""
    failed: int
    missing: int
    """Asked for, neither given nor written."""
    calls: int
    """Of a model, for these texts."""
    input_tokens: int
    output_tokens: int
    cost: float | None
    """By the table of prices; None where the writer has no price."""


@dataclass(frozen=True)
class GateAccount:
    """How many rationales failed a gate; one may fail several."""

    gate: str
    says: str
    """What passes it."""
    dropped: int


@dataclass(frozen=True)
class TeacherAccount:
    """All of it."""

    texts: tuple[TextAccount, ...] = ()
    rationales: int = 0
    """That were put through the gates."""
    kept: int = 0
    unhinted: int = 0
    """Of those kept: written by somebody who was not told the label."""
    gates: tuple[GateAccount, ...] = ()


def account_of_texts(stage: str, rows: Iterable[Row], counts: Mapping[str, int | float]) -> TextAccount:
    """The account of a stage, from its artifact and the manifest's counts."""
    written = Counter(str(row["origin"]) for row in rows if row["status"] == "done")
    whole = {name: int(counts.get(name, 0)) for name in ("failed", "missing", "calls", "input_tokens", "output_tokens")}
    return TextAccount(stage, tuple(written.most_common()), **whole, cost=counts.get("cost"))


def account_of_gates(counts: Mapping[str, int | float], says: Mapping[str, str]) -> tuple[GateAccount, ...]:
    """The gates that were applied, by the manifest's counts of the stage verify."""
    applied = {gate: f"dropped_{gate}" for gate in says}
    return tuple(GateAccount(gate, says[gate], int(counts[name])) for gate, name in applied.items() if name in counts)
