"""The commands in order, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer
from rich.console import Console

from reasoningrec import __version__
from reasoningrec.cli import ask, audit, batch, cache, compare, data, runs, student, texts
from reasoningrec.errors import MissingExtraError, ReasoningRecError
from reasoningrec.unseen import shown

WRONG_INPUT, FAILED, INTERRUPTED, CLOSED = 2, 3, 130, 141
FAULT = "the above is a fault of reasoningrec: please report it. What a run has done is kept."
app = typer.Typer(
    name="reasoningrec",
    help="Recommendations with a reason: whether a person will like an item, how sure that is, and why.",
    epilog="Exit codes: 0 done, 1 an audit found something, 2 the input is wrong, 3 failed part-way (what is done is "
    "kept), 130 interrupted, 141 the reader of the output left early.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"reasoningrec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


START, ASK, TRUST = "Start", "Ask a finished run", "Trust its figures"
STAGES = "One stage at a time (and what must come before it)"
MODELS = "Answers of models, and texts"
app.command("demo", rich_help_panel=START)(ask.demo)
app.command("init", rich_help_panel=START)(runs.init)
app.add_typer(data.app, name="data", rich_help_panel=START)
app.command("run", rich_help_panel=START)(runs.run)
app.command("status", rich_help_panel=START)(runs.status)
app.command("recommend", rich_help_panel=ASK)(ask.recommend)
app.command("explain", rich_help_panel=ASK)(ask.explain)
app.add_typer(student.app, name="student", rich_help_panel=ASK)
app.command("audit", rich_help_panel=TRUST)(audit.audit)
app.command("compare", rich_help_panel=TRUST)(compare.compare)
app.add_typer(cache.app, name="cache", rich_help_panel=MODELS)
app.add_typer(batch.app, name="batch", rich_help_panel=MODELS)
app.add_typer(texts.app, name="texts", rich_help_panel=MODELS)
for _name, _does in runs.STAGES:
    app.command(_name, rich_help_panel=STAGES, short_help=_does)(runs.stage_command(_name, _does))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, on `sys.argv` or on `arguments`, and exit.

    Raises:
        SystemExit: 0 done, 1 an audit found something, 2 the input is wrong, 3 failed part-way, 130 interrupted,
            141 the reader of the output left early.
    """
    _show_any_text()
    _share_cores()
    try:
        app(args=arguments, prog_name="reasoningrec")
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and isinstance(stop.__context__, BrokenPipeError):
            sys.exit(CLOSED)  # not 1: an audit whose reader left early did not say that it found something
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        _stop("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort
        known = _message_and_code(error)
        if known is None:
            traceback.print_exc()
        _stop(*(known or (FAULT, FAILED)))


def _show_any_text() -> None:
    """Where the terminal cannot show a sign, print its code instead of stopping."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _share_cores() -> None:
    """Have PyTorch's threads wait for one another without the core for all but the first moment.

    A thread that waits actively, by default for milliseconds, holds the core that the one it waits for needs where the
    machine has other work, too. libgomp reads this when PyTorch is loaded; see docs/decisions/0032-shared-cores.md.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _stop(message: str, code: int) -> NoReturn:
    console = Console(stderr=True)
    if code != INTERRUPTED:
        console.print("error: ", style="bold red", end="")
    console.print(shown(message), markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _message_and_code(error: Exception) -> tuple[str, int] | None:
    """What to say of an error, and the exit code; None for a fault of the code itself, which is shown in full.

    That one's code is not 1, either, which says that an audit found something.
    """
    if isinstance(error, ModuleNotFoundError):
        error = _extra_of(error) or error
    if isinstance(error, ReasoningRecError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        # A full disk, a folder taken away: nothing a person typed, and no fault of the code either.
        code = WRONG_INPUT if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else FAILED
        return (f"{error.filename}: {error.strerror}" if error.filename else str(error)), code
    return None


def _extra_of(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error to show for a package of an extra that is not installed; None for anything else."""
    if error.name in ("torch", "transformers", "tokenizers", "safetensors", "peft"):
        return MissingExtraError(f"this needs the package {error.name}", hint="pip install 'reasoningrec[student]'")
    return None
