"""The README's results tables, made from benchmarks/results/.

python benchmarks/table.py
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from reasoningrec.ranking import fuse
from reasoningrec.rows import Json
from reasoningrec.runs import fingerprint

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
READINGS = (("strict", "distinct"), ("honest", "all"))
"""The headline first, then the reading that published figures use."""
PUBLISHED = ("paper", "all")
"""What the paper's code measured, its leak included; MovieLens-100K has none to include."""
DATASETS = ("fashion", "beauty", "ml-1m", "ml-100k", "amazon-fashion-5core", "demo")
PICTURE = "![AUC of the systems on each dataset, with intervals](benchmarks/results/bench.svg)"
SHOTS = ("untrained", "16", "64", "256", "all")
PARTS = {
    "student": "whole",
    "no-description-student": "no item descriptions",
    "no-profile-student": "no profiles",
    "no-evidence-student": "no facts on user and others",
    "no-rationale-student": "no rationales",
    "tallrec-student": "TALLRec's recipe: titles, 256 shots",
    "few-shot-student": "256 shots",
}
DECISIONS = ("reasoningrec", "no-student", "no-description", "no-profile", "no-evidence", "no-rationale", "tallrec")
"""Methods that are a fused decision."""
OURS = ("reasoningrec", "student", "no-", "tallrec", "few-shot-student")
"""How the names of our own methods begin."""
RECIPES = ("tallrec-student", "published-")
"""How those of others' recipes begin, which our small model learns by: they read texts, and are baselines."""
MEASURES = (
    ("citations_exist", "citations that exist"),
    ("stance_agreement", "agrees with the decision"),
    ("at_most_three", "at most three reasons"),
    ("top_frame", "most frequent sentence frame"),
    ("from_student", "written by the student"),
)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; none where it does not exist."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def is_baseline(row: dict[str, Any]) -> bool:
    """Whether it is a figure of somebody else's method, of few shots too."""
    return row["method"].startswith(RECIPES) or not row["method"].startswith(OURS)


def reads_no_text(row: dict[str, Any]) -> bool:
    """Whether it is a figure of a method that reads no text: of a baseline, unless a language model is asked."""
    return is_baseline(row) and not row["method"].startswith(RECIPES) and "zero-shot" not in row["method"]


def read_decisions() -> list[dict[str, Any]]:
    """The rows of decisions.jsonl, those of baselines under `honest` a second time as those of `paper`.

    The two protocols differ in texts alone: what such a baseline is asked and answers is the same, and kept once.
    """
    rows = read_rows(RESULTS / "decisions.jsonl")
    published = {row["dataset"] for row in rows if row["protocol"] == "paper"}
    shared = [row for row in rows if row["protocol"] == "honest" and row["dataset"] in published]
    return [*rows, *({**row, "protocol": "paper"} for row in shared if reads_no_text(row))]


def decision_mark(settings: Json) -> str:
    """A short mark of all that a fused decision depends on beside the data: rows of different marks do not compare."""
    return fingerprint(settings)[-12:]


def is_outdated(row: dict[str, Any]) -> bool:
    """Whether it is a figure of a fused decision that is no longer the one of the code."""
    return row["method"] in DECISIONS and row.get("decision") != decision_mark(fuse.settings())


def tables() -> str:
    """Everything between the README's marks."""
    decisions = [row for row in read_decisions() if row["auc"] is not None]  # None: of one label
    explanations = read_rows(RESULTS / "explanations.jsonl")
    parts = [PICTURE, *(_decisions(decisions, *reading) for reading in (*READINGS, PUBLISHED))]
    students, speed = read_rows(RESULTS / "students.jsonl"), read_rows(RESULTS / "speed.jsonl")
    more = [_students(students), _speed(speed), _scale(speed)]
    parts += [_calibration(decisions), _ablations(decisions), _explanations(explanations, decisions)]
    if any("†" in part for part in parts):
        parts.append("† By an earlier form of the decision, not measured again so far.")
    if any("‡" in part for part in parts):
        parts.append("‡ The whole and the part were measured on different kinds of processor, which moves a student as "
                     "another seed does, though the seed is the same.")  # fmt: skip
    return "\n\n".join([*parts, _measured_by(decisions, "decisions.py"), *filter(None, more)])


def _decisions(rows: list[dict[str, Any]], protocol: str, subset: str) -> str:
    lines = [
        f"**`{protocol}` / `{subset}`**",
        "",
        "| dataset | n | fused AUC | over seeds | student alone | user share | user + item share | logistic "
        "| boosting | SASRec | fused minus the best baseline (chosen on valid) "
        "| minus the highest on test, in hindsight, means over seeds | what the student adds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for dataset in DATASETS:
        those = _of(rows, dataset, protocol, subset)
        found = {row["method"]: row for row in those if row["seed"] == 0}
        if "reasoningrec" not in found:
            continue
        fused = found["reasoningrec"]
        methods = ("student", "user-share", "user-item-share", "logistic", "boosting", "sasrec")
        cells = [_figure(found[method]["auc"] if method in found else None) for method in methods]
        mark = "" if fused["time"] == "known" else " (time unknown)"
        old = " †" if any(is_outdated(row) for row in those if row["method"] in ("reasoningrec", "no-student")) else ""
        lines.append(
            f"| {dataset}{mark} | {fused['n']} | {_interval(fused)}{old} | {_over_seeds(those)} | {' | '.join(cells)} "
            f"| {_difference(fused)}{_range(those, 'reasoningrec', 1)} | {_hindsight(those)} "
            f"| {_added(found.get('no-student'))}{_range(those, 'no-student', -1, 4)} |"
        )
    return "\n".join(lines)


def _of(rows: list[dict[str, Any]], dataset: str, protocol: str, subset: str) -> list[dict[str, Any]]:
    """Every method's rows of one reading of one dataset."""
    return [row for row in rows if (row["dataset"], row["protocol"], row["subset"]) == (dataset, protocol, subset)]


def _over_seeds(rows: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation of the fused decision's AUC; "–" where there is one seed."""
    aucs = [row["auc"] for row in rows if row["method"] == "reasoningrec"]
    return f"{fmean(aucs):.3f} ± {stdev(aucs):.3f} ({len(aucs)} seeds)" if len(aucs) > 1 else "–"


def _range(rows: list[dict[str, Any]], method: str, sign: int, digits: int = 3) -> str:
    """The lowest and the highest difference over seeds, after a figure of seed 0; "" where they are alike.

    Where seeds have different opponents, each end is of its own, and all are named.
    """
    these = [row for row in rows if row["method"] == method and row["diff"] is not None]
    found = [round(sign * row["diff"], digits) + 0.0 for row in these]
    if len(set(found)) < 2:
        return ""
    opponents = list(dict.fromkeys(row["versus"] for row in sorted(these, key=lambda row: row["seed"])))
    against = f", against {', '.join(opponents)}" if len(opponents) > 1 else ""
    return f"; seeds {min(found):+.{digits}f} to {max(found):+.{digits}f}{against}"


def _hindsight(rows: list[dict[str, Any]]) -> str:
    """Fused minus the baseline that turned out best, means over all its seeds: no choice on valid can flatter it."""
    aucs: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["method"] == "reasoningrec" or is_baseline(row):
            aucs.setdefault(row["method"], {})[row["seed"]] = row["auc"]
    fused = aucs.pop("reasoningrec")
    means = _means(aucs, set(fused))
    best = max(means, key=lambda method: means[method], default=None)
    return "–" if best is None else f"{_mean_difference(fused, aucs[best]):+.3f} ({best})"


def _means(figures: dict[str, dict[int, float]], seeds: set[int]) -> dict[str, float]:
    """Mean over `seeds` of each method that has a figure of all of them."""
    return {method: fmean(of[seed] for seed in seeds) for method, of in figures.items() if of.keys() >= seeds}


def _calibration(rows: list[dict[str, Any]]) -> str:
    """How far the fused probability can be taken at its word, beside what chance alone would show; means over seeds."""
    lines = [
        "**The fused probability, taken at its word** (means over seeds). Calibration error: how far the probabilities "
        "said are from the shares of likes found, in ten groups of as many questions each; its floor: what a decision "
        "without any such error would show on so few questions. Brier score: the mean squared distance of what was "
        "said from what came, the lower the better. Yes from: the threshold that valid chose, seed by seed",
        "",
        "| dataset | protocol | n | likes | calibration error | its floor | Brier score "
        "| the lowest of a baseline, in hindsight | Yes from |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for protocol, subset in READINGS:
        for dataset in DATASETS:
            those = _of(rows, dataset, protocol, subset)
            if fused := [row for row in those if row["method"] == "reasoningrec"]:
                error, floor, score = (fmean(row[name] for row in fused) for name in ("ece", "ece_floor", "brier"))
                lines.append(
                    f"| {dataset} | {protocol} | {fused[0]['n']} | {fused[0]['positives']} | {error:.3f} | {floor:.3f} "
                    f"| {score:.4f} | {_lowest_brier(those)} | {_thresholds(fused)} |"
                )
    return "\n".join(lines)


def _thresholds(rows: list[dict[str, Any]]) -> str:
    """The lowest probability that counts as Yes, by seed; "–" where rows of before do not hold it."""
    return ", ".join(_figure(row.get("threshold")) for row in sorted(rows, key=lambda row: row["seed"]))


def _lowest_brier(rows: list[dict[str, Any]]) -> str:
    """The lowest mean over seeds of the Brier scores of baselines, and whose it is; of few shots, too."""
    seeds = {row["seed"] for row in rows if row["method"] == "reasoningrec"}
    scores: dict[str, dict[int, float]] = {}
    for row in rows:
        if is_baseline(row):
            scores.setdefault(row["method"], {})[row["seed"]] = row["brier"]
    means = _means(scores, seeds)
    best = min(means, key=lambda method: means[method], default=None)
    return "–" if best is None else f"{means[best]:.4f} ({best})"


def _ablations(rows: list[dict[str, Any]]) -> str:
    """What the student's AUC gains or loses with parts taken out, and how far the fused decision moves with it."""
    table = [["dataset", "protocol", *PARTS.values(), "fused moves by"]]
    for protocol, subset in READINGS:
        for dataset in DATASETS:
            those = _of(rows, dataset, protocol, subset)
            whole, *parts = ([row for row in those if row["method"] == method] for method in PARTS)
            if any(parts):
                gained = [_gained(part, whole) for part in parts]
                table.append([dataset, protocol, _mean([row["auc"] for row in whole]), *gained, _figure(_moves(those))])
    title = (
        "**The student alone, with parts taken out**: AUC of the whole, and what is gained or lost, mean ± standard "
        "deviation over seeds of the difference with the same seed"
    )
    says = ", and how far the fused decision moves at most"
    if all(line[-1] == "–" for line in table[1:]):  # each whole was measured anew since
        table, says = [line[:-1] for line in table], ""
    lines = [f"| {' | '.join(line)} |" for line in table]
    told = f"{title} (their number in brackets; the whole's are the same){says}"
    return "\n".join([told, "", lines[0], f"|{'---|' * len(table[0])}", *lines[1:]])


def _gained(part: list[dict[str, Any]], whole: list[dict[str, Any]]) -> str:
    """Mean difference over the seeds that both have, its spread, and their number; "–" without any.

    Marked ‡ where machines are not the same: another one moves a student as a seed does.
    """
    ours, theirs = ({row["seed"]: row for row in rows} for rows in (part, whole))
    shared = sorted(ours.keys() & theirs)
    if not shared:
        return "–"
    apart = [ours[seed]["auc"] - theirs[seed]["auc"] for seed in shared]
    spread = f" ± {stdev(apart):.3f}" if len(apart) > 1 else ""
    elsewhere = " ‡" * any(ours[seed]["machine"] != theirs[seed]["machine"] for seed in shared)
    return f"{round(fmean(apart), 3) + 0.0:+.3f}{spread} ({len(shared)}){elsewhere}"


def _mean_difference(first: dict[int, float], second: dict[int, float]) -> float:
    """Of AUCs by seed, over the seeds that both have; never -0."""
    return round(fmean(first[seed] - second[seed] for seed in first.keys() & second), 3) + 0.0


def _moves(rows: list[dict[str, Any]]) -> float | None:
    """How far a variant's fused decision is from the whole's at most, mean over seeds; of the same decision alone."""
    whole = {row["seed"]: row for row in rows if row["method"] == "reasoningrec"}
    apart: dict[str, list[float]] = {}
    for row in rows:
        beside = whole.get(row["seed"])
        if f"{row['method']}-student" in PARTS and beside and row.get("decision") == beside.get("decision"):
            apart.setdefault(row["method"], []).append(row["auc"] - beside["auc"])
    return max((abs(fmean(each)) for each in apart.values()), default=None)


def _explanations(rows: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> str:
    whole = [row for row in decisions if row["method"] == "reasoningrec"]
    old = {(row["dataset"], row["protocol"]) for row in whole if is_outdated(row)}
    lines = [
        "**Explanations** (of the decisions on test)",
        "",
        f"| dataset | protocol | n | {' | '.join(says for _, says in MEASURES)} |",
        f"|---|---|---|{'---|' * len(MEASURES)}",
    ]
    for protocol, _ in READINGS:
        for dataset in DATASETS:
            found = {row["measure"]: row for row in rows if (row["dataset"], row["protocol"]) == (dataset, protocol)}
            if found:
                cells = [_percent(found.get(measure)) for measure, _ in MEASURES]
                n = found["stance_agreement"]["n"]
                mark = " †" if (dataset, protocol) in old else ""
                lines.append(f"| {dataset}{mark} | {protocol} | {n} | {' | '.join(cells)} |")
    hits = {row["measure"]: row for row in rows if (row["dataset"], row["protocol"]) == ("demo", "honest")}
    if "true_reason_first" in hits:
        first, among = _percent(hits["true_reason_first"]), _percent(hits["true_reason_among"])
        n = hits["true_reason_first"]["n"]
        lines += ["", "On `demo` under `honest`, where the true reasons are known: the main one is cited first in "
                  f"{first} and cited at all in {among} of the {n} likes that were predicted."]  # fmt: skip
    return "\n".join(lines)


def _students(rows: list[dict[str, Any]]) -> str:
    """AUC of the student alone, by the number of rows it learned from."""
    curves: dict[str, dict[str, str]] = {}
    for row in rows:
        if "shots" in row:
            spread = "" if row["spread"] is None else f" ± {row['spread']:.3f}"
            name = f"{row['name']} ({row['seeds']} seeds, n {row['n']})"
            curves.setdefault(name, {})[row["shots"]] = f"{_figure(row['auc'])}{spread}"
    if not curves:
        return ""
    lines = [
        "**The student alone, by the number of rows it learned from** "
        "(test AUC under `honest`, mean ± standard deviation over seeds, of n questions). By the settings of "
        "`benchmarks/students.py` and the commits below: these compare with one another, not with the tables above",
        "",
        f"| student | {' | '.join(SHOTS)} |",
        f"|---|{'---|' * len(SHOTS)}",
        *(f"| {name} | {' | '.join(found.get(shots, '–') for shots in SHOTS)} |" for name, found in curves.items()),
    ]
    return "\n".join([*lines, "", _measured_by([row for row in rows if "shots" in row], "students.py")])


def _speed(rows: list[dict[str, Any]]) -> str:
    """What was timed side by side with something else; that for many rows has a table of its own."""
    rows = [row for row in rows if "latent_s" not in row]
    lines = [
        "**Speed and memory**, each measured in one run with what it is compared with",
        "",
        "| what | figure | compared with | figure | ratio |",
        "|---|---|---|---|---|",
        *(
            f"| {row['name']} | {row['value']:,g} {row['unit']} | {row['baseline']} | "
            f"{row['baseline_value']:,g} {row['unit']} | {row['ratio']:g} |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, "", _measured_by(rows, "training.py", "scoring.py", "client.py")])


def _scale(rows: list[dict[str, Any]]) -> str:
    """Windows and evidence of many made interactions, size by size."""
    sizes = sorted((row for row in rows if "latent_s" in row), key=lambda row: int(row["rows"]))
    if not sizes:
        return ""
    pairs = [*pairwise(sizes), (sizes[0], sizes[-1])]
    *steps, grown = (math.log(b["value"] / a["value"]) / math.log(b["rows"] / a["rows"]) for a, b in pairs)
    by_step = ", then ".join(f"{step:.2f}" for step in steps)
    lines = [
        "**Windows and evidence of many interactions**, made ones, three questions a user, on one core, size after "
        "size; the published way is a filter of the table per user and per question, extrapolated from 12 of each, "
        "which are timed once. From the "
        f"first size to the last, time grows as the interactions to the power of {grown:.2f} ({by_step}; 1 is linear)",
        "",
        "| interactions | users | items | windows and evidence | of that, windows | per interaction "
        "| the factorisation, beside it | memory at most | the published way | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sizes:
        memory = max(row["memory_mb"], row["latent_mb"]) / 1000
        lines.append(
            f"| {row['rows']:,} | {row['users']:,} | {row['items']:,} | {row['value']:,.0f} s "
            f"| {row['windows_s']:,.0f} s | {row['us_per_row']:.1f} us | {row['latent_s']:,.0f} s | {memory:.1f} GB "
            f"| {row['baseline_value']:,.0f} s | {row['ratio']:.0f} |"
        )
    return "\n".join([*lines, "", _measured_by(sizes, "scale.py")])


def _measured_by(rows: list[dict[str, Any]], *scripts: str) -> str:
    """Machine by machine: the days, and the commits in the order of them."""
    told = []
    for machine in sorted({str(row["machine"]) for row in rows}):
        found = sorted({(str(row["date"]), str(row["commit"])) for row in rows if row["machine"] == machine})
        days = " to ".join(dict.fromkeys((found[0][0], found[-1][0])))
        commits = list(dict.fromkeys(commit for _, commit in found))
        told.append(f"{machine}, {days}, {'commits' if commits[1:] else 'commit'} {', '.join(commits)}")
    return f"Measured by {', '.join(f'`benchmarks/{script}`' for script in scripts)} on: {'; '.join(told)}."


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mean(values: list[float]) -> str:
    """The mean, and of how many; "–" of none."""
    return f"{_figure(fmean(values))} ({len(values)})" if values else "–"


def _interval(row: dict[str, Any]) -> str:
    return f"**{_figure(row['auc'])}** [{_figure(row['auc_low'])}, {_figure(row['auc_high'])}]"


def _difference(row: dict[str, Any]) -> str:
    if row["diff"] is None:
        return "–"
    found, low, high = (round(row[name], 3) + 0.0 for name in ("diff", "diff_low", "diff_high"))  # 0.0: no minus zero
    return f"{found:+.3f} [{low:+.3f}, {high:+.3f}] against {row['versus']}"


def _added(row: dict[str, Any] | None) -> str:
    """What the whole has over the decision without the student: the reverse of that one's difference to the whole.

    In four digits: with three, an interval that holds zero can look as if it ended there.
    """
    if row is None or row["diff"] is None:
        return "–"
    added, low, high = (round(-row[name], 4) + 0.0 for name in ("diff", "diff_high", "diff_low"))
    return f"{added:+.4f} [{low:+.4f}, {high:+.4f}]"


def _percent(row: dict[str, Any] | None) -> str:
    return "–" if row is None or row["value"] is None else f"{100 * row['value']:.1f} %"


def write_readme() -> None:
    """Put the tables between the marks of README.md."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    write_readme()
