"""The authors' ready-made windows `ctr/{train,valid,test}.csv`: read, rebuilt into interactions, or held against them.

A row is a user's window: history_item_id and history_rating (lists, oldest first), item_id and rating (the target and
its 0/1 label). In Beauty some history_rating lists are one shorter than history_item_id, and some windows name items
that `ratings.csv` lacks: `align` counts both, and appends a test target that the user's rows lack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from reasoningrec.data.corpus import INTERACTIONS, ITEMS, BadRow, Corpus, replace
from reasoningrec.data.files import LINE, Table, delimited
from reasoningrec.errors import DataError
from reasoningrec.records import Role

ROLES: tuple[Role, ...] = ("train", "valid", "test")
FILES = {role: f"ctr/{role}.csv" for role in ROLES}
COLUMNS = ("user", "history_item_id", "history_rating", "item_id", "rating")
SCHEMA: Mapping[str, pl.DataType] = {
    "role": pl.String(),
    "line": pl.Int64(),
    "user": pl.String(),
    "history": pl.List(pl.String()),
    "history_rating": pl.List(pl.Int64()),
    "item": pl.String(),
    "label": pl.Boolean(),
}


def read_windows(folder: Path) -> tuple[pl.DataFrame, list[Table]]:
    """The windows of the three files (columns as `SCHEMA`, train before valid before test), and the files' bad rows."""
    rows: list[tuple[Any, ...]] = []
    tables = []
    for role, file in FILES.items():
        table = with_columns(delimited(folder / file, file), COLUMNS)
        bad = list(table.bad)
        seen: set[str] = set()
        for line, *cells in table.rows.select(LINE, *COLUMNS).iter_rows():
            parsed = _parse(cells, seen)
            if isinstance(parsed, tuple):
                rows.append((role, line, *parsed))
            else:
                bad.append(BadRow(file, line, *parsed))
        tables.append(Table(file, table.rows, tuple(bad)))
    return pl.DataFrame(rows, schema=dict(SCHEMA), orient="row"), tables


def with_columns(table: Table, names: tuple[str, ...]) -> Table:
    """`table` if it has the named columns, else a DataError that names the missing one."""
    for name in names:
        if name not in table.rows.columns:
            found = ", ".join(table.rows.columns[1:])
            raise DataError(f"{table.file}:1: the column {name!r} is missing; found: {found}")
    return table


def _parse(cells: list[str | None], seen: set[str]) -> tuple[Any, ...] | list[str]:
    """(user, history, history_rating, item, label), or [field, problem]."""
    user, history, ratings, item, label = ((cell or "").strip() for cell in cells)
    if not user or user in seen:
        return ["user", "stands twice" if user else "is empty"]
    if not item:
        return ["item_id", "is empty"]
    if label not in {"0", "1"}:
        return ["rating", f'"{label[:40]}" is neither 0 nor 1']
    ids, marks = _list(history), _list(ratings)
    if ids is None or not all(isinstance(value, int | str) for value in ids):
        return ["history_item_id", f'"{history[:40]}" is not a list of ids']
    if marks is None or not all(value in {0, 1} for value in marks):
        return ["history_rating", f'"{ratings[:40]}" is not a list of 0 and 1']
    seen.add(user)
    return user, [str(value) for value in ids], [int(value) for value in marks], item, label == "1"


def _list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    flat = isinstance(value, list) and not any(isinstance(inner, list | dict) for inner in value)
    return value if flat else None


def rebuild(windows: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow], list[str]]:
    """Interactions (no times, no ratings), windows that cannot be used, and notes.

    A user's rows are the history and target of their first window, then the targets of the later ones, users in the
    order of the files. A first window whose labels are not one per history item is a bad row.
    """
    sequences: dict[str, list[tuple[str, bool]]] = {}
    bad: list[BadRow] = []
    odd = dict.fromkeys(ROLES, 0)
    for row in windows.iter_rows(named=True):
        history, marks, role = row["history"], row["history_rating"], row["role"]
        sequence = sequences.get(row["user"])
        if sequence is None:
            if len(history) != len(marks):
                problem = f"has {len(marks)} labels for {len(history)} history items"
                bad.append(BadRow(FILES[role], row["line"], "history_rating", problem))
                continue
            sequence = sequences[row["user"]] = [(item, mark == 1) for item, mark in zip(history, marks, strict=True)]
        elif history != [item for item, _ in sequence[len(sequence) - len(history) :]]:
            odd[role] += 1
        sequence.append((row["item"], row["label"]))
    rows = ((user, item, liked) for user, sequence in sequences.items() for item, liked in sequence)
    frame = pl.DataFrame(list(rows), schema={"user": pl.String, "item": pl.String, "liked": pl.Boolean}, orient="row")
    frame = frame.with_row_index("row").with_columns(rating=pl.lit(None), time=pl.lit(None))
    notes = [
        "interactions are rebuilt from the window files: no times, no ratings, file order stands for time",
        *(f"{role} histories that do not end with the window before: {odd[role]}" for role in ROLES[1:] if odd[role]),
    ]
    return frame.select(pl.col(name).cast(kind) for name, kind in INTERACTIONS.items()), bad, notes


def align(corpus: Corpus, windows: pl.DataFrame, repeats: str) -> Corpus:
    """`corpus` with the test targets that its users lack appended, and with notes on how it agrees with `windows`."""
    corpus = _append(corpus, windows)
    ordered = corpus.interactions.sort("user", "time", "row").group_by("user").agg("item", "liked")
    rows = {user: (sequence, liked) for user, sequence, liked in ordered.iter_rows()}
    counts = {role: _Agreement() for role in ROLES}
    lacking: dict[str, set[str]] = {}
    for window in windows.iter_rows(named=True):
        user = window["user"]
        sequence, liked = rows.get(user, ([], []))
        counts[window["role"]].count(window, sequence, liked)
        for item in {*window["history"], window["item"]} - set(sequence):
            lacking.setdefault(item, set()).add(user)
    return replace(corpus, notes=(*corpus.notes, *_notes(counts, lacking, repeats)))


@dataclass
class _Agreement:
    """How many windows of one role equal those computed from the rows."""

    windows: int = 0
    targets: int = 0
    both: int = 0
    labels: int = 0
    misaligned: int = 0
    users: set[str] = field(default_factory=set)

    def count(self, window: Mapping[str, Any], sequence: list[str], liked: list[bool]) -> None:
        at = len(sequence) - len(ROLES) + ROLES.index(window["role"])
        history = window["history"]
        target = at >= 0 and sequence[at] == window["item"]
        both = target and sequence[max(0, at - len(history)) : at] == history
        self.windows += 1
        self.targets += target
        self.both += both
        self.labels += target and liked[at] == window["label"]
        self.misaligned += len(history) != len(window["history_rating"])
        if not both:
            self.users.add(window["user"])


def _notes(counts: Mapping[Role, _Agreement], lacking: Mapping[str, set[str]], repeats: str) -> Iterator[str]:
    for role, count in counts.items():
        yield (
            f"of {count.windows} {role} windows of the files {count.targets} have the target that ratings.csv gives, "
            f'{count.labels} its label (data.repeats = "{repeats}"), {count.both} target and history'
        )
        if count.misaligned:
            yield f"misaligned {role} windows (not one label per history item): {count.misaligned}"
    if lacking:
        users = sorted({user for named in lacking.values() for user in named}, key=_natural)
        named = ", ".join(sorted(lacking, key=_natural)[:20])
        yield f"items of windows that the user's rows lack, left out: {named} (users {', '.join(users[:20])})"
    odd = sorted({user for count in counts.values() for user in count.users}, key=_natural)
    if odd:
        yield f"users with a window that differs from the computed one: {', '.join(odd[:20])} ({len(odd)} in all)"


def _natural(name: str) -> tuple[int, str]:
    return len(name), name


def _append(corpus: Corpus, windows: pl.DataFrame) -> Corpus:
    rows = corpus.interactions
    last = rows.group_by("user").agg(pl.col("row").max(), pl.col("time").max())
    missing = windows.filter(pl.col("role") == "test").join(rows, on=["user", "item"], how="anti")
    missing = missing.join(last, on="user").sort("row")
    if not len(missing):
        return corpus
    new = missing.select(
        pl.col("row") * 2 + 1,
        "user",
        "item",
        pl.lit(None, pl.Float64).alias("rating"),
        pl.col("label").alias("liked"),
        "time",
    )
    both = pl.concat([rows.with_columns(pl.col("row") * 2), new.select(rows.columns)]).sort("row")
    both = both.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
    named = ", ".join(f"{item} of user {user}" for item, user in missing.select("item", "user").iter_rows())
    return replace(
        corpus,
        interactions=both,
        items=_with_ids(corpus.items, new["item"]),
        notes=(*corpus.notes, f"test targets that ratings.csv lacks, appended: {named}"),
    )


def _with_ids(items: pl.DataFrame, used: pl.Series) -> pl.DataFrame:
    new = pl.DataFrame({"item": used.unique()}).join(items, on="item", how="anti")
    new = new.with_columns(
        title=pl.col("item"),
        brand=pl.lit(""),
        price=pl.lit(None),
        categories=pl.lit([], pl.List(pl.String)),
        details=pl.lit(""),
    )
    return pl.concat([items, new.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())]).sort("item")
