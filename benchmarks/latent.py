"""Measure on valid what the number `latent` adds to the decision of the evidence.

    python benchmarks/latent.py RUN [RUN ...]

For runs whose stage evidence is done. Both models of the evidence are fitted on train twice, with the number and
without it, and asked about valid; no student, no test. Figures replace those of the same names in
benchmarks/results/latent.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from reasoningrec.errors import RunError
from reasoningrec.evaluation.decisions import auc
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.ranking.fuse import LATENT, learn
from reasoningrec.runs import Run

sys.path.insert(0, str(Path(__file__).parent))
from keeping import keep
from table import RESULTS


def measure(folder: Path) -> dict[str, object]:
    """The row of one run."""
    run = Run.read(folder)
    run.require("evidence")
    config = config_of(run)
    space = Workspace(folder, config)
    rows = space.learning[0].height  # read before the clock starts
    started = time.perf_counter()
    numbers, labels, role = space.deciding
    seconds = time.perf_counter() - started
    valid = (role == "valid").to_numpy()
    without, added = (learn(some, labels, role, config.seed) for some in (numbers.drop(LATENT), numbers))
    alone = auc(labels[valid], numbers[LATENT].to_numpy()[valid])
    before, after = (auc(one.labels, one.evidence) or 0.0 for one in (without, added))
    return {
        "name": f"{config.name}-{config.protocol}-{config.seed}", "n": int(valid.sum()), "asked": rows,
        "without": round(before, 4), "with": round(after, 4), "adds": round(after - before, 4),
        "alone": round(alone or 0.0, 4), "seconds": round(seconds, 1),
    }  # fmt: skip


def main() -> None:
    """Measure the runs that are named."""
    parser = argparse.ArgumentParser(description="Measure on valid what the number `latent` adds to the decision.")
    parser.add_argument("run", type=Path, nargs="+")
    for folder in parser.parse_args().run:
        try:
            row = measure(folder)
        except RunError as error:
            sys.exit(str(error))
        print(row)
        keep(RESULTS / "latent.jsonl", [row])


if __name__ == "__main__":
    main()
