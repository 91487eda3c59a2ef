"""Measure the leak of the published protocol, and audit every dataset of the plan.

    python benchmarks/audit.py [--only NAME[:PROTOCOL] ...] [--runs FOLDER]

A run is taken as far as its texts (no student is needed), audited, and what its targets' texts tell of the answer is
measured without and with the descriptions. Rows of the same dataset and protocol in benchmarks/results/audit.jsonl are
replaced: one per check (`measure` = "check NAME", `value` = finds, `n` = comparisons, `ruling`), and three of the
target-text classifier (`value`, `low`, `high`). Where decisions.py has left both the whole run and its variant
`no-description`, there is also one per method of what it gains from the descriptions ("gain of METHOD", paired); and
one of the published method, where it has left `published-256` and `published-bare`. Where it has not, those of before
stay, under their own commit and date. The tables in benchmarks/results/bench.md are made anew.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasoningrec.errors import ReasoningRecError
from reasoningrec.evaluation.evaluate import STUDENT
from reasoningrec.pipeline.audit import Audit, audit_run
from reasoningrec.rows import write_jsonl

sys.path.insert(0, str(Path(__file__).parent))
from decisions import BARE, PLAN, Task, commit, folder, here, machine, toml
from keeping import note_look
from overview import TEXTS, write_overview
from table import RESULTS, ROOT, read_rows

SHOWN = "published-256"
"""The variant of decisions.py that is the published method with the descriptions."""


def measure(task: Task, runs: Path) -> list[dict[str, Any]]:
    """Take a run as far as its texts and return its rows. Raises CalledProcessError where that fails."""
    return [*_of_texts(task, runs), *_of_published(task, runs)]


def _of_texts(task: Task, runs: Path) -> list[dict[str, Any]]:
    """The checks, the classifier, and, where decisions.py was here before, the gains."""
    whole, bare = task.folder(runs), replace(task, variant="no-description").folder(runs)
    if _is_whole(whole):
        return rows(audit_run(whole, [bare] if _is_whole(bare) else []))
    folder = runs / f"{task.dataset}-{task.protocol}-texts"
    config = folder.with_suffix(".toml")
    runs.mkdir(parents=True, exist_ok=True)
    example = tomllib.loads(task.example.read_text("utf-8"))
    config.write_text(toml(example | {"protocol": task.protocol}), "utf-8")
    subprocess.run([sys.executable, "-m", "reasoningrec", "profile", "--run", str(folder), str(config)], check=True)
    return rows(audit_run(folder))


def _of_published(task: Task, runs: Path) -> list[dict[str, Any]]:
    """What the published method gains: its student is all there is of it."""
    shown, bare = (replace(task, variant=variant).folder(runs) for variant in (SHOWN, BARE))
    found = rows(audit_run(shown, [bare])) if _is_whole(shown) and _is_whole(bare) else []
    return [row | {"measure": f"gain of {SHOWN}"} for row in found if row["measure"] == f"gain of {STUDENT}"]


def _is_whole(run: Path) -> bool:
    return (run / "evaluate.json").exists()


def rows(found: Audit) -> list[dict[str, Any]]:
    """What is kept of an audit."""
    place = {
        "dataset": found.dataset,
        "protocol": found.protocol,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
    }
    checks = [
        {"measure": f"check {check.name}", "ruling": check.ruling, "value": check.found, "n": check.tried}
        for check in found.checks
    ]
    texts = [
        {
            "measure": name,
            "value": _rounded(figure.value),
            "low": _rounded(figure.low),
            "high": _rounded(figure.high),
            "n": figure.n,
            "positives": figure.positives,
            "settings": found.settings,
        }
        for name, figure in zip(TEXTS, found.text, strict=True)
    ]
    gains = [
        {
            "measure": f"gain of {gain.method}",
            "value": _less(gain.figure.value),
            "low": _less(gain.figure.high),
            "high": _less(gain.figure.low),
            "n": gain.figure.n,
            "positives": gain.figure.positives,
            "with": _rounded(gain.here),
            "without": _rounded(gain.there),
        }
        for bare in found.against
        for gain in bare.gains
    ]
    return [row | place for row in (*checks, *texts, *gains)]


def is_gain(row: dict[str, Any]) -> bool:
    """Whether it says what a method gains, which takes two whole runs; the other rows take one as far as its texts."""
    return row["measure"].startswith("gain of ")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _less(value: float | None) -> float | None:
    """What the run without descriptions has less: its gain, turned round."""
    return None if value is None else round(0.0 - value, 6)


def main() -> None:
    """Audit what is asked for."""
    parser = argparse.ArgumentParser(description="Audit every dataset under every protocol.")
    known = [*dict.fromkeys(name for name, _ in PLAN), *(":".join(pair) for pair in PLAN)]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME[:PROTOCOL]",
                        help="parts of the plan; without it, all")  # fmt: skip
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    asked = parser.parse_args()
    plan = [pair for pair in PLAN if pair[0] in asked.only or ":".join(pair) in asked.only]
    path = RESULTS / "audit.jsonl"
    for task in here([Task(*pair, 0) for pair in plan]):
        pair = task.dataset, task.protocol
        print(f"== audit: {task.dataset}, {task.protocol}", flush=True)
        try:
            fresh = measure(task, asked.runs)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{error.cmd[-2]}: failed, for the reason above; the same command goes on from there")
        except ReasoningRecError as error:
            sys.exit(str(error))
        replaced = {row["measure"] for row in fresh}
        kept = [
            row
            for row in read_rows(path)
            if (row["dataset"], row["protocol"]) != pair or (is_gain(row) and row["measure"] not in replaced)
        ]
        order = {known: place for place, known in enumerate(PLAN)}
        places = sorted([*kept, *fresh], key=lambda row: order.get((row["dataset"], row["protocol"]), len(order)))
        write_jsonl(path, places)
        note_look("audit", *pair)
    write_overview()


if __name__ == "__main__":
    main()
