"""The README's figures are those of benchmarks/results/, and those are complete."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from making import demo_line
from reasoningrec import read_config
from reasoningrec.baselines import prompted
from reasoningrec.config import SplitConfig
from reasoningrec.data.split import split
from reasoningrec.evaluation.leak import Figure
from reasoningrec.pipeline.audit import Against, Audit, Gain
from reasoningrec.ranking import fuse
from reasoningrec.ranking.fuse import NUMBERS
from reasoningrec.rows import write_jsonl
from scripts import load

ROOT = Path(__file__).resolve().parent.parent
FIELDS = {
    "dataset", "protocol", "method", "shots", "seed", "n", "positives", "auc", "auc_low", "auc_high", "log_loss",
    "brier", "ece", "ece_floor", "invalid", "subset", "time", "versus", "diff", "diff_low", "diff_high", "commit",
    "date", "machine",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return load("table")


def test_readme_agrees_with_the_results(table: ModuleType) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shown = text.split(table.BEGIN)[1].split(table.END)[0].strip()
    assert shown == table.tables().strip(), "run `python benchmarks/table.py`"


def test_every_row_has_its_provenance(table: ModuleType) -> None:
    rows = table.read_rows(table.RESULTS / "decisions.jsonl")
    assert rows
    assert all(row.keys() >= FIELDS for row in rows)
    assert all(row["commit"] and row["date"] and row["machine"] for row in rows)


def test_every_dataset_is_there_under_each_protocol_it_allows(table: ModuleType) -> None:
    rows = table.read_rows(table.RESULTS / "decisions.jsonl")
    found = {(row["dataset"], row["protocol"], row["subset"]) for row in rows}
    wanted = {(name, "honest", "all") for name in table.DATASETS}
    wanted |= {(name, "strict", "distinct") for name in table.DATASETS if name not in ("ml-1m", "demo")}
    assert wanted <= found


def test_a_changed_figure_is_noticed(table: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = table.read_rows

    def changed(path: Path) -> list[dict[str, object]]:
        rows = real(path)
        return [row | {"auc": 0.123} if "auc" in row else row for row in rows]

    before = table.tables()
    monkeypatch.setattr(table, "read_rows", changed)
    assert table.tables() != before


def test_the_overview_agrees_with_the_results(table: ModuleType) -> None:
    overview = load("overview")
    assert overview.OVERVIEW.read_text("utf-8") == overview.overview(), "run `python benchmarks/overview.py`"
    assert overview.PICTURE.read_text("utf-8") == overview.picture(), "run `python benchmarks/overview.py`"


def test_the_overview_has_a_row_for_every_system_and_says_why_cells_are_blank(table: ModuleType) -> None:
    overview = load("overview")
    *sections, audits, looks = overview.overview().split("\n## ")[1:]
    assert (audits.split("\n")[0], looks.split("\n")[0]) == ("Audits", "Looks")
    assert len(sections) == len(overview.READINGS)
    for section in sections:
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert len(rows) >= len(overview.SYSTEMS)
        for row in rows:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert ("" in cells[1:-1] or len(cells) == 2) == bool(cells[-1]), row


def test_seeds_are_averaged_in_the_overview(table: ModuleType) -> None:
    overview = load("overview")
    rows = [{"method": "mf", "auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.1} for auc in (0.7, 0.8)]
    assert overview._cell(rows, 0.9) == "0.750 [0.650, 0.850] ± 0.071"
    assert overview._cell(rows[:1], 0.7) == "**0.700** [0.600, 0.800]"


def test_figures_of_an_earlier_decision_are_marked_and_not_compared(table: ModuleType) -> None:
    overview = load("overview")
    today = {"decision": table.decision_mark(fuse.settings())}
    plain = {"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "seed": 0}
    whole, part = ({**plain, "method": method, "auc": auc} for method, auc in (("reasoningrec", 0.7), ("tallrec", 0.6)))
    assert overview._cell([{**whole, **today}], 0.9) == "0.700 [0.600, 0.800]"
    for old in (whole, {**whole, "decision": "other"}):
        assert overview._cell([old], 0.9) == "0.700 [0.600, 0.800] †"
    assert not table.is_outdated({**plain, "method": "mf"})
    assert table._moves([whole, part]) == table._moves([{**whole, **today}, {**part, **today}]) == pytest.approx(0.1)
    assert table._moves([{**whole, **today}, part]) is None


def test_a_part_taken_out_is_held_against_the_same_seeds(table: ModuleType) -> None:
    def rows(aucs: dict[int, float], machine: str = "one", **more: str) -> list[dict[str, object]]:
        row = {"method": "no-profile-student", "machine": machine, **more}
        return [{**row, "seed": seed, "auc": auc} for seed, auc in aucs.items()]

    whole = rows({0: 0.7, 1: 0.8, 2: 0.9})
    assert table._gained(rows({1: 0.7}), whole) == "-0.100 (1)"
    assert table._gained(rows({0: 0.8, 2: 0.9, 3: 0.1}), whole) == "+0.050 ± 0.071 (2)"
    assert table._gained([], whole) == "–"
    assert table._gained(rows({1: 0.7}, machine="other"), whole) == "-0.100 (1) ‡"


def test_in_hindsight_a_baseline_of_few_shots_counts_and_a_student_does_not(table: ModuleType) -> None:
    aucs = {"reasoningrec": 0.7, "student": 0.9, "few-shot-student": 0.8, "logistic": 0.69, "few-shot-boosting": 0.71}
    rows = [{"method": method, "seed": 0, "auc": auc} for method, auc in aucs.items()]
    assert table._hindsight(rows) == "-0.010 (few-shot-boosting)"
    more = [{"method": "reasoningrec", "seed": 1, "auc": 0.9}]
    assert table._hindsight([*rows, *more]) == "–"  # none was measured by both seeds
    more += [{"method": "logistic", "seed": 1, "auc": 0.81}, {"method": "din", "seed": 1, "auc": 0.99}]
    assert table._hindsight([*rows, *more]) == "+0.050 (logistic)"
    more += [{"method": "tallrec-student", "seed": seed, "auc": 0.85} for seed in (0, 1)]  # somebody else's recipe
    assert table._hindsight([*rows, *more]) == "-0.050 (tallrec-student)"


def test_calibration_is_a_mean_over_seeds_beside_the_lowest_brier_score_of_a_baseline(table: ModuleType) -> None:
    plain = {"dataset": "demo", "protocol": "honest", "subset": "all", "n": 10, "positives": 4, "ece": 0.04}
    scores = (
        ("reasoningrec", 0, 0.2), ("reasoningrec", 1, 0.3), ("student", 0, 0.1), ("few-shot-student", 0, 0.1),
        ("logistic", 0, 0.2), ("logistic", 1, 0.24), ("mf", 0, 0.23),
    )  # fmt: skip
    rows = [
        {**plain, "method": method, "seed": seed, "ece_floor": 0.01 * (1 + seed), "brier": score}
        for method, seed, score in scores
    ]
    rows[1]["threshold"] = 0.55
    assert table._calibration(rows).splitlines()[-1] == (
        "| demo | honest | 10 | 4 | 0.040 | 0.015 | 0.2500 | 0.2200 (logistic) | –, 0.550 |"
    )


def test_the_true_reasons_of_demo_are_read_under_honest(table: ModuleType) -> None:
    measures = [*dict(table.MEASURES), "true_reason_first", "true_reason_among"]
    rows = [
        {"dataset": "demo", "protocol": protocol, "measure": measure, "value": value, "n": 10}
        for protocol, value in (("honest", 0.5), ("paper", 0.25))
        for measure in measures
    ]
    assert "cited first in 50.0 % and cited at all in 50.0 % of the 10 likes" in table._explanations(rows, [])


def test_rows_of_another_seed_are_kept(tmp_path: Path) -> None:
    decisions = load("decisions")
    path = tmp_path / "rows.jsonl"
    first = [{"dataset": "demo", "protocol": "honest", "seed": seed, "auc": 0.5} for seed in (0, 1)]
    decisions.replace_rows(path, first)
    decisions.replace_rows(path, [{**first[1], "auc": 0.6}])
    assert [(row["seed"], row["auc"]) for row in decisions.read_rows(path)] == [(0, 0.5), (1, 0.6)]


def named(folder: Path) -> Path:
    """A file that names a teacher."""
    path = folder / "teacher.toml"
    teacher = '[teacher]\nendpoint = "http://127.0.0.1:1/v1"\nmodel = "a/b.c"\n'
    path.write_text(f'{teacher}[prices."a/b.c"]\ninput = 1.5\noutput = 2.0\n', "utf-8")
    return path


def test_a_variant_is_the_example_with_its_changes_and_has_rows_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = load("decisions")
    monkeypatch.setenv("REASONINGREC_DATA", str(tmp_path))
    for dataset, protocol in decisions.PLAN:
        plain = read_config(decisions.Task(dataset, protocol, 0).example)
        for variant in decisions.VARIANTS:
            teacher = named(tmp_path) if variant == decisions.ASKED else None
            made = read_config(decisions.Task(dataset, protocol, 0, variant, teacher).config(tmp_path / "runs"))
            assert (made.data, made.split, made.train.epochs) == (plain.data, plain.split, plain.train.epochs)
            assert made != plain
            whole = {"", decisions.FEW, decisions.BESIDE, *decisions.AS_PUBLISHED} - {*decisions.WITHOUT_PUBLISHED}
            assert bool(made.without) == (variant not in whole)
            assert (made.predict.explain == plain.predict.explain) == (not variant)
    path = tmp_path / "rows.jsonl"
    row = {"dataset": "demo", "protocol": "honest", "seed": 0, "auc": 0.5}
    for methods in (
        ("reasoningrec", "no-student"), ("no-evidence", "no-evidence-student"), ("few-shot-student", "few-shot-als"),
        ("few-shot-student",), ("mf", "als"), ("reasoningrec",), ("als",),
    ):  # fmt: skip
        decisions.replace_rows(path, [{**row, "method": method} for method in methods])
    left = [found["method"] for found in decisions.read_rows(path)]
    assert left == ["no-evidence", "no-evidence-student", "few-shot-student", "reasoningrec", "als"]


def test_baselines_are_asked_by_paper_what_honest_asks_and_are_kept_once(
    table: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decisions = load("decisions")
    monkeypatch.setenv("REASONINGREC_DATA", str(tmp_path))
    for dataset, protocol in decisions.PLAN:
        honest, other = (read_config(decisions.Task(dataset, name, 0).example) for name in ("honest", protocol))
        data = other.data.model_copy(update={"given_texts": honest.data.given_texts})
        assert (data, other.split, other.evidence, other.baselines) == (
            honest.data, honest.split, honest.evidence, honest.baselines,
        )  # fmt: skip
    kept = table.read_rows(table.RESULTS / "decisions.jsonl")
    assert not [row for row in kept if row["protocol"] == "paper" and table.reads_no_text(row)]
    shown = table.read_decisions()
    assert shown[: len(kept)] == kept
    names = ("dataset", "protocol", "seed", "subset", "method")
    found = [tuple(row[name] for name in names) for row in shown]
    assert len(set(found)) == len(found)
    assert ("beauty", "paper", 2, "distinct", "few-shot-din") in found
    assert {row[0] for row in found if row[1] == "paper"} == {name for name, how in decisions.PLAN if how == "paper"}


def test_machines_of_one_name_are_told_apart() -> None:
    machine = load("decisions").machine
    lines = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: {}\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2{}\n"
    assert machine(lines.format(1, "")).startswith("AMD EPYC (family 25, model 1, AVX2), ")
    assert machine(lines.format(17, " avx512f")).startswith("AMD EPYC (family 25, model 17, AVX-512), ")
    assert machine("").startswith(f"{platform.machine()}, ")


def test_trained_baselines_alone_are_not_measured_under_paper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = load("decisions")
    monkeypatch.setattr(sys, "argv", ["decisions", "--only", "demo:paper", "--variants", decisions.BESIDE])
    with pytest.raises(SystemExit) as stopped:
        decisions.main()
    assert stopped.value.code == 2
    assert "--variants: baselines of `paper` are those of `honest`" in capsys.readouterr().err


def test_the_published_method_is_measured_under_paper_alone_and_ours_never_by_its_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = load("decisions")
    monkeypatch.setenv("REASONINGREC_DATA", str(tmp_path))
    tasks = [
        decisions.Task("beauty", protocol, 0, variant, named(tmp_path) if variant == decisions.ASKED else None)
        for protocol in ("honest", "paper")
        for variant in decisions.VARIANTS
    ]
    asked = {
        (task.protocol, task.variant): read_config(task.config(tmp_path)).texts.prompts for task in tasks if task.meant
    }
    published = {("paper", variant) for variant in decisions.AS_PUBLISHED}
    assert {task for task, prompts in asked.items() if prompts == "paper"} == published | {
        ("honest", "tallrec"), ("paper", "tallrec"),
    }  # fmt: skip
    assert published < asked.keys()
    assert not any(protocol == "honest" and variant in decisions.AS_PUBLISHED for protocol, variant in asked)
    assert ("paper", decisions.BESIDE) not in asked


def test_a_model_is_asked_untaught_where_a_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = load("decisions")
    teacher = named(tmp_path)
    made = read_config(decisions.Task("demo", "honest", 0, decisions.ASKED, teacher).config(tmp_path))
    assert (made.teacher.model, made.prices["a/b.c"].input) == ("a/b.c", 1.5)
    assert made.baselines.methods == tuple(prompted.METHODS)
    (tmp_path / "none.toml").write_text("[prices]\n")
    for flags, said in (
        (["--variants", decisions.ASKED], "--teacher FILE goes with --variants zero-shot"),
        (["--teacher", str(teacher)], "--teacher FILE goes with --variants zero-shot"),
        (["--variants", decisions.ASKED, "--teacher", str(tmp_path / "none.toml")], "has no section [teacher]"),
        (["--variants", decisions.ASKED, "--teacher", str(tmp_path / "gone.toml")], "gone.toml: cannot be read"),
    ):
        monkeypatch.setattr(sys, "argv", ["decisions", "--only", "demo:honest", *flags])
        with pytest.raises(SystemExit) as stopped:
            decisions.main()
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


def test_of_a_variant_those_methods_are_kept_that_it_changes() -> None:
    decisions = load("decisions")
    methods = ("reasoningrec", "student", "no-student", "user-share", "logistic", "als")
    rows = [{"method": method, "versus": None if method == "logistic" else "logistic"} for method in methods]
    kept = {name: [decisions.renamed(row, name) for row in rows] for name in ("tallrec", decisions.FEW)}
    assert [row["method"] for row in kept["tallrec"]] == ["tallrec", "tallrec-student", "", "", "", ""]
    assert [decisions.renamed(row, "published-64")["method"] for row in rows] == ["", "published-64", *[""] * 4]
    assert [row["method"] for row in kept[decisions.FEW]] == [
        "", "few-shot-student", "", "few-shot-user-share", "few-shot-logistic", "few-shot-als",
    ]  # fmt: skip


def test_a_row_of_few_shots_is_held_against_one_of_few_shots() -> None:
    decisions = load("decisions")
    rows = [{"method": name, "versus": versus} for name, versus in (("student", "logistic"), ("logistic", None))]
    assert [decisions.renamed(row, decisions.FEW)["versus"] for row in rows] == ["few-shot-logistic", None]
    assert [decisions.renamed(row, "no-evidence")["versus"] for row in rows] == [None, None]
    kept = [row for row in decisions.read_rows(decisions.RESULTS / "decisions.jsonl") if row["versus"]]
    few = {row["method"].startswith("few-shot") for row in kept if row["versus"].startswith("few-shot")}
    assert few == {True}
    assert all(row["versus"].startswith("few-shot") for row in kept if row["method"].startswith("few-shot"))


def test_a_difference_is_to_the_opponent_that_is_named(table: ModuleType) -> None:
    rows = table.read_decisions()
    names = ("dataset", "protocol", "subset", "seed")
    auc = {(*(row[name] for name in names), row["method"]): row["auc"] for row in rows}
    held = 0
    for row in rows:
        other = auc.get((*(row[name] for name in names), row["versus"]))
        if other is not None and row["diff"] is not None:
            # Under `paper` the opponent is that of `honest`, which another machine may have measured.
            near = 1e-3 if row["protocol"] == "paper" else 2e-6
            assert row["auc"] - other == pytest.approx(row["diff"], abs=near)
            held += 1
    assert held > 1_500


def test_the_opponent_under_paper_is_the_one_under_honest(table: ModuleType) -> None:
    names = ("dataset", "subset", "seed")
    fused = [row for row in table.read_decisions() if row["method"] == "reasoningrec"]
    honest, paper = (
        {tuple(row[name] for name in names): row["versus"] for row in fused if row["protocol"] == protocol}
        for protocol in ("honest", "paper")
    )
    assert paper
    assert paper == {place: honest[place] for place in paper}


def test_every_run_of_the_plan_has_its_example() -> None:
    decisions = load("decisions")
    folders = set()
    for dataset, protocol in decisions.PLAN:
        for seed in decisions.SEEDS:
            task = decisions.Task(dataset, protocol, seed)
            assert task.example.exists()
            assert dataset in load("table").DATASETS
            folders.add(task.folder(Path("runs")))
    assert len(folders) == len(decisions.PLAN) * len(decisions.SEEDS)


def test_data_that_are_not_here_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    decisions = load("decisions")
    monkeypatch.setenv("REASONINGREC_DATA", str(tmp_path))
    assert "fashion" in decisions.Task("fashion", "honest", 0).missing()
    assert decisions.Task("demo", "honest", 0).missing() == ""


@pytest.mark.parametrize("script", ["decisions", "audit"])
@pytest.mark.parametrize("runs", ["file", "file/runs", ""])
def test_runs_that_can_be_no_folder_are_refused(
    script: str, runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(script)
    (tmp_path / "file").write_text("", "utf-8")
    place = str(tmp_path / runs) if runs else ""
    monkeypatch.setattr(sys, "argv", [script, "--only", "demo:honest", "--runs", place])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert f"--runs: {tmp_path / 'file' if runs else 'nothing'}: is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["decisions", "audit"])
def test_where_no_data_are_here_nothing_is_called_done(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(script)
    monkeypatch.setenv("REASONINGREC_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [script, "--only", "fashion", "--runs", str(tmp_path / "runs")])
    with pytest.raises(SystemExit, match="nothing measured"):
        module.main()
    assert capsys.readouterr().out.startswith("fashion: not here: ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("script", ["decisions", "audit"])
def test_a_run_that_fails_is_named(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(script)
    runs = tmp_path / "runs"
    for name in ("demo-honest", "demo-honest-texts"):
        (runs / name).mkdir(parents=True)
        (runs / name / "letters.txt").write_text("not a run's", "utf-8")
    monkeypatch.setattr(sys, "argv", [script, "--only", "demo:honest", "--runs", str(runs)])
    with pytest.raises(SystemExit, match=r"demo-honest.*: failed, for the reason above"):
        module.main()


def test_every_audited_run_has_its_line() -> None:
    overview = load("overview")
    place = {"dataset": "demo", "protocol": "paper"}
    rows = [
        {**place, "measure": "check times", "ruling": "passed", "value": 0, "n": 10},
        {**place, "measure": "check sources", "ruling": "found", "value": 3, "n": 1000},
        {**place, "measure": "check overlap", "ruling": "not provable", "value": 0, "n": 5},
        {**place, "measure": "target text", "value": 0.5, "low": 0.4, "high": 0.6},
        {**place, "measure": "gain from the description", "value": -0.0001, "low": -0.1, "high": 0.1},
        {**place, "measure": "gain of logistic", "value": 0.0, "low": 0.0, "high": 0.0},
        {**place, "measure": "gain of student", "value": 0.02, "low": -0.01, "high": 0.05},
    ]
    *_, line = overview._audits(rows).splitlines()
    assert line.startswith("| demo | paper | 1 of 3 | `sources` (3 of 1,000) | `overlap` | 0.500 [0.400, 0.600] | ")
    assert line.endswith(" | +0.000 [-0.100, +0.100] | +0.020 [-0.010, +0.050] |  |")
    *_, line = overview._audits(rows[:-2]).splitlines()
    assert line.endswith(" | +0.000 [-0.100, +0.100] |  |  |")
    published = {**place, "measure": "gain of published-256", "value": 0.05, "low": 0.01, "high": 0.09}
    *_, line = overview._audits([*rows, published]).splitlines()
    assert line.endswith(" | +0.020 [-0.010, +0.050] | +0.050 [+0.010, +0.090] |")


def test_what_the_descriptions_bring_is_what_a_run_without_them_has_less() -> None:
    audit = load("audit")
    here, there = Figure("here", 40, 20, 0.8, 0.7, 0.9), Figure("there", 40, 20, 0.75, 0.6, 0.9)
    less = Figure("there minus here", 40, 20, -0.05, -0.1, 0.02)
    bare = Against("runs/bare", "paper", (), (Gain("student", here.value, there.value, less),))
    (row,) = audit.rows(Audit("runs/whole", "demo", "paper", (), "settings", (here,) * 3, (bare,)))[3:]
    assert (row["measure"], row["value"], row["low"], row["high"]) == ("gain of student", 0.05, -0.02, 0.1)
    assert (row["with"], row["without"], row["n"]) == (0.8, 0.75, 40)


def test_looks_are_counted_by_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overview = load("overview")
    looked: list[tuple[str, str, str, int | None]] = [
        *(("evaluate", "beauty", protocol, None) for protocol in ("strict", "strict", "paper")),
        ("users", "beauty", "strict", 5), ("users", "fashion", "strict", 1), ("students", "fashion", "honest", 3),
        ("audit", "beauty", "paper", 1), ("within", "ml-100k", "strict", 1), ("within", "ml-100k", "honest", 1),
    ]  # fmt: skip
    rows = [
        {"by": by, "dataset": name, "protocol": protocol, **({"times": times} if times else {})}
        for by, name, protocol, times in looked
    ]
    write_jsonl(tmp_path / "looks.jsonl", rows)
    monkeypatch.setattr(overview, "RESULTS", tmp_path)
    lines = overview._looks().splitlines()
    assert "| beauty | 2 | 0 | 1 | 5 | 1 | 0 | 9 |" in lines
    assert "| fashion | 0 | 0 | 0 | 4 | 0 | 0 | 4 |" in lines
    assert "| ml-100k | 0 | 0 | 0 | 0 | 0 | 2 | 2 |" in lines
    assert "| demo | 0 | 0 | 0 | 0 | 0 | 0 | 0 |" in lines


def test_on_the_made_shop_strict_is_honest() -> None:
    line = demo_line(400)
    honest, strict = (split(line.timeline, line.split, protocol) for protocol in ("honest", "strict"))
    assert honest.equals(strict)


def test_the_leak_of_the_authors_descriptions_has_a_figure_and_honest_runs_pass(table: ModuleType) -> None:
    rows = table.read_rows(table.RESULTS / "audit.jsonl")
    found = {(row["dataset"], row["protocol"], row["measure"]): row for row in rows}
    for dataset in ("fashion", "beauty"):
        gain = found[dataset, "paper", "gain from the description"]
        assert gain["low"] <= gain["value"] <= gain["high"]
    checks = [row for row in rows if row["measure"].startswith("check") and row["protocol"] in ("honest", "strict")]
    assert checks
    assert all(row["ruling"] != "found" for row in checks)
    assert found["demo", "paper", "check sources"]["ruling"] == "found"
    assert all(row["commit"] and row["date"] and row["machine"] for row in rows)


def test_the_page_on_the_audit_has_the_measured_figures(table: ModuleType) -> None:
    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    rows = table.read_rows(table.RESULTS / "audit.jsonl")
    for row in rows:
        named = row["protocol"] == "paper" or (row["protocol"] == "honest" and not row["dataset"].startswith("ml-"))
        if named and "ruling" not in row:
            ours = row["measure"] in ("gain of student", "gain of reasoningrec", "gain of published-256")
            if row["measure"].startswith("gain of ") and not (ours and row["low"] < row["high"]):
                assert (row["value"], row["low"], row["high"]) == (0.0, 0.0, 0.0)  # reads no text, or trusts no student
                continue
            sign = "+" if row["measure"].startswith("gain") else ""
            rounded = (round(row[name], 3) + 0.0 for name in ("value", "low", "high"))
            value, low, high = (f"{figure:{sign}.3f}".replace("-", "−") for figure in rounded)
            assert f"{value} [{low}, {high}]" in text.replace("\n", " ")


def test_the_page_on_evaluation_has_the_figures_within_users(table: ModuleType) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text("utf-8").replace("*", "")
    said = {
        "reasoningrec": "ReasoningRec, without the student", "logistic": "logistic regression",
        "boosting": "boosted trees", "item-share": "share of likes of the item", "user-item-share": "both shares",
        "popularity": "popularity", "user-share": "share of likes of the user",
    }  # fmt: skip
    within = load("within")
    rows = table.read_rows(table.RESULTS / "within.jsonl")
    found = {(row["method"], row["past"], row["protocol"]): row for row in rows}
    for method, name in said.items():
        growing, fixed = ([found[method, past, protocol] for protocol in within.PROTOCOLS] for past in within.PASTS)
        plain = " / ".join(f"{row['within']:.3f}" for row in growing)
        full = " / ".join(f"{row['within']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in fixed)
        flat = full.replace(" [0.500, 0.500]", "")
        gaps = " / ".join(f"{row['ours']:+.3f} [{row['ours_low']:+.3f}, {row['ours_high']:+.3f}]" for row in fixed)
        assert f"| {name} | {plain} | {flat} | {gaps if method != within.OURS else ''} |" in text
    lows = [row["ours_low"] for row in rows if row["past"] == within.PASTS[1] and row["method"] != within.OURS]
    assert ("every interval of a difference above zero" in text.replace("\n", " ")) == (min(lows) > 0)


def test_the_page_on_experiments_has_what_each_kind_of_number_brings(table: ModuleType) -> None:
    without = load("without")
    lines = (ROOT / "docs" / "experiments.md").read_text("utf-8").splitlines()
    rows = {row["name"]: row for row in table.read_rows(table.RESULTS / "without.jsonl")}
    order = [f"{name}-{protocol}" for protocol in ("strict", "honest") for name in ("fashion", "beauty", "ml-100k")]
    shown = [rows[name] for name in (*order, "demo-honest")]
    whole = " | ".join(f"{row['whole']:.3f}" for row in shown)
    assert f"| nothing: the whole | {whole} |" in lines
    for kind in list(without.KINDS)[1:]:
        values = [round(row["without"][kind], 3) + 0.0 for row in shown]
        said = [f"{value:+.3f}".replace("-", "−") if value else "0.000" for value in values]
        assert f"| {kind} | {' | '.join(said)} |" in lines
    assert {name for names in without.KINDS.values() for name in names} <= {*NUMBERS}


def test_the_page_on_experiments_has_the_squared_errors(table: ModuleType) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    rows = {row["name"]: row for row in table.read_rows(table.RESULTS / "brier.jsonl")}
    order = [f"{name}-strict" for name in ("fashion", "beauty", "ml-100k")]
    order += [f"{name}-honest" for name in ("fashion", "beauty", "amazon-fashion-5core", "ml-100k", "demo")]
    for said in rows[order[0]]["brier"]:
        shown = " | ".join(f"{rows[name]['brier'][said]:.4f}" for name in order)
        assert f"| {said} | {shown} |" in text
    for method in ("decision", "logistic"):
        assert ", ".join(f"{value:.4f}" for value in rows["beauty-honest"]["by_target"][method]) in text


def test_the_page_on_experiments_has_what_students_of_folds_add(table: ModuleType) -> None:
    folds, text = load("folds"), (ROOT / "docs" / "experiments.md").read_text("utf-8")
    rows = table.read_rows(table.RESULTS / "folds.jsonl")
    assert rows
    for row in rows:
        figures = [f"{row['n']:,}", f"{row['student']:.4f}"]
        for ridge in folds.RIDGES:
            found = row[ridge]
            adds = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*found["adds"])
            noise = f"{found['noise_adds']:+.4f}, {found['noise_most']:+.4f}"
            figures += [f"{found['without']:.4f}", f"{found['weight']:.3f}", adds, noise]
        name = row["name"].replace("-", " ").capitalize().replace("Demo", "demo")
        assert f"| {name} | {' | '.join(figures)} |".replace("-", "−") in text


def test_with_one_past_every_target_of_a_user_has_the_past_of_the_first() -> None:
    windows = replace(demo_line(60), split=SplitConfig(tests_per_user=3)).windows
    asked = load("within").with_one_past(windows)
    assert not asked.equals(windows)
    for role, user in windows.select("role", "user").unique().iter_rows():
        mine = (pl.col("role") == role) & (pl.col("user") == user)
        before, after = (frame.filter(mine)["past"].to_list() for frame in (windows, asked))
        assert after == ([min(before)] * len(before) if role == "test" else before)


def test_the_page_on_experiments_has_the_learning_curve_of_users(table: ModuleType) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    rows = {row["name"]: row for row in table.read_rows(table.RESULTS / "users.jsonl")}
    for share, words in (
        (0.125, "an eighth of the users"),
        (0.25, "a quarter"),
        (0.5, "half"),
        (1, "all (1,273 and 624)"),
    ):
        those = [rows[f"{dataset}-strict-{share:g}"] for dataset in ("fashion", "beauty")]
        cells = [f"{row['auc']:.3f}" + (f" ± {row['spread']:.3f}" if row["spread"] else "") for row in those]
        assert f"| {words} | {' | '.join(cells)} |" in text


def test_users_that_are_learned_from_are_drawn_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = load("users")
    found = users.measure("demo", "honest", 2, tmp_path)
    assert [row["users"] for row in found] == [50, 100, 200, 400]
    assert [row["looks"] for row in found] == [2, 2, 2, 1]
    assert found[0]["auc"] < found[-1]["auc"]
    assert found[0]["spread"] > 0
    assert "demo-honest-0.125" in capsys.readouterr().out
