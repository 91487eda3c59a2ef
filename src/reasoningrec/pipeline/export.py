"""A run's texts for other programs: as tables that `[texts]` reads back, or as chats that other trainers read.

A table has one text for an item or user. Where a run has several, written from more and more reviews or rows as time
goes on, it is the one from the fewest, which every query may know; where a query may know none, there is none.
Rationales are of train windows only, and so are the student's rows: nothing of a valid or test query is written.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from reasoningrec.data.files import mended
from reasoningrec.errors import InputError
from reasoningrec.llm.client import Request
from reasoningrec.llm.forms import chat
from reasoningrec.pipeline.given import GIVEN
from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.teach import WORK, material
from reasoningrec.pipeline.workspace import Workspace, rationales_of, texts_of
from reasoningrec.pipeline.writers import wording
from reasoningrec.records import Rationale, Verdict
from reasoningrec.rows import Row, creating, from_row, line_of, read_jsonl
from reasoningrec.runs import Run
from reasoningrec.student.encode import TrainingRow, row_parts
from reasoningrec.teacher import describe, profile, reason
from reasoningrec.teacher.conversation import finished

STAGES: Final[Mapping[str, str]] = {
    "descriptions": "describe",
    "profiles": "profile",
    "rationales": "reason",
    "student": "verify",
}
"""What can be exported -> the last stage that has to be done."""
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "descriptions": ("item", "text", "origin"),
    "profiles": ("user", "text", "origin"),
    "rationales": ("user", "item", "label", "taste", "why", "origin"),
}
"""Of a table."""


def export(run: Run, space: Workspace, what: str, form: str, file: Path) -> int:
    """Write texts of a run into a new file; returns how many lines it has.

    Args:
        run: whose stages are done as far as `STAGES` says.
        space: of the run.
        what: descriptions, profiles, rationales or student.
        form: table or chat.
        file: where to; .csv, .tsv, .jsonl or .parquet for a table, .jsonl for chats.

    Raises:
        InputError: the file exists or cannot be written, its suffix says no format, or there is no such table.
        NotInRunError: a stage is not done.
        RunError: a file of the run is damaged.
    """
    if form == "table" and what not in COLUMNS:
        raise InputError(f"--as: there is no table of --what {what}", hint="Use --as chat.")
    suffix = file.suffix.lower()
    known = tuple(FORMATS) if form == "table" else (".jsonl",)
    if suffix not in known:
        raise InputError(
            f"{file}: the suffix {file.suffix!r} says no format of --as {form}", hint=f"Known: {', '.join(known)}."
        )
    check_finished(run, space, STAGES[what])
    with creating(file) as temporary:
        rows: list[Row] = mended(list((TABLES if form == "table" else CHATS)[what](space)))
        FORMATS[suffix](temporary, rows, COLUMNS.get(what, ()))
    return len(rows)


def _descriptions(space: Workspace) -> Iterator[Row]:
    yield from _earliest(read_jsonl(space.folder / "describe.jsonl"), "item", {})


def _profiles(space: Workspace) -> Iterator[Row]:
    known: dict[str, int] = {}
    for user, n in space.windows.select("user", "profile").iter_rows():
        known[user] = min(n, known.get(user, n))
    yield from _earliest(read_jsonl(space.folder / "profile.jsonl"), "user", known)


def _earliest(rows: Sequence[Row], id_column: str, known: Mapping[str, int]) -> Iterator[Row]:
    """For each id the given text, else the one from the fewest reviews or rows, unless a query knows fewer still."""
    chosen: dict[str, tuple[int, Row]] = {}
    for row in rows:
        id, _, number = row["key"].rpartition("@")
        n = -1 if number == GIVEN else int(number)
        if id not in chosen or n < chosen[id][0]:
            chosen[id] = (n, row)
    for id, (n, row) in sorted(chosen.items()):
        if row["status"] == "done" and n <= known.get(id, n):
            yield {id_column: id, "text": row["text"], "origin": row["origin"]}


def _rationales(space: Workspace) -> Iterator[Row]:
    """Of a (user, item) with several train windows that of the latest, for which `[texts]` takes it."""
    written = rationales_of(space.folder / "reason.jsonl")
    train = space.windows.filter(pl.col("role") == "train").sort("at")
    latest = {(user, item): id for user, item, id in train.select("user", "item", "id").iter_rows()}
    for (user, item), id in sorted(latest.items()):
        if id in written:
            text = written[id]
            said = {"taste": text.taste, "why": text.why, "origin": text.origin}
            yield {"user": user, "item": item, "label": "yes" if text.label else "no", **said}


def _asked(stage: str, field: str) -> Callable[[Workspace], Iterator[Row]]:
    """Chats of the texts that the teacher was asked for in a stage; given ones have no prompt."""

    def chats(space: Workspace) -> Iterator[Row]:
        texts = texts_of(space.folder / f"{stage}.jsonl")
        for key, begin in WORK[stage](space):
            if key in texts:
                request = finished(begin())
                assert isinstance(request, Request)
                yield _chat(chat(request, "lines"), f"{field}: {texts[key]}")

    return chats


def _reasoned(space: Workspace) -> Iterator[Row]:
    """Chats of the rationales that the teacher wrote, each with the prompt that told what its writer knew."""
    given = space.given_texts["reason"]
    written = {id: text for id, text in rationales_of(space.folder / "reason.jsonl").items() if id not in given}
    train = set(space.ids("train"))
    for case in space.cases(train & written.keys()):
        text = written[case.query.id]
        known = material(space.config, case, text.label)
        request = reason.request(known, wording(space.config), hinted=text.hinted)
        answer = f"Taste: {text.taste}\nPrediction: {'Yes' if text.label else 'No'}\nWhy: {text.why}"
        yield _chat(chat(request, "lines"), answer)


def _student(space: Workspace) -> Iterator[Row]:
    """What the student learns from: its prompt, and the decision with the reasons where they passed every gate."""
    kept = _kept(space)
    for case in space.cases(space.ids("train")):
        id = case.query.id
        prompt, completion = row_parts(TrainingRow(case, space.label_of[id], kept.get(id)))
        yield _chat([{"role": "user", "content": prompt}], completion.strip())


def _kept(space: Workspace) -> dict[str, Rationale]:
    verdicts = (from_row(Verdict, row) for row in read_jsonl(space.folder / "verify.jsonl"))
    passed = {verdict.query_id for verdict in verdicts if verdict.kept}
    return {id: text for id, text in rationales_of(space.folder / "reason.jsonl").items() if id in passed}


def _chat(messages: Sequence[Mapping[str, Any]], answer: str) -> Row:
    return {"messages": [*messages, {"role": "assistant", "content": answer}]}


def _to_jsonl(path: Path, rows: Sequence[Row], _: Sequence[str]) -> None:
    with path.open("wb") as file:
        file.writelines(line_of(row) for row in rows)


def _to_parquet(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    pl.DataFrame(rows, schema={column: pl.String() for column in columns}).write_parquet(path)


def _parted_by(separator: str) -> Callable[[Path, Sequence[Row], Sequence[str]], None]:
    def write(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    return write


TABLES: Final[Mapping[str, Callable[[Workspace], Iterator[Row]]]] = {
    "descriptions": _descriptions,
    "profiles": _profiles,
    "rationales": _rationales,
}
CHATS: Final[Mapping[str, Callable[[Workspace], Iterator[Row]]]] = {
    "descriptions": _asked("describe", *describe.FIELDS),
    "profiles": _asked("profile", *profile.FIELDS),
    "rationales": _reasoned,
    "student": _student,
}
FORMATS: Final[Mapping[str, Callable[[Path, Sequence[Row], Sequence[str]], None]]] = {
    ".csv": _parted_by(","),
    ".tsv": _parted_by("\t"),
    ".jsonl": _to_jsonl,
    ".parquet": _to_parquet,
}
