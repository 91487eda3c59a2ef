"""The README's figures are those of benchmarks/results/, and those are complete."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIELDS = {
    "dataset", "protocol", "method", "shots", "seed", "n", "positives", "auc", "auc_low", "auc_high", "log_loss",
    "brier", "ece", "ece_floor", "invalid", "subset", "time", "versus", "diff", "diff_low", "diff_high", "commit",
    "date", "machine",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
