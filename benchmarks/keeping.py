"""How figures are kept: in place of older ones of the same names, with commit, date and machine; and who looked."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from decisions import commit, machine
from table import RESULTS, read_rows

from reasoningrec.rows import line_of, write_jsonl


def keep(path: Path, rows: Sequence[Mapping[str, object]], **more: object) -> None:
    """Put rows into a JSON lines file of benchmarks/results/.

    Args:
        path: the file; made where it does not exist.
        rows: each with its `name`.
        more: what holds for all of them, such as the load before; stands in for the commit, date and machine of now.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    where = {"commit": commit(), "date": date, "machine": machine(), **more}
    names = {row["name"] for row in rows}
    kept = [old for old in read_rows(path) if old["name"] not in names]
    write_jsonl(path, [*kept, *({**row, **where} for row in rows)])


def note_look(by: str, dataset: str, protocol: str, times: int = 1) -> None:
    """Append to benchmarks/results/looks.jsonl that test figures were computed, `times` times, by this script."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    row = {"by": by, "commit": commit(), "dataset": dataset, "date": date, "protocol": protocol, "times": times}
    with (RESULTS / "looks.jsonl").open("ab") as file:
        file.write(line_of(row))
