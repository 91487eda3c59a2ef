"""benchmarks/results/bench.md and bench.svg: every system and every variant of the paper, from benchmarks/results/.

python benchmarks/overview.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

from reasoningrec.evaluation import pictures

sys.path.insert(0, str(Path(__file__).parent))
from table import DATASETS, RESULTS, is_outdated, read_decisions, read_rows

OVERVIEW = RESULTS / "bench.md"
PICTURE = RESULTS / "bench.svg"
READINGS = (
    ("strict", "distinct"), ("honest", "all"), ("paper", "all"),
    ("strict", "all"), ("honest", "distinct"), ("paper", "distinct"),
)  # fmt: skip
"""The headline first, then the reading that published figures use; the picture shows these two."""
SERVED = "needs its teacher served (Mixtral-8x7B-Instruct, some 90 GB in bf16), and named by `--teacher`"
TRAINED = "needs a GPU that trains Llama-2-7b-chat, and its weights"
UNTAUGHT = "needs the student's own model served untaught (Llama-2-7b-chat), and named by `--teacher`"
LATER = "not measured yet"
PUBLISHED = "measured under `paper` alone, which it is published for"
ALT = "AUC of the systems on each dataset, with intervals; the figures stand in the tables below"
SYSTEMS = (
    ("reasoningrec", "ReasoningRec: student and evidence, fused", LATER),
    ("student", "ReasoningRec: the student alone", LATER),
    ("no-student", "fused without the student", LATER),
    ("no-description", "fused, texts without item descriptions", LATER),
    ("no-profile", "fused, texts without user profiles", LATER),
    ("no-evidence", "fused, texts without facts on user and crowd", LATER),
    ("no-rationale", "fused, no rationales", LATER),
    ("no-description-student", "the student alone, without item descriptions", LATER),
    ("no-profile-student", "the student alone, without user profiles", LATER),
    ("no-evidence-student", "the student alone, without facts on user and crowd", LATER),
    ("no-rationale-student", "the student alone, no rationales", LATER),
    ("user-share", "share of likes of the user", LATER),
    ("item-share", "share of likes of the item", LATER),
    ("user-item-share", "both shares", LATER),
    ("last", "last reaction", LATER),
    ("popularity", "popularity", LATER),
    ("logistic", "logistic regression on the evidence", LATER),
    ("boosting", "boosted trees on the evidence", LATER),
    ("als", "ALS", LATER),
    ("mf", "biased matrix factorisation", LATER),
    ("sasrec", "SASRec", LATER),
    ("caser", "Caser", LATER),
    ("gru4rec", "GRU4Rec", LATER),
    ("din", "DIN", LATER),
    ("tallrec-student", "TALLRec's recipe (titles, 256 shots, no reasons), nano for LLaMA-7B", LATER),
    ("tallrec", "the same, fused with the evidence", LATER),
    ("few-shot-student", "256 shots: ReasoningRec, the student alone", LATER),
    ("few-shot-user-share", "256 shots: share of likes of the user", LATER),
    ("few-shot-item-share", "256 shots: share of likes of the item", LATER),
    ("few-shot-user-item-share", "256 shots: both shares", LATER),
    ("few-shot-last", "256 shots: last reaction", LATER),
    ("few-shot-popularity", "256 shots: popularity", LATER),
    ("few-shot-logistic", "256 shots: logistic regression on the evidence", LATER),
    ("few-shot-boosting", "256 shots: boosted trees on the evidence", LATER),
    ("few-shot-als", "256 shots: ALS", LATER),
    ("few-shot-mf", "256 shots: biased matrix factorisation", LATER),
    ("few-shot-sasrec", "256 shots: SASRec", LATER),
    ("few-shot-caser", "256 shots: Caser", LATER),
    ("few-shot-gru4rec", "256 shots: GRU4Rec", LATER),
    ("few-shot-din", "256 shots: DIN", LATER),
    ("zero-shot", "paper: zero-shot, titles", SERVED),
    ("zero-shot-description", "paper: zero-shot, with descriptions", SERVED),
    ("zero-shot-profile", "paper: zero-shot, with profiles", SERVED),
    ("zero-shot-both", "paper: zero-shot, with both", SERVED),
    ("zero-shot-untaught", "paper: zero-shot by its student untaught, titles", UNTAUGHT),
    ("zero-shot-untaught-both", "paper: zero-shot by its student untaught, with both", UNTAUGHT),
    ("published-64", "paper: ReasoningRec, 64 shots, nano for its student", PUBLISHED),
    ("published-128", "paper: ReasoningRec, 128 shots, nano for its student", PUBLISHED),
    ("published-256", "paper: ReasoningRec, 256 shots, nano for its student", PUBLISHED),
    ("published-bare", "the same, without item descriptions", PUBLISHED),
    ("published-no-profile", "the same, without user profiles", PUBLISHED),
    ("reasoningrec-paper-64", "paper: ReasoningRec, 64 shots, its own student", TRAINED),
    ("reasoningrec-paper-128", "paper: ReasoningRec, 128 shots, its own student", TRAINED),
    ("reasoningrec-paper-256", "paper: ReasoningRec, 256 shots, its own student", TRAINED),
)
"""(method, in words, why its cells are blank where nothing was measured); further methods follow by name."""
DRAWN = {
    "reasoningrec": ("ReasoningRec, fused", "fused"),
    "student": ("its student alone", "student"),
    "tallrec-student": ("TALLRec's recipe, nano", "student"),
    "boosting": ("boosted trees", "ablation"),
    "logistic": ("logistic regression", "ablation"),
    "user-item-share": ("both shares", "baseline"),
    "user-share": ("share of likes of the user", "baseline"),
    "als": ("ALS", "baseline"),
    "mf": ("matrix factorisation", "baseline"),
    "sasrec": ("SASRec", "baseline"),
    "caser": ("Caser", "baseline"),
    "gru4rec": ("GRU4Rec", "baseline"),
    "din": ("DIN", "baseline"),
}
"""What the picture shows: method -> its name there, and whose colour it has."""
TEXTS = ("target text", "target text and description", "gain from the description")
"""The measures of audit.jsonl that are of the targets' texts."""
CURVES = {"users": "curve", "students": "curve"}
"""Scripts that draw learning curves."""
LEAST_DRAWN = 100
"""Queries of a test set that is drawn; smaller ones stand in the table only."""


def overview() -> str:
    """The table as Markdown."""
    rows = read_decisions()
    parts = [
        "# Every system, every dataset",
        "Made by `make bench` from `decisions.jsonl`. AUC with 95 % intervals over clusters of twins; where training "
        "was repeated with other seeds, the mean of AUCs and of the intervals' ends, ± the standard deviation over "
        "seeds. Bold: the highest of its column. †: by an earlier form of the decision, not measured again so far. "
        "0.500 [0.500, 0.500]: one answer to all questions, as where a method has too few rows to learn from. Rows of "
        "one table can be of two kinds of processor, which moves a student as another seed does: each row of the file "
        "names its machine, and the README marks parts and wholes of different kinds.",
        f"![{ALT}](bench.svg)",
        "`paper` has the texts that the authors published, their descriptions and profiles, on fashion, beauty and "
        "ml-1m. They released none for amazon-fashion-5core and demo: there it is our own texts, written from all "
        "reviews, later ones included. Ours are asked in our own prompts under every protocol, the rows that begin "
        'with "paper" and TALLRec\'s in those of the paper. On ml-100k, which has neither, it is `honest`; so is '
        "`strict` on demo, where no user does two things at one time. The windows of ml-1m have no times, so `strict` "
        "is not to be had. "
        "Plain and trained baselines read no texts, and texts are all that `paper` changes: there they are those of "
        "`honest`.",
    ]
    for protocol, subset in READINGS:
        found = [row for row in rows if (row["protocol"], row["subset"]) == (protocol, subset)]
        parts += [f"## `{protocol}` / `{subset}`", _table(found, protocol)]
    parts += ["## Audits", _audits(read_rows(RESULTS / "audit.jsonl"))]
    parts += ["## Looks", _looks()]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict[str, Any]], protocol: str) -> str:
    known = {method for method, _, _ in SYSTEMS}
    others = sorted({row["method"] for row in rows} - known)
    systems = [*SYSTEMS, *((method, method, LATER) for method in others)]
    datasets = [name for name in DATASETS if any(row["dataset"] == name for row in rows)]
    sizes = {name: next(row["n"] for row in rows if row["dataset"] == name) for name in datasets}
    head = ["system", *(f"{name} (n {sizes[name]})" for name in datasets), "blank because"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---|" * (len(datasets) + 1)]
    best = {name: max((_auc(_of(rows, m, name)) for m, _, _ in systems), default=0.0) for name in datasets}
    for method, says, reason in systems:
        cells = [_cell(_of(rows, method, name), best[name]) for name in datasets]
        why = LATER if reason == PUBLISHED and protocol == "paper" else reason
        blank = why if "" in cells or not cells else ""
        lines.append(f"| {says} | {' | '.join(cells)} | {blank} |")
    return "\n".join(lines)


def _audits(rows: list[dict[str, Any]]) -> str:
    """What `reasoningrec audit` found in each run, and what its targets' texts tell of the answer."""
    lines = [
        "What `reasoningrec audit` found ([docs/audit.md](../../docs/audit.md) says what each check compares): a find "
        "names how many of how many comparisons; what is not provable has no times, or texts that were written "
        "elsewhere. Beside it the AUC, on test, of a classifier that reads the target's text alone, and what the "
        "student gains in AUC from being shown the descriptions, ours and that of the published method with 256 shots "
        "(seed 0, paired, where both runs were at hand; runs of the audit's own, so that they differ from the tables' "
        "as another seed does).",
        "",
        "| dataset | protocol | passed | found | not provable | without the description | with it | what it adds "
        "| the student's gain | as published |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in dict.fromkeys((row["dataset"], row["protocol"]) for row in rows):
        those = [row for row in rows if (row["dataset"], row["protocol"]) == run]
        checks = [row for row in those if "ruling" in row]
        said = {
            ruling: [row for row in checks if row["ruling"] == ruling] for ruling in ("passed", "found", "not provable")
        }
        found = [f"{_check(row)} ({row['value']:,} of {row['n']:,})" for row in said["found"]]
        texts = [_text(row) for row in those if row["measure"] in TEXTS]
        gains = {row["measure"]: _text(row) for row in those if row["measure"].startswith("gain of ")}
        cells = [
            f"{len(said['passed'])} of {len(checks)}", ", ".join(found), ", ".join(map(_check, said["not provable"])),
            *texts, gains.get("gain of student", ""), gains.get("gain of published-256", ""),
        ]  # fmt: skip
        lines.append(f"| {' | '.join((*run, *cells))} |")
    return "\n".join(lines)


def _check(row: dict[str, Any]) -> str:
    return f"`{row['measure'].removeprefix('check ')}`"


def _text(row: dict[str, Any]) -> str:
    sign = "+" if row["measure"].startswith("gain") else ""
    value, low, high = (f"{round(row[name], 3) + 0.0:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _looks() -> str:
    """How often each test set was looked at, by protocol; a dataset has the same test questions under each."""
    lines = [
        "How often the figures of a test set were computed, as `looks.jsonl` has it, which is only ever added to: by "
        "`evaluate`, repeats and other seeds included; by each fit of a learning curve (`users.py`, `students.py`); by "
        "each audit, and each run of `within.py`. (Scripts and audits note it since November 30; lines of before are "
        "those of every figure of theirs that was ever committed.) What computes the same figures once more, such as "
        "`compare`, is not counted. Choices are made on valid; [docs/experiments.md](../../docs/experiments.md) names "
        "those that were not.",
        "",
        "| dataset | `strict` | `honest` | `paper` | learning curves | audits | within users | in all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = read_rows(RESULTS / "looks.jsonl")
    for name in DATASETS:
        by: dict[str, int] = {}
        for row in rows:
            if row["dataset"] == name:
                looker = row.get("by", "evaluate")
                what = row["protocol"] if looker == "evaluate" else CURVES.get(looker, looker)
                by[what] = by.get(what, 0) + row.get("times", 1)
        looks = [by.get(what, 0) for what in ("strict", "honest", "paper", "curve", "audit", "within")]
        lines.append(f"| {name} | {' | '.join(map(str, looks))} | {sum(looks)} |")
    return "\n".join(lines)


def _of(rows: Iterable[dict[str, Any]], method: str, dataset: str) -> list[dict[str, Any]]:
    """The rows of one cell, one for each seed."""
    return [row for row in rows if (row["method"], row["dataset"]) == (method, dataset) and row["auc"] is not None]


def _auc(rows: list[dict[str, Any]]) -> float:
    return round(fmean(row["auc"] for row in rows), 3) if rows else 0.0


def _cell(rows: list[dict[str, Any]], best: float) -> str:
    if not rows:
        return ""
    auc = _auc(rows)
    low, high = (fmean(row[end] for row in rows) for end in ("auc_low", "auc_high"))
    said = f"**{auc:.3f}**" if auc == best else f"{auc:.3f}"
    spread = f" ± {stdev([row['auc'] for row in rows]):.3f}" if len(rows) > 1 else ""
    return f"{said} [{low:.3f}, {high:.3f}]{spread}{' †' * any(map(is_outdated, rows))}"


def picture() -> str:
    """The table's first two parts as a picture: a row of panels for each reading, a panel for each dataset."""
    rows = read_decisions()
    parts = {
        reading: {name: found for name in DATASETS if (found := _drawable(rows, *reading, name))}
        for reading in READINGS[:2]
    }
    words = [name for name, _ in DRAWN.values()]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(parts), max(map(len, parts.values())), sharex="row", sharey=True, squeeze=False)
        for line, (reading, panels) in zip(grid, parts.items(), strict=True):
            for axes in line[len(panels) :]:
                axes.set_visible(False)
            for axes, (name, found) in zip(line, panels.items(), strict=False):
                _panel(axes, found)
                axes.set_title(name, loc="left", fontsize=9.5)
            line[0].set_yticks(range(len(DRAWN)), words)
            line[0].set_ylim(len(DRAWN) - 0.4, -0.6)
            line[0].set_ylabel(" / ".join(reading), fontsize=11)

    said = "; ".join(
        f"{protocol} {name}: " + ", ".join(f"{DRAWN[method][0]} {_auc(cells):.3f}" for method, cells in found.items())
        for (protocol, _), panels in parts.items()
        for name, found in panels.items()
    )
    caption = "AUC with 95 % intervals over clusters of twins, means over seeds; the line is the fused decision."
    return pictures.drawn("bench", caption, said, draw, (12.5, 7.4)).svg + "\n"


def _drawable(rows: list[dict[str, Any]], protocol: str, subset: str, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each method that is drawn; nothing where the test set is too small."""
    here = [row for row in rows if (row["protocol"], row["subset"]) == (protocol, subset) and row["n"] >= LEAST_DRAWN]
    return {method: cells for method in DRAWN if (cells := _of(here, method, dataset))}


def _panel(axes: Any, found: dict[str, list[dict[str, Any]]]) -> None:
    for at, (method, (_, kind)) in enumerate(DRAWN.items()):
        if cells := found.get(method):
            low, high = (fmean(row[end] for row in cells) for end in ("auc_low", "auc_high"))
            shade, marker = pictures.COLOURS[kind], pictures.MARKERS[kind]
            axes.plot([low, high], [at, at], color=shade, linewidth=1.8, solid_capstyle="butt")
            axes.plot([_auc(cells)], [at], color=shade, marker=marker, markersize=5.5)
    axes.axvline(_auc(found["reasoningrec"]), color=pictures.COLOURS["fused"], linewidth=0.8, linestyle=(0, (1, 2)))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def write_overview() -> None:
    """Write benchmarks/results/bench.md and bench.svg."""
    OVERVIEW.write_text(overview(), "utf-8")
    PICTURE.write_text(picture(), "utf-8")


if __name__ == "__main__":
    write_overview()
