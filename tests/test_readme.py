"""The README: its commands work as written, its links lead somewhere, and what it names is there."""

from __future__ import annotations

import json
import re
import shlex
from itertools import groupby
from pathlib import Path

import pytest

from reasoningrec.config import read
from running import SMALL, Cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")

NOT_RUN = {
    "python3 -m venv .venv": "makes an environment: `make test` does that before these tests",
    ".venv/bin/pip install -c constraints.txt '.[student]'": "installs packages: `make test` does that",
    "source .venv/bin/activate": "changes the caller's shell",
    "make demo": "takes minutes; that the target is there is tested, and the command behind it in tests/cli",
    "export REASONINGREC_DATA=/path/to/data": "a path of the reader's",
    "reasoningrec run --run runs/ml-100k examples/ml-100k.toml": "needs data that are not part of the project",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for the two tables that the README describes."""
    header = re.search(r"^user,item,rating,time\n(?:.*\n){2}", README, re.MULTILINE)
    assert header
    items = [f"B{n:04d}" for n in range(60)]
    rows = [
        f"{user},{items[(user * 7 + 11 * n) % 60]},{1 + (user + n * n) % 5},2024-01-{1 + n:02d}"
        for user in range(1, 41)
        for n in range(9)
        if user != 17
    ]
    (tmp_path / "interactions.csv").write_text(header[0] + "\n".join(rows) + "\n", "utf-8")
    titles = [f"{item},Thing {n},Brand {n % 5},{5 + n}.50,useful|small" for n, item in enumerate(items)]
    (tmp_path / "items.csv").write_text("item,title,brand,price,categories\n" + "\n".join(titles) + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs_as_written(shop: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands():
        if line in NOT_RUN:
            continue
        program, *arguments = shlex.split(line)
        assert program == "reasoningrec", f"{line}: run it, or say in NOT_RUN why not"
        answer = cli(*arguments)
        assert answer.code == 0, f"{line}: {answer.err}"
        if arguments[0] == "init":
            # What the README tells the reader to say in it, and a student small enough for a test.
            text = Path("shop.toml").read_text("utf-8").replace('items = "" ', 'items = "items.csv" ')
            assert 'items = "items.csv"' in text
            sections = SMALL[SMALL.index("[train]") :]
            Path("shop.toml").write_text(f"{text}\n{sections}".replace("seed = 0", "seed = 0\nthreads = 1"), "utf-8")
        if "--json" in arguments:
            documented = re.search(r"`(\{\"user\".*?\})`", README, re.DOTALL)
            assert documented
            assert set(json.loads(answer.out)) == set(re.findall(r'"(\w+)"', documented[1]))
    capsys.readouterr()
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 5 * 3


def test_what_is_not_run_stands_in_the_readme() -> None:
    assert set(NOT_RUN) <= set(commands())


def test_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake (\w+)", "\n".join(blocks("bash"))))
    assert named == {"demo"}
    for target in (*named, "test"):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_every_command_of_the_table_is_one_and_none_is_missing(cli: Cli) -> None:
    table = README[README.index("## Commands") : README.index("## Protocols")]
    cells = "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("|"))
    named = set(re.findall(r"`(?:reasoningrec )?([a-z]+)[^`]*`", cells))
    offered = set(re.findall(r"^│ ([a-z]+) ", cli("--help").out, re.MULTILINE))
    assert named == offered


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_links_of_the_documentation_lead_to_files_of_it() -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            assert (page.parent / target).resolve().is_relative_to(docs), f"{page.name}: {target} is not on the site"


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8"))
    assert sorted(listed) == sorted(pages)


def test_named_files_exist() -> None:
    for path in re.findall(r"`((?:examples|docs|src|tests)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path


def test_rooms_of_the_table_are_those_of_the_package() -> None:
    table = README[README.index("| room of") : README.index("Each room imports")]
    cells = "".join(row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|"))
    named = {name.rstrip("/") for name in re.findall(r"`([\w/]+)`", cells)}
    package = ROOT / "src" / "reasoningrec"
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert named == {room for room in rooms if not room.startswith("_")}


def test_results_have_one_pair_of_marks() -> None:
    marks = re.findall(r"<!-- results:(begin|end) -->", README)
    assert marks == ["begin", "end"]


def test_the_protocols_are_all_named() -> None:
    section = README[README.index("## Protocols") : README.index("## Results")]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == ["honest", "strict", "paper"]


def test_blocks_name_their_language() -> None:
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert all(fences[::2])
    assert not any(fences[1::2])
    assert {name for name, _ in groupby(sorted(fences[::2]))} == {"bash", "bibtex", "python", "text", "toml"}


def test_the_configurations_can_be_read(tmp_path: Path) -> None:
    for number, block in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(f'name = "x"\n[data]\nsource = "demo"\n{block}', "utf-8")
        found = read(path)
        assert not found.teacher.offline or found.train.base != "nano"
