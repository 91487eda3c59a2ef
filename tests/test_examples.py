"""The committed configurations: each can be read, says what it is for, and finds its files where there are any."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from reasoningrec.config import Config, read
from reasoningrec.data.load import fingerprint
from running import Cli

EXAMPLES = Path(__file__).parent.parent / "examples"
EXPECTED = {
    "amazon-fashion-5core": ("amazon", 4, "product", 3.0, "keep"),
    "ml-100k": ("movielens", 20, "movie", 3.0, "keep"),
    "fashion": ("release", 4, "product", 3.0, "first"),
    "beauty": ("release", 5, "product", 3.0, "first"),
    "ml-1m": ("release", 20, "movie", 2.0, "keep"),
    "fashion-paper": ("release", 4, "product", 3.0, "first"),
    "beauty-paper": ("release", 5, "product", 3.0, "first"),
    "ml-1m-paper": ("release", 20, "movie", 2.0, "keep"),
    "tallrec": ("movielens", 10, "movie", 3.0, "keep"),
    "demo": ("demo", 10, "product", 3.0, "keep"),
    "tables": ("tables", 10, "book", 3.0, "keep"),
}
every_example = pytest.mark.parametrize("name", EXPECTED)


def config(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("REASONINGREC_DATA", str(data))
    return read(EXAMPLES / f"{name}.toml")


def test_there_is_one_for_every_dataset_and_no_other() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(EXPECTED)


@every_example
def test_it_says_how_the_dataset_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = config(name, tmp_path, monkeypatch)
    data = found.data
    assert (data.source, found.split.history, found.item_word, data.like_above, data.repeats) == EXPECTED[name]
    assert found.name == {"tables": "shop", "tallrec": "ml-100k"}.get(name, name.removesuffix("-paper"))
    assert found.protocol == ("paper" if name.endswith("-paper") else "honest")
    assert found.data.given_texts is name.endswith("-paper")


@every_example
def test_real_data_are_named_through_the_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = config(name, tmp_path, monkeypatch)
    if name == "demo":
        assert not found.data.path
        return
    assert Path(found.data.path).is_relative_to(EXAMPLES if name == "tables" else tmp_path)


@every_example
def test_it_is_commented_and_names_the_command(name: str) -> None:
    text = (EXAMPLES / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# ")
    assert f"examples/{name}.toml" in text
    assert tomllib.loads(text)["name"]


@every_example
def test_its_files_are_found(name: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "tables":
        pytest.skip("own data: there are none to find; its columns have a test of their own")
    found = config(name, data_root, monkeypatch)
    assert fingerprint(found.data)


def test_own_tables_under_the_named_columns_are_read(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "tables.toml").write_bytes((EXAMPLES / "tables.toml").read_bytes())
    rows = [f"c{n},b{m},{1 + (n + m) % 5},2024-01-{1 + m:02d},good,{m}" for n in range(5) for m in range(4)]
    (tmp_path / "interactions.csv").write_text("\n".join(["customer,isbn,stars,bought_at,comment,shelf", *rows]) + "\n")
    books = [f"b{m},Book {m},House,{m}.50,crime|novel" for m in range(4)]
    (tmp_path / "items.csv").write_text("\n".join(["isbn,title,publisher,price,genres", *books]) + "\n")
    shown = cli("data", "check", tmp_path / "tables.toml")
    assert shown.code == 0, shown.err
    assert "2024-01-01 to 2024-01-04" in shown.out
    assert "honest, strict, paper" in shown.out
