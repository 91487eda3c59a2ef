"""`reasoningrec cache show | verify | export | prune`: what is in the file that keeps the models' answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from reasoningrec.cli.saying import many, say

if TYPE_CHECKING:
    from reasoningrec.llm.cache import Cache, Entry

app = typer.Typer(no_args_is_help=True, help="Look into the file that keeps the models' answers: `cache show`.")
CACHE = typer.Option(None, "--cache", help="The file. Without it: $REASONINGREC_CACHE, or that of your cache folder.")
SOME = 5
"""Entries that are named where a key fits several."""


@app.command("show")
def show(
    key: str | None = typer.Argument(None, help="A key, or how it begins: print that entry whole."),
    cache: Path | None = CACHE,
) -> None:
    """Print what is kept, by server and model; or one entry with all that was asked and answered. Changes nothing."""
    with _opened(cache) as opened:
        if key is not None:
            _print_entry(opened, key)
        else:
            _print_holdings(opened)


@app.command("verify")
def verify(cache: Path | None = CACHE) -> None:
    """Derive every key again, and list what is wrong with the file. Changes nothing."""
    from reasoningrec.errors import RunError

    console = Console()
    with _opened(cache) as opened:
        try:
            problems = opened.verify()
        except RunError as error:  # so damaged that it cannot be read to its end
            problems = [str(error)]
        for problem in problems:
            say(console, problem)
        say(console, f"{opened.path}: {many(len(problems), 'problem')} found" if problems else "every key is right")
    if problems:
        raise typer.Exit(3)


@app.command("export")
def export(
    file: Path = typer.Argument(help="Where to write it (.jsonl). Never overwrites."),
    cache: Path | None = CACHE,
) -> None:
    """Write every entry as one line of JSON: key, model, time, request, answer."""
    from reasoningrec.rows import creating, line_of

    count = 0
    with _opened(cache) as opened, creating(file) as temporary, temporary.open("wb") as out:
        for count, entry in enumerate(opened.entries(), 1):  # noqa: B007 - how many there were
            out.write(line_of(_row(entry)))
    say(Console(), f"wrote {file}: {many(count, 'answer')}")


@app.command("prune")
def prune(
    before: str | None = typer.Option(None, help="Answers older than this: a date (2026-01-31) or days (90d)."),
    model: str | None = typer.Option(None, help="Answers of this model."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    cache: Path | None = CACHE,
) -> None:
    """Remove answers: older ones, those of a model, or those that are both. Says what it removes, and asks."""
    from reasoningrec.errors import InputError

    if before is None and model is None:
        raise InputError("--before, --model: at least one is needed", hint="They say what to remove.")
    moment = None if before is None else _moment(before)
    console = Console()
    with _opened(cache, write=True) as opened:
        known = sorted({holding.model for holding in opened.holdings() if holding.usage.calls})
        if model is not None and model not in known:
            raise InputError(
                f"--model: {opened.path} holds no answers of {model!r}", hint=f"It holds: {', '.join(known) or 'none'}."
            )
        count = opened.prune(before=moment, model=model, really=False)
        which = f" of {model}" * (model is not None) + f" from before {_day(moment)}" * (moment is not None)
        say(console, f"{opened.path}: {many(count, 'answer')}{which}")
        if not count or not (yes or _agreed(f"Remove {'them' if count > 1 else 'it'}?")):
            say(console, "nothing was removed")
            return
        say(console, f"removed: {many(opened.prune(before=moment, model=model), 'answer')}")


@contextmanager
def _opened(file: Path | None, *, write: bool = False) -> Iterator[Cache]:
    from reasoningrec.errors import InputError
    from reasoningrec.llm.cache import Cache, place

    path = file or place("")
    if not path.is_file():
        what = "is a folder, not a cache" if path.is_dir() else "there is no cache"
        hint = "It is made when a model is first asked; name another with --cache, or in $REASONINGREC_CACHE."
        raise InputError(f"{path}: {what}", hint=hint)
    with Cache(path, create=False, write=write) as opened:
        yield opened


def _print_holdings(cache: Cache) -> None:
    console = Console()
    holdings = cache.holdings()
    say(console, f"{cache.path}: {_bytes(cache.path.stat().st_size)}")
    say(console, f"answers {sum(h.usage.calls for h in holdings):,}, being asked now {cache.claimed():,}")
    for holding in holdings:
        used, lines = holding.usage, []
        if used.calls:
            lines.append(f"answers {used.calls:,} from {_day(holding.oldest)} to {_day(holding.newest)}")
            lines.append(f"tokens {used.input_tokens:,} in, {used.output_tokens:,} out")
        if holding.batched:
            lines.append(f"out in batches {holding.batched:,}")
        say(console, f"\n{holding.model} on {holding.server or 'this machine'}", style="bold")
        say(console, "\n".join(f"  {line}" for line in lines))


def _print_entry(cache: Cache, key: str) -> None:
    from reasoningrec.errors import InputError

    key = key if key.startswith("v") else f"v1:{key}"
    found = list(islice(cache.entries(key), SOME + 1))
    console = Console()
    if len(found) > 1:
        _, *more = names = [entry.key for entry in found[:SOME]]
        raise InputError(
            f"KEY: more than one begins with {key!r}: {', '.join(names)}{', ...' * (len(found) > SOME)}",
            hint=f"Write more of it: as {more[0]}.",
        )
    if found:
        _print_whole(console, found[0])
    elif out := cache.out(key):
        say(console, f"{key}\nis out in a batch: there is no answer yet")
        _print_request(console, out[0])
    else:
        raise InputError(f"KEY: no entry of {cache.path} begins with {key!r}", hint="`cache export` lists all keys.")


def _print_whole(console: Console, entry: Entry) -> None:
    answer = entry.answer
    say(console, entry.key, style="bold")
    say(console, f"model {entry.model}, {_time(entry.made)}")
    used = answer.usage
    say(console, f"tokens {used.input_tokens:,} in, {used.output_tokens:,} out; ended with {answer.finish!r}")
    if answer.error:
        say(console, f"cannot be used: {answer.error}")
    _print_request(console, entry.request)
    if answer.thinking:
        _part(console, "thinking", answer.thinking)
    _part(console, "answer", answer.text)


def _print_request(console: Console, request: Any) -> None:
    import json

    settings = {name: value for name, value in request.items() if name != "messages"}
    _part(console, "request", json.dumps(settings, ensure_ascii=False, indent=2))
    for message in request.get("messages", ()):
        _part(console, str(message.get("role")), str(message.get("content")))


def _row(entry: Entry) -> dict[str, Any]:
    """An entry as a line of the export."""
    answer = entry.answer
    return {
        "key": entry.key,
        "model": entry.model,
        "made": datetime.fromtimestamp(entry.made, UTC).isoformat(timespec="seconds"),
        "request": entry.request,
        "answer": {"text": answer.text, "thinking": answer.thinking, "finish": answer.finish, "error": answer.error},
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
    }


def _moment(text: str) -> float:
    """Unix seconds of a date, or of so many days ago."""
    from reasoningrec.errors import InputError

    try:
        if days := re.fullmatch(r"(\d+)d", text):
            return (datetime.now(UTC) - timedelta(days=int(days[1]))).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InputError(
            f"--before: {text!r} is neither a date nor a number of days", hint="For example 2026-01-31, or 90d."
        ) from None


def _agreed(question: str) -> bool:
    """Whether the person at the terminal says yes."""
    from reasoningrec.errors import InputError

    if not sys.stdin.isatty():
        raise InputError("--yes: is needed where nobody can be asked")
    typer.echo(f"{question} [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _day(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _part(console: Console, name: str, text: str) -> None:
    say(console, f"\n{name}", style="bold cyan")
    say(console, text)
