"""Measure decisions and explanations on real data: run each example under each protocol, keep the figures.

    python benchmarks/decisions.py [--only NAME[:PROTOCOL] ...] [--variants NAME ...] [--seeds N ...] [--runs FOLDER]
                                   [--keep-going] [--teacher FILE]

Needs the extras `student` and `baselines`, and REASONINGREC_DATA for all but demo; examples whose data are not there
are passed over and named. Runs are resumed where they stand, so the command can be stopped at any time and given
again, or be given parts of the plan. A variant is the same run with a part taken out, TALLRec's recipe, student and
baselines that learn from few shots, the trained baselines alone, or the zero-shot methods, which ask the model that the
file of --teacher names under [teacher] (beside it perhaps [prices], [budget], [baselines]); it also writes their texts.
Of a variant, the rows are kept that it changes. Baselines
read no texts, so under `paper` theirs are those of `honest`, and are kept once. Figures replace those of the same run
before, in benchmarks/results/decisions.jsonl and explanations.jsonl (explanations: of seed 0), each evaluation on a
test set is copied to looks.jsonl, and the tables in README.md and benchmarks/results/bench.md are made anew. The page
runs/bench.html puts all runs of the plan that are evaluated side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoningrec.baselines import prompted
from reasoningrec.config import read
from reasoningrec.data.load import fingerprint
from reasoningrec.errors import InputError
from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT
from reasoningrec.evaluation.results import Provenance, Row, decision_rows, explanation_rows
from reasoningrec.pipeline.looks import looks
from reasoningrec.pipeline.measure import read_evaluation
from reasoningrec.rows import line_of, write_jsonl
from reasoningrec.runs import Run

sys.path.insert(0, str(Path(__file__).parent))
from overview import write_overview
from table import RESULTS, ROOT, decision_mark, read_rows, reads_no_text, write_readme

PLAN = (
    ("demo", "honest"), ("beauty", "strict"), ("beauty", "honest"), ("fashion", "strict"), ("fashion", "honest"),
    ("ml-1m", "honest"), ("ml-100k", "strict"), ("ml-100k", "honest"), ("amazon-fashion-5core", "strict"),
    ("amazon-fashion-5core", "honest"), ("demo", "paper"), ("beauty", "paper"), ("fashion", "paper"),
    ("ml-1m", "paper"), ("amazon-fashion-5core", "paper"),
)  # fmt: skip
"""(dataset, protocol); the windows of ml-1m have no times, so `strict` is not to be had there. ml-100k has neither
reviews that could leak nor texts of the paper's authors, so there `paper` is `honest`, byte for byte; and so is
`strict` on demo, where no user does two things at one time."""
EXAMPLES = {(name, "paper"): f"{name}-paper" for name in ("beauty", "fashion", "ml-1m")}
"""Where the example has another name than the dataset: the authors' own descriptions and prompts."""
SEEDS = (0, 1, 2)
TRAINED = ["als", "mf", "sasrec", "caser", "gru4rec", "din"]
FEW, BESIDE = "few-shot", "baselines"
OWN_PROMPTS = {"texts": {"prompts": "cited"}}
"""Prompts with evidence, under every protocol; the examples of the paper's data have the paper's."""
ASKED = "zero-shot"
SHOTS_PUBLISHED = {f"published-{shots}": shots for shots in (64, 128, 256)}
BARE = "published-bare"
WITHOUT_PUBLISHED = {BARE: "descriptions", "published-no-profile": "profiles"}
AS_PUBLISHED = (*SHOTS_PUBLISHED, *WITHOUT_PUBLISHED)
TEXTS = ["attributes", "descriptions", "profiles", "evidence", "rationales"]
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"baselines": {"methods": TRAINED}},
    "no-description": {"without": ["descriptions"]},
    "no-profile": {"without": ["profiles"]},
    "no-evidence": {"without": ["evidence"]},
    "no-rationale": {"without": ["rationales"]},
    "tallrec": {
        "without": TEXTS,
        "texts": {"prompts": "paper"},
        "train": {"shots": 256, "order": "decision-only"},
        "predict": {"mode": "predict-only"},
    },
    **{name: {"texts": {"prompts": "paper"}, "train": {"shots": shots}} for name, shots in SHOTS_PUBLISHED.items()},
    **{
        name: {"texts": {"prompts": "paper"}, "train": {"shots": 256}, "without": [part]}
        for name, part in WITHOUT_PUBLISHED.items()
    },
    FEW: {"train": {"shots": 256}, "baselines": {"methods": TRAINED, "shots": 256}},
    ASKED: {
        "baselines": {"methods": [*prompted.METHODS]},
        "without": ["rationales"],
        "train": {"shots": 2},
        "predict": {"mode": "predict-only"},
    },
    BESIDE: {"baselines": {"methods": TRAINED}, "train": {"shots": 2}, "predict": {"mode": "predict-only"}},
}  # fmt: skip
"""What each changes of an example: nothing but the baselines beside it, an ablation, TALLRec's recipe (titles, Yes or
No, few shots), the published method (the paper's prompts and numbers of shots, under `paper` alone; and without
descriptions, to see what their leak gives it, or without profiles, as its authors ran it, too), the paper's largest
number of shots for student and baselines alike, a model asked untaught, or the whole's trained baselines measured again
without waiting for its student (not under `paper`, where they are those of `honest`). The whole has to be measured
again, too, where valid then chooses another baseline, which `versus` of the rows says, or where its opponent is one of
the trained: under `honest`, and with it under `paper`."""


@dataclass(frozen=True)
class Task:
    """One run of the plan."""

    dataset: str
    protocol: str
    seed: int
    variant: str = ""
    teacher: Path | None = None
    """Sections of a configuration for the model that the variant `ASKED` asks."""

    @property
    def example(self) -> Path:
        """The example that is run."""
        return ROOT / "examples" / f"{EXAMPLES.get((self.dataset, self.protocol), self.dataset)}.toml"

    def folder(self, runs: Path) -> Path:
        """Where the run stands."""
        parts = [self.dataset, self.protocol, *filter(None, [self.variant]), *([f"seed{self.seed}"] * bool(self.seed))]
        return runs / "-".join(parts)

    @property
    def meant(self) -> bool:
        """Whether the protocol has the variant: `paper` alone the published ones, and no baselines of its own."""
        return self.variant != BESIDE if self.protocol == "paper" else self.variant not in AS_PUBLISHED

    @property
    def explains(self) -> bool:
        """Whether its explanations are measured: those of the whole, of one seed."""
        return not self.variant and not self.seed

    def config(self, runs: Path) -> Path:
        """A copy of the example with the changes of the variant, among the runs; explanations cost half the time."""
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / f"{self.folder(runs).name}.toml"
        changed = merged(merged(tomllib.loads(self.example.read_text("utf-8")), OWN_PROMPTS), VARIANTS[self.variant])
        if self.teacher:
            changed = merged(changed, tomllib.loads(self.teacher.read_text("utf-8")))
        if not self.explains:
            changed = merged(changed, {"predict": {"explain": 1}})
        path.write_text(toml(changed), "utf-8")
        return path

    def missing(self) -> str:
        """Why it cannot be run here; "" where it can."""
        try:
            fingerprint(read(self.example).data)
        except InputError as error:
            return str(error).splitlines()[0]
        return ""


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`first` with what `second` says instead, section by section."""
    both = first | second
    return both | {name: first[name] | second[name] for name in first.keys() & second if isinstance(first[name], dict)}


def toml(config: dict[str, Any], above: tuple[str, ...] = ()) -> str:
    """A configuration as TOML, sections within sections too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in config.items() if not isinstance(value, dict)]
    lines = "".join(f"{line}\n" for line in plain)
    for name, values in config.items():
        if isinstance(values, dict):
            place = (*above, json.dumps(name))
            lines += f"[{'.'.join(place)}]\n{toml(values, place)}"
    return lines


def measure(task: Task, runs: Path) -> tuple[list[Row], list[Row]]:
    """Run one example to its report and return its rows. Raises CalledProcessError where the run fails."""
    folder = task.folder(runs)
    command = [sys.executable, "-m", "reasoningrec", "run", "--run", folder, task.config(runs)]
    command += ["--protocol", task.protocol, "--seed", task.seed]
    subprocess.run([str(part) for part in command], check=True)
    found = read_evaluation(folder)
    last = evaluated(folder)[-1:]  # of when it was measured: a run may have been done before
    if not last:
        sys.exit(f"{folder}: its looks.jsonl names no evaluation; delete its evaluate.json and give the command again")
    here, then = commit(), str(last[0]["commit"])
    provenance = Provenance(here if here.startswith(then) else then, str(last[0]["date"])[:10], machine())
    run = Run.read(folder)
    shots = int(run.require("train").counts["rows"])
    keep_looks(folder)
    mark, prompt = decision_mark(run.require("predict").fields["decision"]), run.require("train").fields["prompt"]
    kept = {"decision": mark, "prompt": str(prompt)[:12]}
    rows = [{**row, **kept} for row in decision_rows(found, provenance, shots)]
    if task.variant in (BESIDE, ASKED):
        own = TRAINED if task.variant == BESIDE else prompted.METHODS
        model = {"model": read(task.config(runs)).teacher.model} if task.variant == ASKED else {}
        return [{**row, **model} for row in rows if row["method"] in own], []
    if task.variant:
        named = [renamed(row, task.variant) for row in rows]
        rows = [{**row, "shots": shots} for row in named if row["method"]]
    if task.protocol == "paper":  # the tables take baselines' from `honest`: see table.read_decisions
        rows = [row for row in rows if not reads_no_text(row)]
    return rows, explanation_rows(found, provenance) if task.explains else []


def renamed(row: Row, variant: str) -> Row:
    """A row of a variant under its method's name in the tables, "" where it is not kept.

    Of the published method, that is its student's. Of few shots, all are kept that learn from them, with their
    opponent's name: the fused decision's evidence learns from every row all the same. The others have no opponent:
    beside them valid chooses among plain statistics alone, and so another one than the whole's.
    """
    method, versus = str(row["method"]), row["versus"]
    if variant == FEW:
        name = "" if method in (FUSED, NO_STUDENT) else f"{variant}-{method}"
        return {**row, "method": name, "versus": versus and f"{variant}-{versus}"}
    row = {name: None if name == "versus" or "diff" in name else value for name, value in row.items()}
    if variant in AS_PUBLISHED:
        return {**row, "method": variant if method == STUDENT else ""}
    return {**row, "method": {FUSED: variant, STUDENT: f"{variant}-{STUDENT}"}.get(method, "")}


def evaluated(folder: Path) -> list[Row]:
    """The run's looks at its test set when it was evaluated; the page of all runs looks again each time it is made."""
    return [look for look in looks(folder) if look.get("by", "evaluate") == "evaluate"]


def keep_looks(folder: Path) -> None:
    """Append the run's evaluations that are not kept yet, without the place of the runs; nothing goes."""
    kept = read_rows(RESULTS / "looks.jsonl")
    plain = [{**row, "command": str(row["command"]).replace(str(folder.parent), "runs")} for row in evaluated(folder)]
    fresh = [row for row in plain if row not in kept]
    with (RESULTS / "looks.jsonl").open("ab") as file:
        file.writelines(line_of(row) for row in fresh)


def commit() -> str:
    """The commit measured; "+" marks changes that are not committed."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain", "src"], check=True, capture_output=True, text=True).stdout
    return head.strip() + ("+" if dirty.strip() else "")


def machine(cpuinfo: str | None = None) -> str:
    """Processor, cores, Python, of /proc/cpuinfo where `cpuinfo` is not given.

    Family, model and widest vectors are part of it: two machines that call their processor by one name may compute
    differently in the last bits, which moves a student as another seed does.
    """
    path = Path("/proc/cpuinfo")
    text = cpuinfo if cpuinfo is not None else path.read_text() if path.exists() else ""
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    flags = told.get("flags", "").split()
    vectors = ["AVX-512" if "avx512f" in flags else "AVX2"] * ("avx2" in flags)
    kind = ", ".join([f"family {told.get('cpu family')}", f"model {told.get('model')}", *vectors])
    name = f"{told['model name']} ({kind})" if "model name" in told else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def replace_rows(path: Path, fresh: list[Row]) -> None:
    """Put `fresh` in the place of rows of the same datasets, protocols, seeds and variants."""
    keys = {_key(row) for row in fresh}
    kept = [row for row in read_rows(path) if _key(row) not in keys]
    order = {pair: place for place, pair in enumerate(PLAN)}

    def place(row: Row) -> tuple[int, int]:
        return order.get((str(row["dataset"]), str(row["protocol"])), len(order)), int(row["seed"] or 0)

    write_jsonl(path, sorted([*kept, *fresh], key=place))


def _key(row: Row) -> tuple[object, ...]:
    method = str(row.get("method", ""))
    variant = BESIDE if method in TRAINED else next((name for name in VARIANTS if name and method.startswith(name)), "")
    return row["dataset"], row["protocol"], row["seed"], variant


def side_by_side(tasks: list[Task], runs: Path) -> None:
    """Write runs/bench.html and runs/bench.md from the runs of the plan that are evaluated."""
    done = [task.folder(runs) for task in tasks if (task.folder(runs) / "evaluate.json").exists()]
    if done:
        command = [sys.executable, "-m", "reasoningrec", "compare", *done]
        command += ["--html", runs / "bench.html", "--markdown", runs / "bench.md"]
        code = subprocess.run([str(part) for part in command], check=False, stdout=subprocess.DEVNULL).returncode
        said = "no page" if code else f"wrote {runs / 'bench.html'}"  # compare has said which run is half redone
        print(f"{said}: {len(done)} runs side by side")


def folder(text: str) -> Path:
    """A folder that exists or can be made. Raises ArgumentTypeError, which argparse tells the user."""
    path = Path(text)
    blocked = next((above for above in (path, *path.parents) if above.exists() and not above.is_dir()), None)
    if blocked or not text:
        raise argparse.ArgumentTypeError(f"{blocked or 'nothing'}: is no folder")
    return path


def teaching(text: str) -> Path:
    """A TOML file with a section [teacher]. Raises ArgumentTypeError, which argparse tells the user."""
    path = Path(text)
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: cannot be read as TOML ({error})") from None
    if not isinstance(found.get("teacher"), dict):
        raise argparse.ArgumentTypeError(f"{path}: has no section [teacher]")
    return path


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure decisions and explanations on real data.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME[:PROTOCOL]",
                        help="parts of the plan; without it, all")  # fmt: skip
    parser.add_argument("--variants", nargs="+", default=[""], choices=list(VARIANTS), metavar="NAME",
                        help=f"{', '.join(filter(None, VARIANTS))}; '' = the whole, with all baselines")  # fmt: skip
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0], choices=SEEDS, metavar="N", help="0 1 2 for the whole bench"
    )
    parser.add_argument("--runs", type=folder, default=ROOT / "runs", help="where the runs stand, or will")
    parser.add_argument("--teacher", type=teaching, metavar="FILE", help=f"[teacher] of the variant {ASKED}, as TOML")
    parser.add_argument("--keep-going", action="store_true", help="go on with the rest where a run fails")
    asked = parser.parse_args()
    known = {name for pair in PLAN for name in (pair[0], ":".join(pair))}
    if strange := sorted(set(asked.only) - known):
        parser.error(f"--only: not in the plan: {', '.join(strange)}; known: {', '.join(sorted(known))}")
    plan = [pair for pair in PLAN if not asked.only or pair[0] in asked.only or ":".join(pair) in asked.only]
    if (ASKED in asked.variants) != bool(asked.teacher):
        parser.error(f"--teacher FILE goes with --variants {ASKED}, and the other way round")
    teacher = {ASKED: asked.teacher}
    asked_for = [
        Task(*pair, seed, variant, teacher.get(variant))
        for variant in asked.variants
        for seed in asked.seeds
        for pair in plan
    ]
    tasks = [task for task in asked_for if task.meant]
    if not tasks:
        parser.error(
            f"--variants: {BESIDE} of `paper` are those of `honest`, measured there; {AS_PUBLISHED[0]} and its like "
            "are of `paper` alone"
        )
    failed = [task for task in here(tasks) if not _do(task, asked.runs, asked.keep_going)]
    side_by_side([Task(*pair, seed) for pair in PLAN for seed in SEEDS], asked.runs)
    if failed:
        sys.exit(
            f"not measured: {', '.join(f'{t.dataset}:{t.protocol} seed {t.seed} {t.variant}'.rstrip() for t in failed)}"
        )


def here(tasks: list[Task]) -> list[Task]:
    """Those whose data are here; the others are named. Ends the script where there are none."""
    why = {task: task.missing() for task in tasks}
    for dataset, says in dict.fromkeys((task.dataset, says) for task, says in why.items() if says):
        print(f"{dataset}: not here: {says}")
    found = [task for task in tasks if not why[task]]
    if not found:
        sys.exit("nothing measured: none of these data are here; REASONINGREC_DATA names the folder that holds them")
    return found


def _do(task: Task, runs: Path, keep_going: bool) -> bool:
    print(f"== {task.dataset}, {task.protocol}, seed {task.seed} {task.variant}".rstrip(), flush=True)
    try:
        decisions, explanations = measure(task, runs)
    except subprocess.CalledProcessError:
        if not keep_going:
            sys.exit(f"{task.folder(runs)}: failed, for the reason above; the same command goes on from there")
        return False
    replace_rows(RESULTS / "decisions.jsonl", decisions)
    replace_rows(RESULTS / "explanations.jsonl", explanations)
    write_readme()
    write_overview()
    return True


if __name__ == "__main__":
    main()
