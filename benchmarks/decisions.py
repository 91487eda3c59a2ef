"""Measure decisions and explanations on real data: run each example under each protocol, keep the figures.

    python benchmarks/decisions.py [--only NAME[:PROTOCOL] ...] [--runs FOLDER]

Needs REASONINGREC_DATA and the `student` extra. Runs are resumed where they stand; their figures replace those of the
same dataset and protocol in benchmarks/results/decisions.jsonl and explanations.jsonl, and the table in README.md is
made anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from reasoningrec.evaluation.evaluate import Evaluation
from reasoningrec.evaluation.results import Provenance, Row, decision_rows, explanation_rows
from reasoningrec.rows import from_row, read_json, write_jsonl
from reasoningrec.runs import Run

sys.path.insert(0, str(Path(__file__).parent))
from table import RESULTS, ROOT, read_rows, write_readme

PLAN = (
    ("demo", "honest"), ("beauty", "strict"), ("beauty", "honest"), ("fashion", "strict"), ("fashion", "honest"),
    ("ml-1m", "honest"), ("ml-100k", "strict"), ("ml-100k", "honest"), ("amazon-fashion-5core", "strict"),
    ("amazon-fashion-5core", "honest"),
)  # fmt: skip
"""(example, protocol); the windows of ml-1m have no times, so `strict` is not to be had there."""


def measure(name: str, protocol: str, runs: Path) -> tuple[list[Row], list[Row]]:
    """Run one example to its report and return its rows. Exits where the run fails."""
    folder = runs / f"{name}-{protocol}"
    config = ROOT / "examples" / f"{name}.toml"
    command = [sys.executable, "-m", "reasoningrec", "run", "--run", folder, config, "--protocol", protocol]
    subprocess.run([str(part) for part in command], check=True)
    found = from_row(Evaluation, read_json(folder / "evaluate.json"))
    provenance = Provenance(commit(), datetime.datetime.now(datetime.UTC).date().isoformat(), machine())
    shots = Run.read(folder).require("train").counts["rows"]
    return decision_rows(found, provenance, int(shots)), explanation_rows(found, provenance)


def commit() -> str:
    """The commit measured; "+" marks changes that are not committed."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain", "src"], check=True, capture_output=True, text=True).stdout
    return head.strip() + ("+" if dirty.strip() else "")


def machine() -> str:
    """Processor, cores, Python."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def replace_rows(path: Path, fresh: list[Row]) -> None:
    """Put `fresh` in the place of rows of the same datasets and protocols."""
    keys = {(row["dataset"], row["protocol"]) for row in fresh}
    kept = [row for row in read_rows(path) if (row["dataset"], row["protocol"]) not in keys]
    order = {pair: place for place, pair in enumerate(PLAN)}
    rows = sorted([*kept, *fresh], key=lambda row: order.get((str(row["dataset"]), str(row["protocol"])), len(order)))
    write_jsonl(path, rows)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure decisions and explanations on real data.")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME[:PROTOCOL]")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    asked = parser.parse_args()
    plan = [pair for pair in PLAN if not asked.only or pair[0] in asked.only or ":".join(pair) in asked.only]
    if not plan:
        parser.error(f"nothing matches; known: {json.dumps([':'.join(pair) for pair in PLAN])}")
    for name, protocol in plan:
        print(f"== {name}, {protocol}", flush=True)
        decisions, explanations = measure(name, protocol, asked.runs)
        replace_rows(RESULTS / "decisions.jsonl", decisions)
        replace_rows(RESULTS / "explanations.jsonl", explanations)
        write_readme()


if __name__ == "__main__":
    main()
