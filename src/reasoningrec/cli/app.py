"""The commands in order, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from reasoningrec import __version__
from reasoningrec.cli import ask, data, runs
from reasoningrec.errors import MissingExtraError, ReasoningRecError

INTERRUPTED = 130
app = typer.Typer(
    name="reasoningrec",
    help="Recommendations with a reason: whether a person will like an item, how sure that is, and why.",
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


app.command("demo")(ask.demo)
app.command("init")(runs.init)
app.add_typer(data.app, name="data")
app.command("run")(runs.run)
for _stage in runs.STAGE_COMMANDS:
    app.command(_stage.__name__)(_stage)
app.command("recommend")(ask.recommend)
app.command("explain")(ask.explain)
app.command("status")(runs.status)


def main() -> None:
    """Run the command line. Exits 0: done, 2: the input is wrong, 3: failed part-way, 130: interrupted."""
    console = Console(stderr=True)
    try:
        app()
    except ReasoningRecError as error:
        _say(console, str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        missing = _extra_of(error)
        if missing is None:
            raise
        _say(console, str(missing))
        sys.exit(missing.exit_code)
    except KeyboardInterrupt:
        console.print("\nInterrupted. What is done is kept: the same command goes on from here.", style="yellow")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)


def _say(console: Console, message: str) -> None:
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def _extra_of(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error to show for a package of an extra that is not installed; None for anything else."""
    if error.name in ("torch", "transformers", "tokenizers", "safetensors"):
        return MissingExtraError(f"this needs the package {error.name}", hint="pip install 'reasoningrec[student]'")
    return None
