"""`reasoningrec texts export`: tables that a run reads back as they were, chats for trainers, and nobody's future."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reasoningrec.config import read
from reasoningrec.data import given
from reasoningrec.pipeline.export import COLUMNS, FORMATS
from reasoningrec.pipeline.teach import material
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.pipeline.writers import wording
from reasoningrec.rows import read_jsonl
from reasoningrec.runs import Run
from reasoningrec.student.encode import TrainingRow, row_parts
from reasoningrec.teacher import reason
from running import SMALL, Cli

TABLES = tuple(COLUMNS)


def run_of(cli: Cli, folder: Path, until: str, more: str = "", **sections: str) -> Path:
    """A run as far as a stage, with further lines under its sections."""
    text = SMALL
    for section, line in sections.items():
        text = text.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
    config = folder.with_suffix(".toml")
    config.write_text(text + more, "utf-8")
    answer = cli(until, "--run", folder, config)
    assert answer.code == 0, answer.err
    return folder


def space_of(folder: Path) -> Workspace:
    return Workspace(folder, config_of(Run.read(folder)))


def exported(cli: Cli, run: Path, what: str, form: str, file: Path) -> Path:
    answer = cli("texts", "export", "--run", run, "--what", what, "--as", form, file)
    assert answer.code == 0, answer.err
    assert re.fullmatch(rf"wrote {file}: [\d,]+ lines?\n", answer.out)
    return file


def chats(cli: Cli, run: Path, what: str, file: Path) -> list[tuple[str, str]]:
    """(prompt, answer) of each line."""
    lines = [json.loads(line) for line in exported(cli, run, what, "chat", file).read_text("utf-8").splitlines()]
    for line in lines:
        assert set(line) == {"messages"}
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert all(set(message) == {"role", "content"} for message in line["messages"])
    return [(line["messages"][0]["content"], line["messages"][1]["content"]) for line in lines]


def done(run: Path, stage: str) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(run / f"{stage}.jsonl") if row["status"] == "done"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_second_run_reads_the_tables_back(cli: Cli, small_run: Path, tmp_path: Path, suffix: str) -> None:
    files = {what: exported(cli, small_run, what, "table", tmp_path / f"{what}{suffix}") for what in TABLES}
    named = "".join(f'{what} = "{file}"\n' for what, file in files.items())
    second = run_of(cli, tmp_path / "second", "verify", f"[texts]\nvouched = true\n{named}")
    first_reasons, reasons = ({row["query_id"]: row for row in done(run, "reason")} for run in (small_run, second))
    assert first_reasons.keys() == reasons.keys()
    for id, row in reasons.items():
        for field in ("label", "taste", "why", "citations", "origin"):
            assert row[field] == first_reasons[id][field]
    assert (second / "verify.jsonl").read_bytes() == (small_run / "verify.jsonl").read_bytes()
    for stage, what, name in (("describe", "descriptions", "item"), ("profile", "profiles", "user")):
        given_rows = {(row[name], row["text"], row["origin"]) for row in done(second, stage)}
        assert given_rows == set(given.texts(files[what], what, name).iter_rows())
        assert given_rows <= {(row[name], row["text"], row["origin"]) for row in done(small_run, stage)}
        assert len(given_rows) > 20
    counts = Run.read(second).stages
    assert all(counts[stage].counts["calls"] == 0 for stage in ("describe", "profile", "reason"))
    again = {what: exported(cli, second, what, "table", tmp_path / f"again-{what}{suffix}") for what in TABLES}
    assert all(again[what].read_bytes() == files[what].read_bytes() for what in TABLES)


@pytest.mark.parametrize("what", TABLES)
def test_a_table_has_exactly_the_columns_that_are_read(cli: Cli, small_run: Path, tmp_path: Path, what: str) -> None:
    frames = [
        pl.read_csv(exported(cli, small_run, what, "table", tmp_path / "t.csv"), infer_schema=False),
        pl.read_csv(exported(cli, small_run, what, "table", tmp_path / "t.tsv"), infer_schema=False, separator="\t"),
        pl.read_parquet(exported(cli, small_run, what, "table", tmp_path / "t.parquet")),
        pl.read_ndjson(exported(cli, small_run, what, "table", tmp_path / "t.jsonl")).select(COLUMNS[what]),
    ]
    for frame in frames:
        assert tuple(frame.columns) == COLUMNS[what]
        assert frame.equals(frames[0])


def test_a_description_is_that_which_every_query_may_know(cli: Cli, tmp_path: Path) -> None:
    run = run_of(cli, tmp_path / "run", "profile", data="seed = 3", split="train_windows = 4")
    space = space_of(run)
    fewest: dict[str, int] = {}
    for item, n in space.description_keys.values():
        fewest[item] = min(n, fewest.get(item, n))
    assert len({*space.description_keys.values()}) > len(fewest)
    written = {row["key"]: row["text"] for row in done(run, "describe")}
    rows = read_jsonl(exported(cli, run, "descriptions", "table", tmp_path / "d.jsonl"))
    assert {row["item"]: row["text"] for row in rows} == {item: written[f"{item}@{n}"] for item, n in fewest.items()}


def test_a_profile_that_some_query_may_not_know_is_left_out(cli: Cli, tmp_path: Path) -> None:
    run = run_of(cli, tmp_path / "run", "profile", data="seed = 3", split="train_windows = 0")
    space = space_of(run)
    fewest: dict[str, int] = {}
    for user, n in space.windows.select("user", "profile").iter_rows():
        fewest[user] = min(n, fewest.get(user, n))
    rows = read_jsonl(exported(cli, run, "profiles", "table", tmp_path / "p.jsonl"))
    assert {row["user"] for row in rows} == {user for user, n in fewest.items() if n}
    assert len(rows) < len({row["user"] for row in done(run, "profile")})


def test_of_a_pair_seen_twice_the_rationale_is_that_of_its_latest_window(cli: Cli, tmp_path: Path) -> None:
    rows = [f"u{n},i{m % 4},{1 + (n + m) % 5},{86_400 * m}" for n in range(12) for m in range(9)]
    (tmp_path / "r.csv").write_text("user,item,rating,time\n" + "\n".join(rows) + "\n", "utf-8")
    config = tmp_path / "c.toml"
    source = 'source = "tables"\npath = "r.csv"\n[data.columns]\ntime = "time"\n'
    config.write_text(f'name = "twice"\n[data]\n{source}[split]\nhistory = 2\ntrain_windows = 0\n', "utf-8")
    assert cli("reason", "--run", tmp_path / "run", config).code == 0
    space = space_of(tmp_path / "run")
    written = {row["query_id"]: row for row in done(tmp_path / "run", "reason")}
    table = read_jsonl(exported(cli, tmp_path / "run", "rationales", "table", tmp_path / "t.jsonl"))
    assert 0 < len(table) < len(written)
    train = space.windows.filter(pl.col("role") == "train").sort("at")
    latest = {(user, item): id for user, item, id in train.select("user", "item", "id").iter_rows()}
    for row in table:
        assert row["why"] == written[latest[row["user"], row["item"]]]["why"]


def test_chats_pair_a_prompt_with_its_answer_in_labelled_lines(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    described = chats(cli, small_run, "descriptions", tmp_path / "d.jsonl")
    assert len(described) == len(done(small_run, "describe"))
    for prompt, answer in described:
        assert prompt.endswith("Answer in one line and write nothing else:\nDescription: ...")
        assert re.fullmatch(r"Description: .+", answer)
    for prompt, answer in chats(cli, small_run, "profiles", tmp_path / "p.jsonl"):
        assert "Profile: ..." in prompt
        assert re.fullmatch(r"Profile: .+", answer)
    reasoned = chats(cli, small_run, "rationales", tmp_path / "r.jsonl")
    assert len(reasoned) == len(done(small_run, "reason"))
    for prompt, answer in reasoned:
        assert "Prediction: Yes or No" in prompt
        assert re.fullmatch(r"Taste: .+\nPrediction: (Yes|No)\nWhy: .+", answer)


def test_given_texts_have_no_prompt_and_so_no_chat(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    table = exported(cli, small_run, "descriptions", "table", tmp_path / "d.csv")
    texts = f'[texts]\nvouched = true\nmissing = "write"\ndescriptions = "{table}"\n'
    run = run_of(cli, tmp_path / "given", "describe", texts)
    assert exported(cli, run, "descriptions", "chat", tmp_path / "c.jsonl").read_bytes() == b""


def queries(space: Workspace, role: str) -> set[tuple[str, str]]:
    return {(user, item) for r, user, item in space.windows.select("role", "user", "item").iter_rows() if r == role}


def test_no_valid_or_test_query_is_among_what_is_learned_from(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    space = space_of(small_run)
    train, hidden = queries(space, "train"), queries(space, "valid") | queries(space, "test")
    table = read_jsonl(exported(cli, small_run, "rationales", "table", tmp_path / "r.jsonl"))
    assert {(row["user"], row["item"]) for row in table} <= train
    assert not {(row["user"], row["item"]) for row in table} & hidden - train
    prompts = {
        role: {row_parts(TrainingRow(case, True))[0] for case in space.cases(space.ids(role))}
        for role in ("train", "valid", "test")
    }
    shown = {prompt for prompt, _ in chats(cli, small_run, "student", tmp_path / "s.jsonl")}
    assert shown == prompts["train"]
    assert not shown & (prompts["valid"] | prompts["test"])
    others = space.cases(space.ids("valid", "test"))
    asked = {prompt for prompt, _ in chats(cli, small_run, "rationales", tmp_path / "c.jsonl")}
    for case in others:
        for label in (True, False):
            (message,) = reason.request(material(space.config, case, label), wording(space.config)).messages
            assert not any(prompt.startswith(message.text) for prompt in asked)


def test_the_students_rows_are_those_it_is_trained_on(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    space = space_of(small_run)
    rows = chats(cli, small_run, "student", tmp_path / "s.jsonl")
    labels = [space.label_of[id] for id in space.ids("train")]
    assert [answer.split("\n")[0] for _, answer in rows] == ["Yes" if label else "No" for label in labels]
    assert all(prompt.endswith("\nPrediction:") for prompt, _ in rows)
    kept = {row["query_id"] for row in read_jsonl(small_run / "verify.jsonl") if not row["failures"]}
    reasoned = [id for id, (_, answer) in zip(space.ids("train"), rows, strict=True) if "\nWhy: " in answer]
    assert set(reasoned) == kept
    assert all(re.fullmatch(r"(Yes|No)(\nCites: .+\nWhy: .+\nTaste: .+)?", answer) for _, answer in rows)


def test_label_only_rows_are_there_where_no_rationale_passed(cli: Cli, tmp_path: Path) -> None:
    run = run_of(cli, tmp_path / "run", "verify", "[reason]\nshots = 20\n")
    rows = chats(cli, run, "student", tmp_path / "s.jsonl")
    assert sum(answer in ("Yes", "No") for _, answer in rows) >= len(rows) - 20 > 0


Make = Callable[[Path, Path], list[Any]]


def asking(run: Path, file: Path, what: str = "profiles", form: str = "table") -> list[Any]:
    return ["--run", run, "--what", what, "--as", form, file]


def touched(path: Path) -> Path:
    path.touch()
    return path


def unfinished(run: Path, folder: Path, stage: str) -> Path:
    shutil.copytree(run, folder / "copy")
    with Run.open(folder / "copy", create=False) as opened:
        opened.begin(stage, {"never": "finished"})
    return folder / "copy"


def changed(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "copy")
    (folder / "c.toml").write_text(SMALL + "[describe]\nwords = 12\n", "utf-8")
    with Run.open(folder / "copy", create=False) as opened:
        opened.configure(read(folder / "c.toml").model_dump(mode="json"), version="0")
    return folder / "copy"


def damaged(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "copy")
    (folder / "copy" / "profile.jsonl").write_text("x\n")
    return folder / "copy"


BAD: list[tuple[str, Make]] = [
    (r"t\.csv: exists already", lambda r, p: asking(r, touched(p / "t.csv"))),
    (r"nowhere: no such folder", lambda r, p: asking(r, p / "nowhere" / "t.csv")),
    (r"t\.doc: the suffix '\.doc' says no format of --as table\n.*\.csv, ", lambda r, p: asking(r, p / "t.doc")),
    (r"t\.csv: the suffix '\.csv' says no format of --as chat", lambda r, p: asking(r, p / "t.csv", form="chat")),
    (r"--as: there is no table of --what student\n.*--as chat", lambda r, p: asking(r, p / "t.csv", "student")),
    (r"'people' is not one of 'descriptions', 'profiles'", lambda r, p: asking(r, p / "t.csv", "people")),
    (r"'list' is not one of 'table', 'chat'", lambda r, p: asking(r, p / "t.csv", form="list")),
    (r"is not a run's folder", lambda _, p: asking(p, p / "t.csv")),
    (
        r"stage reason is interrupted, not done",
        lambda r, p: asking(unfinished(r, p, "reason"), p / "t.csv", "rationales"),
    ),
    (r"stage describe is out of date: words changed since", lambda r, p: asking(changed(r, p), p / "t.csv")),
    (r"profile\.jsonl: is not as stage profile wrote it", lambda r, p: asking(damaged(r, p), p / "t.csv")),
    (r"Missing option '--what'", lambda r, p: ["--run", r, "--as", "table", p / "t.csv"]),
    (r"Missing argument 'file'", lambda r, _: ["--run", r, "--what", "profiles", "--as", "table"]),
]


@pytest.mark.parametrize(("says", "arguments"), BAD, ids=[says for says, _ in BAD])
def test_bad_input_is_told_in_one_message(
    cli: Cli, small_run: Path, tmp_path: Path, says: str, arguments: Make
) -> None:
    answer = cli("texts", "export", *arguments(small_run, tmp_path))
    assert answer.code == 2, answer.err
    assert re.search(says, answer.err), answer.err
    assert "Traceback" not in answer.err
    assert not answer.out
    assert not list(tmp_path.glob(".tmp*"))


def test_a_file_is_written_whole_or_not_at_all(
    cli: Cli, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    answer = cli("texts", "export", *asking(small_run, tmp_path / "t.csv"))
    assert answer.code == 3
    assert not list(tmp_path.iterdir())
