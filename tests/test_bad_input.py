"""Everything a person can get wrong on the command line: one clear message, exit code 2, never a traceback.

Bad data files have their own list in `test_bad_input_data.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reasoningrec.config import DataConfig
from reasoningrec.runs import Run
from running import SMALL, Cli

CSV = "user,item,rating\n" + "".join(f"u{n},i{m},{1 + (n + m) % 5}\n" for n in range(9) for m in range(6))


@dataclass(frozen=True)
class Place:
    """Where a case is set up: an empty folder, and a finished run to copy or to ask."""

    tmp: Path
    finished: Path

    def config(self, text: str = SMALL) -> Path:
        path = self.tmp / "c.toml"
        path.write_text(text, "utf-8")
        return path

    def with_line(self, section: str, line: str) -> Path:
        """The small configuration with a line more, or another value, in a section ("" = at the top)."""
        key = line.partition("=")[0].strip()
        head, *parts = re.split(r"^(?=\[)", SMALL, flags=re.MULTILINE)
        parts = [head, *parts]
        at = next((n for n, part in enumerate(parts) if part.startswith(f"[{section}]")), 0 if not section else -1)
        if at < 0:
            parts.append(f"[{section}]\n{line}\n")
        else:
            kept = re.sub(rf"^{key} *=.*\n", "", parts[at], flags=re.MULTILINE)
            parts[at] = kept + line + "\n"
        return self.config("".join(parts))

    def tables(self, csv: str, **more: str) -> Path:
        (self.tmp / "r.csv").write_text(csv, "utf-8")
        top = "".join(f"{key} = {value}\n" for key, value in more.items())
        return self.config(f'name = "own"\n{top}[data]\nsource = "tables"\npath = "r.csv"\n')

    def one_day(self) -> Path:
        """A user with five rows of one day, under `strict`."""
        csv = "user,item,rating,day\n" + "".join(f"u,i{n},{n},2020-01-01\n" for n in range(1, 6))
        text = self.tables(csv, protocol='"strict"').read_text("utf-8")
        return self.config(text + 'columns = {time = "day"}\n')

    def copy(self) -> Path:
        folder = self.tmp / "copy"
        shutil.copytree(self.finished, folder)
        return folder

    def damage(self, file: str, change: Callable[[bytes], bytes] | None) -> Path:
        folder = self.copy()
        path = folder / file
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))
        return folder

    def unfinished(self) -> Path:
        folder = self.copy()
        with Run.open(folder, create=False) as run:
            run.begin("predict", {"never": "finished"})
        return folder


Arguments = Callable[[Place], list[Any]]


@dataclass(frozen=True)
class Bad:
    """A command line, and what the message must say."""

    what: str
    says: str
    arguments: Arguments
    code: int = 2


def of_config(what: str, says: str, make: Callable[[Place], Path]) -> Bad:
    return Bad(f"config: {what}", says, lambda p: ["run", "--run", p.tmp / "run", make(p)])


def of_line(what: str, section: str, line: str, says: str) -> Bad:
    return of_config(what, says, lambda p: p.with_line(section, line))


def ask(folder: Path, user: str = "u0001", *more: Any) -> list[Any]:
    return ["recommend", "--run", folder, "--user", user, *more]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def foreign(folder: Path, name: str, text: str) -> Path:
    folder.mkdir()
    (folder / name).write_text(text, "utf-8")
    return folder


CONFIGS = [
    of_config("missing file", r"gone\.toml: no such file\n.*reasoningrec init", lambda p: p.tmp / "gone.toml"),
    of_config("folder", "is a folder, not a configuration file", lambda p: p.tmp),
    of_config("bad TOML", r"c\.toml: is not valid TOML: .*line 2", lambda p: p.config('name = "x"\n[data\n')),
    of_config("not UTF-8", r"is not UTF-8 text \(byte 8\)", lambda p: written(p.tmp / "c.toml", b'name = "\xff"\n')),
    of_config("empty file", "name: Field required", lambda p: p.config("")),
    of_config("no data section", "data: Field required", lambda p: p.config('name = "x"\n')),
    of_line("unknown key", "train", "epoch = 3", r"train\.epoch: unknown key; did you mean `epochs`\?"),
    of_line("unknown key, none near", "split", "zzz = 3", r"split\.zzz: unknown key; known keys: history, "),
    of_line("unknown section", "trian", "epochs = 3", r"trian: unknown key; did you mean `train`\?"),
    of_line("wrong type", "train", 'epochs = "3"', r"train\.epochs: Input should be a valid integer .*'3'"),
    of_config(
        "section that is a value",
        "split: Input should be a valid dictionary",
        lambda p: p.config('name = "x"\nsplit = 3\n[data]\nsource = "demo"\n'),
    ),
    of_line("out of range", "train", "learning_rate = 1.5", r"train\.learning_rate: .* less than 1 .*1\.5"),
    of_line("negative", "split", "history = -1", r"split\.history: .* greater than or equal to 1"),
    of_line("unknown source", "data", 'source = "netflix"', r"data\.source: Input should be 'movielens', 'amazon'"),
    of_line("unknown protocol", "", 'protocol = "fair"', r"protocol: Input should be 'honest', 'strict' or 'paper'"),
    of_line("name with a slash", "", 'name = "a/b"', "name: String should match pattern"),
    of_line("no path", "data", 'source = "movielens"', r'data\.path: is needed for source = "movielens"'),
    of_line(
        "hidden no multiple of heads", "train", "heads = 3", r"train\.hidden: must be an even multiple of train\.h"
    ),
    of_line("given texts under honest", "data", "given_texts = true", r"data\.given_texts: the given texts leak"),
    of_config(
        "given texts of another source",
        r'data\.given_texts: only source = "release" has given texts',
        lambda p: p.config('name = "x"\nprotocol = "paper"\n[data]\nsource = "demo"\ngiven_texts = true\n'),
    ),
    of_line("scale upside down", "data", "scale = [5.0, 1.0]", r"data\.scale: the first number must be below"),
    of_line("scale of three numbers", "data", "scale = [1.0, 3.0, 5.0]", r"data\.scale: .*at most 2 items"),
    of_line("nothing above the like rule", "data", "like_above = 9.0", r"data\.like_above: 9\.0 leaves no rating"),
    of_config(
        "missing data",
        r"nowhere: no such file or folder",
        lambda p: p.config('name = "x"\n[data]\nsource = "movielens"\npath = "nowhere"\n'),
    ),
    of_config(
        "environment variable that is not set",
        r"data\.path: the environment variable SURELY_NOT_SET is not set\n.*export SURELY_NOT_SET=",
        lambda p: p.config('name = "x"\n[data]\nsource = "amazon"\npath = "${SURELY_NOT_SET}/a.json"\n'),
    ),
    of_config(
        "strict without times", "needs times, and these data have none", lambda p: p.tables(CSV, protocol='"strict"')
    ),
    of_config(
        "one row per user", "no user has two interactions", lambda p: p.tables("user,item,rating\nu,i,4\nv,i,4\n")
    ),
    of_config(
        "three rows per user",
        r"no user has a train window.*\n.*4 rows",
        lambda p: p.tables("user,item,rating\nu,i,4\nu,j,4\nu,k,2\n"),
    ),
    of_config("strict on one day", r"no user has a train window.*\n.*three different times", lambda p: p.one_day()),
    of_config("a bad row", r"r\.csv:3: rating", lambda p: p.tables("user,item,rating\nu,i,4\nu,j,many\n")),
    of_config(
        "a column that is not there", "there is no column 'rating'", lambda p: p.tables("user,item,stars\nu,i,4\n")
    ),
]

RUNS = [
    Bad("run: missing", r"nothing: is not a run's folder", lambda p: ask(p.tmp / "nothing")),
    Bad("run: a file", r"c\.toml: is a file, not a run's folder", lambda p: ask(p.config())),
    Bad(
        "run: a foreign folder",
        r"holds other things than a run \(notes\.txt\)",
        lambda p: ["run", "--run", foreign(p.tmp / "f", "notes.txt", "mine"), p.config()],
    ),
    Bad(
        "run: another program's manifest",
        "is not a run's manifest",
        lambda p: ["run", "--run", foreign(p.tmp / "f", "manifest.json", '{"version": 3}'), p.config()],
    ),
    Bad("run: damaged manifest", r"manifest\.json", lambda p: ask(p.damage("manifest.json", lambda b: b[:300]))),
    Bad(
        "run: a configuration of another version",
        r"the configuration in it is not one of this version \(split\.history\)",
        lambda p: ask(p.damage("manifest.json", lambda b: b.replace(b'"history": 4,', b'"history": "four",'))),
    ),
    Bad("run: unfinished", "stage predict is interrupted, not done", lambda p: ask(p.unfinished())),
    Bad(
        "run: damaged line of an artifact",
        r"describe\.jsonl: is not as stage describe wrote it",
        lambda p: ["run", "--run", p.damage("describe.jsonl", lambda b: b.replace(b"{", b"<", 1)), p.config()],
    ),
    Bad(
        "run: deleted weights",
        r"model\.safetensors: cannot be read: No such file",
        lambda p: ask(p.damage("train/model.safetensors", None)),
    ),
    Bad(
        "run: deleted table",
        r"interactions\.parquet: cannot be read: No such file",
        lambda p: [
            "explain",
            "--run",
            p.damage("data/interactions.parquet", None),
            "--user",
            "u0001",
            "--item",
            "i0001",
        ],
    ),
    Bad(
        "run: in a place that cannot be made", "cannot be written", lambda p: ["run", "--run", "/proc/run", p.config()]
    ),
    Bad("stage: of a run that is not there", "is not a run's folder", lambda p: ["train", "--run", p.tmp / "nothing"]),
    Bad("status: of nothing", "is not a run's folder", lambda p: ["status", "--run", p.tmp]),
]

ASKED = [
    Bad("unknown user", r"knows no user 'u9999'\n.*It knows, for example: u", lambda p: ask(p.finished, "u9999")),
    Bad("empty user", "knows no user ''", lambda p: ask(p.finished, "")),
    Bad(
        "unknown item",
        r"knows no item 'tea'\n.*It knows, for example: i0001",
        lambda p: ["explain", "--run", p.finished, "--user", "u0001", "--item", "tea"],
    ),
    Bad(
        "top 0",
        "Invalid value for '--top': .*greater than or equal to 1",
        lambda p: ask(p.finished, "u0001", "--top", 0),
    ),
    Bad(
        "top -3",
        "Invalid value for '--top': .*greater than or equal to 1",
        lambda p: ask(p.finished, "u0001", "--top", -3),
    ),
    Bad("top 1000", r"top: must be from 1 to \d+, not 1000", lambda p: ask(p.finished, "u0001", "--top", 1000)),
    Bad("top many", r"--top.*integer", lambda p: ask(p.finished, "u0001", "--top", "many")),
    Bad("no user named", "Missing option '--user'", lambda p: ["recommend", "--run", p.finished]),
    Bad("no run named", "Missing option '--run'", lambda p: ["recommend", "--user", "u0001"]),
    Bad("unknown command", "No such command 'reccomend'", lambda _: ["reccomend"]),
    Bad("unknown option", "No such option: --tpo", lambda p: ask(p.finished, "u0001", "--tpo", 3)),
    Bad(
        "unknown protocol",
        r"--protocol.*'fair' is not one of 'honest', 'strict', 'paper'",
        lambda p: ["run", "--run", p.tmp / "r", p.config(), "--protocol", "fair"],
    ),
    Bad(
        "negative seed",
        "Invalid value for '--seed': .*greater than or equal to 0",
        lambda p: ["run", "--run", p.tmp / "r", p.config(), "--seed", -1],
    ),
    Bad("init onto a file", r"c\.toml: exists already", lambda p: ["init", p.config()]),
    Bad("init into no folder", r"no such folder", lambda p: ["init", p.tmp / "a" / "b.toml"]),
    Bad(
        "init with a senseless name", "--name: 'a b' is no name", lambda p: ["init", p.tmp / "n.toml", "--name", "a b"]
    ),
    Bad("check: nothing there", "no such file or folder", lambda p: ["data", "check", p.tmp / "gone"]),
    Bad("check: unknown format", "is of no known format", lambda p: ["data", "check", written(p.tmp / "a.doc", b"x")]),
    Bad("check: no review file", "holds no review file", lambda p: ["data", "check", p.tmp]),
    Bad(
        "check: history 0",
        "Invalid value for '--history': .*greater than or equal to 1",
        lambda p: ["data", "check", p.config(), "--history", 0],
    ),
    Bad("check: bad configuration", "unknown key", lambda p: ["data", "check", p.with_line("", "tain = 1")]),
]

BAD = [*CONFIGS, *RUNS, *ASKED]


@pytest.mark.parametrize("bad", BAD, ids=[bad.what for bad in BAD])
def test_bad_input_is_told_in_one_message(bad: Bad, cli: Cli, tmp_path: Path, small_run: Path) -> None:
    answer = cli(*bad.arguments(Place(tmp_path, small_run)))
    assert answer.code == bad.code, answer.err
    assert re.search(bad.says, answer.err), answer.err
    assert "Traceback" not in answer.err + answer.out
    assert not answer.out
    assert len(answer.err.splitlines()) <= 12


def test_there_are_forty_kinds_at_least() -> None:
    assert len({bad.what for bad in BAD}) == len(BAD) >= 40


def test_a_run_that_another_process_works_in_is_left_alone(cli: Cli, tmp_path: Path, small_run: Path) -> None:
    folder = Place(tmp_path, small_run).copy()
    config = Place(tmp_path, small_run).config()
    before = (folder / "manifest.json").read_bytes()
    with Run.open(folder, create=False):
        answer = cli("run", "--run", folder, config)
        shown = cli("status", "--run", folder)
    assert answer.code == 2
    assert f"process {os.getpid()} is working in it" in answer.err
    assert f"process {os.getpid()} is working in it" in shown.out
    assert (folder / "manifest.json").read_bytes() == before


def test_a_prompt_that_cannot_fit_fails_part_way(cli: Cli, tmp_path: Path) -> None:
    title = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(30)]  # of no pattern: many tokens each
    rows = (f"u{n},{title[(n + 7 * m) % 30]},{1 + (n + m) % 5}\n" for n in range(30) for m in range(6))
    csv = "user,item,rating\n" + "".join(rows)
    place = Place(tmp_path, tmp_path)
    config = place.tables(csv)
    config.write_text(config.read_text("utf-8") + "[train]\nmax_tokens = 64\nvocabulary = 600\n", "utf-8")
    answer = cli("run", "--run", tmp_path / "run", config)
    assert answer.code == 3
    assert "does not fit into 48 tokens" in answer.err
    assert "Raise train.max_tokens" in answer.err
    assert "stopped in train; what is done is kept" in answer.err
    assert Run.read(tmp_path / "run").stages["verify"].status == "done"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(cli: Cli, tmp_path: Path, small_config: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    answer = cli("run", "--run", locked / "run", small_config)
    assert answer.code == 2
    assert "cannot be written" in answer.err


def test_a_mistake_in_the_data_leaves_a_finished_run_as_it_was(cli: Cli, tmp_path: Path, small_run: Path) -> None:
    place = Place(tmp_path, small_run)
    folder = place.copy()
    before = (folder / "manifest.json").read_bytes()
    config = place.config('name = "x"\n[data]\nsource = "movielens"\npath = "nowhere"\n')
    assert cli("run", "--run", folder, config).code == 2
    assert (folder / "manifest.json").read_bytes() == before


def test_the_names_of_sources_in_messages_are_all_sources() -> None:
    assert set(DataConfig.model_json_schema()["properties"]["source"]["enum"]) >= {"movielens", "amazon", "demo"}
