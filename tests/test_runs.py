from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoningrec.errors import NotInRunError, RunError
from reasoningrec.journal import Journal
from reasoningrec.rows import read_jsonl, write_json
from reasoningrec.runs import Run, canonical, fingerprint

ROWS: dict[str, dict[str, Any]] = {
    "q2": {"text": "two, with\na line break", "n": 2},
    "q1": {"text": "one: é", "citations": ["H1", "T"]},
    "q10": {"text": "", "share": 0.1},
    "q3": {"text": "\u2028", "none": None},
}


def straight(folder: Path) -> bytes:
    with Journal(folder / "straight.journal") as journal:
        for id, row in ROWS.items():
            journal.append(id, row)
        journal.finish(folder / "straight.jsonl")
    return (folder / "straight.jsonl").read_bytes()


# The journal


def test_a_journal_cut_at_any_byte_ends_in_the_same_file(tmp_path: Path) -> None:
    expected = straight(tmp_path)
    path, target = tmp_path / "reason.journal", tmp_path / "reason.jsonl"
    with Journal(path) as journal:
        for id, row in ROWS.items():
            journal.append(id, row)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        with Journal(path) as journal:
            assert len(journal.done) == content[:cut].count(b"\n")
            for id, row in ROWS.items():
                if id not in journal.done:
                    journal.append(id, row)
            journal.finish(target)
        assert target.read_bytes() == expected, cut
        assert not path.exists()


@given(
    st.lists(st.tuples(st.text(max_size=4), st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3))),
    st.integers(0, 200),
)
@settings(deadline=None)
def test_any_rows_survive_any_cut(tmp_path_factory: pytest.TempPathFactory, rows: Any, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder / "a.journal") as journal:
        journal.extend(rows)
        whole = dict(journal.done)
    content = (folder / "a.journal").read_bytes()
    (folder / "a.journal").write_bytes(content[: min(cut, len(content))])
    with Journal(folder / "a.journal") as journal:
        journal.extend(rows)
        assert journal.done == whole
        journal.finish(folder / "a.jsonl")
    assert read_jsonl(folder / "a.jsonl") == [whole[id] for id in sorted(whole)]


def test_the_first_of_two_rows_with_one_id_wins(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal") as journal:
        journal.append("x", {"n": 1})
        journal.append("x", {"n": 2})
        journal.extend([("y", {"n": 3}), ("y", {"n": 4})])
        assert journal.done == {"x": {"n": 1}, "y": {"n": 3}}
    with (tmp_path / "a.journal").open("ab") as file:
        file.write(b'{"id": "x", "row": {"n": 5}}\n')
    with Journal(tmp_path / "a.journal") as journal:
        assert journal.done["x"] == {"n": 1}


def test_rows_look_alike_before_and_after_a_resume(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal") as journal:
        journal.append("x", {"citations": ("H1", "T")})
        before = dict(journal.done)
    with Journal(tmp_path / "a.journal") as journal:
        assert journal.done == before


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"id": 3, "row": {}}\n', b'{"id": "a"}\n'])
def test_a_damaged_whole_line_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.journal").write_bytes(b'{"id": "x", "row": {"n": 1}}\n' + line)
    with pytest.raises(RunError, match=r"a\.journal:2: "):
        Journal(tmp_path / "a.journal")


def test_a_short_write_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with Journal(tmp_path / "a.journal") as journal:
        journal.append("x", {"n": 1})
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
        with pytest.raises(OSError, match="disk full"):
            journal.append("y", {"n": 2})
        monkeypatch.undo()
        journal.append("z", {"n": 3})
    with Journal(tmp_path / "a.journal") as journal:
        assert list(journal.done) == ["x", "z"]


# Fingerprints


def test_the_fingerprint_recipe_never_changes_unmarked() -> None:
    assert canonical({"b": [1, 2.0, None, True], "a": "é"}) == '{"a":"é","b":[1,2.0,null,true]}'
    assert fingerprint({"b": [1, 2.0, None, True], "a": "é"}) == (
        "v1:87c61ab83ef0c4bd965225ed15d2bb301294628106dfba240a27aab317c0bba3"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.randoms())
def test_the_order_of_fields_does_not_matter(fields: dict[str, Any], random: Any) -> None:
    names = list(fields)
    random.shuffle(names)
    assert fingerprint({name: fields[name] for name in names}) == fingerprint(fields)
    assert fingerprint(json.loads(canonical(fields))) == fingerprint(fields)


# Stages

FIELDS = {"words": 25, "prompt": "v1:abc", "data": "v1:def"}


def work(run: Run, name: str = "describe", fields: Any = None) -> None:
    run.begin(name, FIELDS if fields is None else fields)
    write_json(run.folder / f"{name}.json", {"made": name})
    run.finish(name, {"done": 1})


def test_a_stage_goes_from_fresh_to_done(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.configure({"name": "x"}, version="0.1.0")
        assert run.stage("describe", FIELDS).state == "fresh"
        work(run)
        assert run.stage("describe", FIELDS).state == "done"
    again = Run.read(tmp_path / "run")
    assert again.stage("describe", FIELDS).state == "done"
    assert again.require("describe").counts == {"done": 1}
    assert list(again.require("describe").artifacts) == ["describe.json"]
    assert (again.config, again.version) == ({"name": "x"}, "0.1.0")


def test_a_changed_field_is_named_and_the_stages_own_files_are_set_aside(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        work(run, "profile")
        (run.folder / "describe").mkdir()
        for mine in ("describe/part.bin", "describe.parquet", "describe.journal"):
            (run.folder / mine).write_text("old")
        (run.folder / "describe-notes.txt").write_text("the user's")
        now = {"words": 30, "prompt": "v1:abc", "new": 1}
        plan = run.stage("describe", now)
        assert (plan.state, plan.changed) == ("changed", ("data", "new", "words"))
        assert (run.folder / "describe.parquet").exists(), "asking changes nothing"
        assert run.begin("describe", now) == plan
        kept = {".lock", "manifest.json", "times.json", "profile.json", "describe-notes.txt"}
        assert {file.name for file in run.folder.iterdir()} == {*kept, ".before-describe"}
        run.finish("describe", {})
        assert {file.name for file in run.folder.iterdir()} == kept


def test_what_was_set_aside_can_be_taken_back(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.configure({"name": "x"}, version="1")
        work(run)
        (run.folder / "profile").mkdir()
        (run.folder / "profile" / "part.bin").write_text("made")
        run.begin("profile", FIELDS)
        assert not run.take_back("profile"), "nothing was set aside: it had not been begun"
        run.finish("profile", {})
        before = {name: run.stages[name] for name in ("describe", "profile")}
        for name, record in before.items():
            run.configure({"name": "y"}, version="2")
            run.begin(name, {"words": 30})
            assert run.is_untouched(name)
            (run.folder / f"{name}.json").write_text("half")
            (run.folder / f"{name}.journal").write_text("more")
            (run.folder / name).mkdir()
            assert not run.take_back(name, "v1:other")
            assert run.take_back(name)
            assert not run.take_back(name)
            assert run.stages[name] == record
            run.check(name)
            assert (run.config, run.version) == ({"name": "x"}, "1")
        run.configure({"name": "y"}, version="2")
        run.begin("describe", {"words": 30})
        run.finish("describe", {})
        run.begin("profile", {"words": 30})
        run.take_back("profile")
        assert run.config == {"name": "y"}, "a stage is done by it"
        assert not list(run.folder.glob(".before-*"))


def test_what_is_finished_stays_set_aside_until_something_else_is(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        before, times = run.stages["describe"], run.times()
        run.begin("describe", {"words": 30})
        (run.folder / "describe.journal").write_text("half")
    with Run.open(tmp_path / "run", create=False) as run:
        assert run.stage("describe", {"words": 30}).state == "resume"
        assert run.begin("describe", {"words": 40}).state == "changed"
        assert run.is_untouched("describe"), "half of what is not wanted is not kept instead of a whole"
        assert run.take_back("describe", before.fingerprint)
        assert (run.stages["describe"], run.times()) == (before, times)
        run.check("describe")
        work(run, fields={"words": 40})
        assert not list(run.folder.glob(".before-*"))


def test_what_stopped_half_way_is_set_aside_where_nothing_else_is(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.begin("describe", FIELDS)
        (run.folder / "describe.journal").write_text("half")
        run.begin("describe", {"words": 30})
        assert run.take_back("describe", run.stage("describe", FIELDS).fingerprint)
        assert run.stage("describe", FIELDS).state == "resume"
        assert (run.folder / "describe.journal").read_text() == "half"


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("moves", range(4))
def test_killed_while_files_are_moved_they_can_be_had_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, moves: int
) -> None:
    def limited(path: Path, target: Path, *, left: list[int] = [moves]) -> Path:  # noqa: B006
        if path.name.startswith("describe"):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return rename(path, target)

    rename = Path.rename
    with Run.open(tmp_path / "run", create=True) as run:
        run.begin("describe", FIELDS)
        (run.folder / "describe").mkdir()
        for name in ("describe.json", "describe/part.bin", "describe.txt"):
            (run.folder / name).write_text(name)
        run.finish("describe", {})
        before = run.stages["describe"]
        if way == "back":
            run.begin("describe", {"words": 30})
        monkeypatch.setattr(Path, "rename", limited)
        with suppress(KeyboardInterrupt):
            run.begin("describe", {"words": 30}) if way == "there" else run.take_back("describe")
        monkeypatch.undo()
    with Run.open(tmp_path / "run", create=False) as run:
        run.take_back("describe", before.fingerprint)
        assert run.stages["describe"] == before
        run.check("describe")


def test_a_stage_done_again_keeps_what_it_had_until_it_is(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        before = run.stages["describe"]
        assert run.stage("describe", FIELDS, again=True).state == "fresh"
        run.begin("describe", FIELDS, again=True)
        assert run.stage("describe", FIELDS, again=True).state == "resume"
        assert run.take_back("describe")
        assert run.stages["describe"] == before


@pytest.mark.parametrize("how", ["left running", "failed"])
def test_a_stage_that_stopped_half_way_keeps_its_work(tmp_path: Path, how: str) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.begin("describe", FIELDS)
        with Journal(run.journal_path("describe")) as journal:
            journal.append("a", {"n": 1})
        if how == "failed":
            run.fail("describe", "no answer")
            assert run.stages["describe"].notes == ("no answer",)
    with Run.open(tmp_path / "run", create=False) as run:
        assert run.begin("describe", FIELDS).state == "resume"
        with Journal(run.journal_path("describe")) as journal:
            assert list(journal.done) == ["a"]


def test_a_changed_upstream_stage_changes_those_below(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run, "describe", {"words": 25})
        below = {"describe": run.stages["describe"].fingerprint}
        work(run, "train", below)
        work(run, "describe", {"words": 30})
        plan = run.stage("train", {"describe": run.stages["describe"].fingerprint})
        assert (plan.state, plan.changed) == ("changed", ("describe",))


def test_a_finished_stage_whose_file_is_gone_is_done_again(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        (run.folder / "describe.json").unlink()
        plan = run.stage("describe", FIELDS)
        assert (plan.state, plan.missing) == ("fresh", ("describe.json",))


def test_an_interrupted_run_has_the_manifest_of_a_straight_one(tmp_path: Path) -> None:
    with Run.open(tmp_path / "straight", create=True) as run:
        run.configure({"seed": 0}, version="0.1.0")
        work(run)
        work(run, "profile")
    with Run.open(tmp_path / "broken", create=True) as run:
        run.configure({"seed": 0}, version="0.1.0")
        run.begin("describe", FIELDS)
        run.fail("describe", "power cut")
    with Run.open(tmp_path / "broken", create=True) as run:
        work(run)
        run.begin("profile", {"other": 1})
        (run.folder / f".tmp.{os.getpid()}.profile.json").write_text("half")
    with Run.open(tmp_path / "broken", create=True) as run:
        work(run, "profile")
    names = sorted(file.name for file in (tmp_path / "straight").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "broken").iterdir())
    for name in set(names) - {"times.json"}:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_times_are_kept_apart_from_the_manifest(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        entry = run.times()["describe"]
    assert set(entry) == {"started", "finished", "seconds"}
    assert entry["seconds"] >= 0
    assert "started" not in (tmp_path / "run" / "manifest.json").read_text()


@pytest.mark.parametrize("name", ["manifest", "times", "../up", "Describe", ""])
def test_names_that_would_reach_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with Run.open(tmp_path / "run", create=True) as run, pytest.raises(ValueError, match="not a stage name"):
        run.begin(name, {})


def test_what_is_not_done_is_named_with_what_to_do(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.begin("train", {})
        with pytest.raises(NotInRunError, match="train is running, not done") as caught:
            run.require("train")
        assert "reasoningrec run --run" in caught.value.hint
    with pytest.raises(NotInRunError, match="train is interrupted, not done"):  # nobody works in it any more
        Run.read(tmp_path / "run").require("train")


# The folder


def test_a_second_writer_is_told_who_works_there(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        work(run)
        with pytest.raises(RunError, match=rf"run: process {os.getpid()} is working in it"):
            Run.open(tmp_path / "run", create=True)
        assert Run.read(tmp_path / "run").require("describe")
    Run.open(tmp_path / "run", create=False).close()


def test_kill_9_lets_the_next_process_in(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom reasoningrec.runs import Run\n"
        "run = Run.open(Path(sys.argv[1]), create=True)\nrun.begin('describe', {})\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(RunError, match=f"process {process.pid} "):
            Run.open(tmp_path / "run", create=True)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with Run.open(tmp_path / "run", create=False) as run:
        assert run.stage("describe", {}).state == "resume"


def test_a_run_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", create=True) as run:
        run.configure({}, version="0.1.0")
    with pytest.raises(RunError, match="opened for reading only"):
        Run.read(tmp_path / "run").begin("describe", FIELDS)


def a_file(path: Path) -> None:
    path.write_text("x")


def a_folder_of_other_things(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def another_programs_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "a web page"}')
    (path / ".tmp.keep").write_text("x")


def a_damaged_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"config": {},\n"version')


def an_edited_manifest(path: Path) -> None:
    path.mkdir()
    stages = {"train": {"status": "finished"}}
    (path / "manifest.json").write_text(json.dumps({"config": {}, "version": "1", "stages": stages}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (a_file, "is a file, not a run's folder"),
        (a_folder_of_other_things, r"holds other things than a run \(thesis\.tex\)"),
        (another_programs_manifest, "is not a run's manifest"),
        (a_damaged_manifest, r"manifest\.json:2: "),
        (an_edited_manifest, "StageRecord.status: expected 'pending' or 'running'"),
    ],
)
def test_places_that_are_no_run_are_refused_untouched(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "place")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=message) as caught:
        Run.open(tmp_path / "place", create=True)
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_run_is_not_made_when_only_opening(tmp_path: Path) -> None:
    for opened in (lambda: Run.open(tmp_path / "no", create=False), lambda: Run.read(tmp_path / "no")):
        with pytest.raises(RunError, match="is not a run's folder"):
            opened()
    assert not (tmp_path / "no").exists()


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        Run.open(tmp_path / "file" / "run", create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"):
        Run.open(tmp_path / "run", create=True)


def test_an_empty_folder_or_one_killed_at_birth_may_become_a_run(tmp_path: Path) -> None:
    Run.open(tmp_path, create=True).close()
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
    Run.open(tmp_path, create=True).close()
