"""The command line as a whole: help, exit codes, and that it starts at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reasoningrec
from reasoningrec import config
from reasoningrec.cli import app, runs
from reasoningrec.errors import StudentError
from running import Cli

COMMANDS = (
    *("demo", "init", "data", "data check", "run", "describe", "profile", "reason", "verify"),
    *("train", "score", "predict", "baselines", "evaluate", "report", "recommend", "explain", "status"),
    *("student", "student export", "student curve", "student latency", "student check"),
    *("cache", "cache show", "cache verify", "cache export", "cache prune"),
    *("batch", "batch export", "batch import", "batch drop", "texts", "texts export"),
    *("audit", "compare"),
)
HEAVY = ("torch", "transformers", "polars", "numpy", "pydantic", "sklearn", "matplotlib", "pyarrow", "jinja2")


def test_help_names_every_command(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.code == 0
    for command in COMMANDS:
        assert re.search(rf"^│ {command.split()[0]} ", shown.out, re.MULTILINE), command
    assert "Exit codes: 0 done, 1 an audit found something, 2 the input is wrong" in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_says_what_each_option_is(cli: Cli, command: str) -> None:
    shown = cli(*command.split(), "--help")
    assert shown.code == 0
    assert f"Usage: reasoningrec {command}" in shown.out
    for option in re.findall(r"^│ [* ] +--.*", shown.out, re.MULTILINE):
        text = re.sub(r"--\S+|<[^>]*>|\[[^\]]*\]|[│*]", "", option).strip()
        assert len(text) > 5, option


def test_no_arguments_show_the_help(cli: Cli) -> None:
    shown = cli()
    assert "Usage: reasoningrec" in shown.out + shown.err


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"reasoningrec {reasoningrec.__version__}\n"


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "10000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_threads_that_wait_give_their_core_away_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that what is set below goes when the test ends
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        app.main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from reasoningrec.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = {name.partition(".")[0] for name in json.loads(shown.stdout.splitlines()[-1])}
    assert not modules & set(HEAVY)


def test_it_runs_as_a_module() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "reasoningrec", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == f"reasoningrec {reasoningrec.__version__}\n"


def test_the_protocols_offered_are_those_of_the_configuration() -> None:
    assert tuple(runs.ProtocolName) == config.Protocol.__args__  # type: ignore[attr-defined]


def test_the_stages_offered_are_those_of_the_line() -> None:
    from reasoningrec.pipeline.line import NAMES

    assert tuple(name for name, _ in runs.STAGES) == NAMES[3:]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (StudentError("no rows"), 3, "error: no rows"),
        (OSError(28, "No space left on device", "a.jsonl"), 3, "error: a.jsonl: No space left on device"),
        (OSError(36, "File name too long", "a"), 2, "error: a: File name too long"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "pip install 'reasoningrec[student]'"),
    ],
)
def test_errors_become_messages_and_exit_codes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, says: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("reasoningrec.config.read", fail)
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "c.toml")
    assert answer.code == code
    assert says in answer.err
    assert not answer.out


def test_a_link_to_itself_is_told_as_wrong_input(cli: Cli, small_run: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for command, says in (
        (("compare", loop), "is not a run's folder"),
        (("audit", "--run", small_run, "--against", loop), "is not a run's folder"),
        (("data", "check", loop), "no such"),
    ):
        answer = cli(*command)
        assert (answer.code, f"{loop}: {says}" in answer.err) == (2, True), answer.err


@pytest.mark.parametrize(
    "fault",
    [
        ModuleNotFoundError("No module named 'reasoningrec.gone'", name="reasoningrec.gone"),
        ZeroDivisionError("of none"),
    ],
)
def test_a_fault_of_the_code_itself_is_not_hidden_and_not_told_as_a_find(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("reasoningrec.pipeline.audit.audit_run", fail)
    with pytest.raises(SystemExit) as stop:
        app.main(["audit", "--run", str(tmp_path / "run")])
    assert stop.value.code == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert str(fault) in said
    assert app.FAULT in said


def test_what_would_steer_a_terminal_is_shown_by_its_code(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,rating\nu,i,\x1b[31m5\u202e\n", "utf-8")
    answer = cli("data", "check", tmp_path / "a.csv")
    assert r'"\x1b[31m5\u202e" is no number' in answer.err
    assert not set("\x1b\u202e") & set(answer.err)


def test_signs_the_terminal_cannot_show_do_not_stop_it() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "reasoningrec", "--help"],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert shown.returncode == 0, shown.stderr
    assert b"recommend" in shown.stdout


def test_a_reader_that_leaves_early_is_not_told_as_a_find(small_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"  # the look is noted in it, with the command
    shutil.copytree(small_run, copy)
    reading, writing = os.pipe()
    os.close(reading)
    asked = [sys.executable, "-m", "reasoningrec", "audit", "--run", str(copy)]
    shown = subprocess.run(asked, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=300)
    os.close(writing)
    assert shown.returncode == 141
    assert not shown.stderr


def test_a_file_that_cannot_be_written_is_named_as_its_user_did(small_run: Path, cli: Cli) -> None:
    answer = cli("compare", small_run, "--markdown", "/proc/table.md")
    assert answer.code == 3
    assert answer.err.startswith("error: /proc/table.md: ")
