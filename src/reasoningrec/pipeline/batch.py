"""Batches at half price: the pending calls of a stage as files for a server's batch interface, and their answers back.

The files are those of the OpenAI Batch API, which other servers have too: one request a line, named by its key in the
cache. What is in a file is marked as out, and is asked by nobody until its answer is taken in or it is given up.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoningrec.config import Config, ModelConfig, Price
from reasoningrec.errors import InputError
from reasoningrec.llm import cache as caches
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.llm.client import Answer, Request, Usage
from reasoningrec.llm.endpoint import ADDED, Endpoint, most_written
from reasoningrec.llm.limits import Purse, cost_of, cost_of_bought
from reasoningrec.llm.received import received, refused
from reasoningrec.llm.tokens import estimate
from reasoningrec.pipeline.line import check_before, states_of
from reasoningrec.pipeline.pending import pending, recalling, unwritten, work_of
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import buyer_of, judge_of
from reasoningrec.rows import Json, creating, encode, line_of
from reasoningrec.runs import Run, canonical

MOST_REQUESTS: Final = 50_000
MOST_BYTES: Final = 190_000_000
"""Of one file; servers take 200 MB."""
ADDRESS: Final = "/v1/chat/completions"
SHARE: Final = 0.5
"""Of the ordinary price, where the table of prices says nothing of the model."""


@dataclass
class Exported:
    """What went out."""

    files: list[Path] = field(default_factory=list)
    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    """Tokens of the prompts, counted or estimated, and the most that the answers may have."""
    cost: float | None = None
    """Of these; None where there is no price."""
    out: int = 0
    """Pending requests that were out before."""
    theirs: int = 0
    """Those that another process asks right now."""
    stopped: str = ""
    """Why not all that is pending went out."""


@dataclass
class Imported:
    """What came in."""

    usage: Usage = field(default_factory=Usage)
    """Of the answers taken in; `calls` counts them."""
    again: int = 0
    """Answers that had been there before."""
    failed: Counter[str] = field(default_factory=Counter)
    """Why a request got no answer, and how often."""
    freed: int = 0
    """Of these, requests that may be asked again now."""
    skipped: list[str] = field(default_factory=list)
    """Lines that are of no use, and why."""


def ready(config: Config, stage: str, folder: Path) -> ModelConfig:
    """The model on a server that answers in `stage`. Raises InputError where there is none, or files have no place."""
    chosen = judge_of(config) if stage == "verify" else config.teacher
    if chosen is None:
        raise InputError(f"{stage}: no model judges here", hint="Set verify.self_check = true, and a [judge].")
    if not chosen.endpoint:
        who = "the offline writer" if chosen.offline else f"{chosen.model} on this machine"
        section = "judge" if stage == "verify" and not config.judge.offline else "teacher"
        raise InputError(
            f"{stage}: is done by {who}; batches are for models on a server", hint=f"Set {section}.endpoint."
        )
    if not (folder if folder.exists() else folder.parent).is_dir():
        raise InputError(f"{folder}: is a file, or its own folder is not there", hint="Name a folder for the files.")
    return chosen


def export(run: Run, space: Workspace, stage: str, folder: Path) -> Exported:
    """Write the pending requests of a stage as batch files into `folder`, and mark them as out.

    Files are STAGE-001.jsonl and so on, after those that are there; nothing is marked before all are written.

    Raises:
        InputError: no server answers in the stage, what it reads is not done, or the folder cannot be written.
        RunError: the cache cannot be used.
    """
    chosen = ready(space.config, stage, folder)
    check_before(run, space, stage)
    work = unwritten(run, stage, states_of(run, space)[stage], work_of(space, stage))
    with Cache(caches.place(space.config.cache)) as cache:
        buyer = buyer_of(run.folder)
        purse = _purse(space.config, chosen, cache, buyer)
        model = Endpoint(chosen, purse, cache, asks=False)
        choosing = _Choosing(model, cache, purse)
        done = choosing.done
        done.files = _write(choosing.lines(pending(work, recalling(model, cache))), stage, folder)
        if done.files:
            if chosen.answer_form == "auto":
                model.assume(model.form())
            cache.batch(_sent(done.files, model.url), buyer)
    price = space.config.prices.get(chosen.model)
    done.cost = None if price is None else cost_of(done.usage, price, price.batch_share)
    return done


def take_in(files: Sequence[Path], config: Config) -> Imported:
    """Take the answers in batch output files into the cache. What is in it already, or was not sent out, is left.

    Raises:
        InputError: a file cannot be read, or none of the lines in all of them is one of a batch's output.
        RunError: the cache cannot be used.
    """
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}", hint="Name output files.")
    found, failed, seen = Imported(), set[str](), set[str]()
    with Cache(caches.place(config.cache), create=False) as cache:
        for path in files:
            for number, line in _lines(path):
                try:
                    key, response = _output(line)
                    answer, request, buyer = _answer(key, response, cache)
                except ValueError as error:
                    found.skipped.append(f"{path}:{number}: {error}")
                    continue
                if key in seen:
                    found.skipped.append(f"{path}:{number}: answers {key[:15]} a second time: the first counts")
                elif not answer.received:
                    failed.add(key)
                    found.failed[answer.error] += 1
                elif request is None:
                    found.again += 1
                else:
                    price = config.prices.get(str(request.get("model")))
                    cache.put(key, request, answer, buyer, price.batch_share if price else SHARE)
                    found.usage += answer.usage
                    seen.add(key)
        found.freed = _give_up(cache, failed)
    if found.skipped and not (found.usage.calls or found.again or found.failed):
        raise InputError(found.skipped[0], hint="The server's output and error files are wanted, as they come.")
    return found


def drop(folder: Path, config: Config, *, everybody: bool) -> tuple[int, int]:
    """Give up what the run has out, or what `everybody` has: (how many requests, how many of other runs are left).

    Raises RunError where the cache cannot be used.
    """
    with Cache(caches.place(config.cache), create=False) as cache:
        given_up = _give_up(cache, cache.batched(None if everybody else buyer_of(folder)))
        return given_up, len(cache.batched())


class _Choosing:
    """Which requests go into files: those that nobody else asks, as far as the budget allows."""

    def __init__(self, model: Endpoint, cache: Cache, purse: Purse) -> None:
        self._model, self._cache, self._purse = model, cache, purse
        self.done = Exported()

    def lines(self, requests: Iterable[Request]) -> Iterator[bytes]:
        """Lines of batch files."""
        seen: set[str] = set()
        for request in requests:
            body = self._model.body(request)
            key = key_of(body)
            if key in seen:
                continue
            seen.add(key)
            state = self._cache.claim(key)
            self.done.out += state == "batched"
            self.done.theirs += state == "theirs"
            if state != "ours":
                continue
            sent = {name: value for name, value in body.items() if name != "endpoint"}
            line = line_of({"custom_id": key, "method": "POST", "url": ADDRESS, "body": sent})
            if not self._affords(request, _size(body)):
                self.done.stopped = str(self._purse.exhausted())
                return
            self.done.requests += 1
            yield line

    def _affords(self, request: Request, size: int) -> bool:
        tokens, exact = self._model.count_tokens(request)
        most = most_written(self._model.config)
        if not _spend(self._purse, Usage(1, tokens + ADDED if exact else size, most)):
            return False
        self.done.usage += Usage(1, tokens, most)
        return True


def _purse(config: Config, chosen: ModelConfig, cache: Cache, buyer: str) -> Purse:
    """What the run may still send out, at the price of batches; all that is out already is taken as spent."""
    bought = cache.bought(buyer)
    price = config.prices.get(chosen.model)
    if price is not None:
        price = Price(input=price.input * price.batch_share, output=price.output * price.batch_share)
    tokens = sum(part.usage.input_tokens + part.usage.output_tokens for part in bought)
    purse = Purse(config.budget, price, tokens, cost_of_bought(bought, config.prices))
    if config.budget.tokens or config.budget.cost:
        for request in cache.batched(buyer).values():
            worst = Usage(1, _size(request), most_written(chosen))
            purse.tokens += worst.input_tokens + worst.output_tokens
            purse.cost += cost_of(worst, price)
    return purse


def _size(body: Mapping[str, Json]) -> int:
    """Bytes of a whole request; no text has more tokens than bytes."""
    return len(encode(canonical(body)))


def _spend(purse: Purse, worst: Usage) -> bool:
    """Take it that a call used the most it may; False where the budget does not allow it."""
    ticket = purse.reserve(worst)
    if ticket is not None:
        purse.settle(ticket, worst)
    return ticket is not None


def _write(lines: Iterable[bytes], stage: str, folder: Path) -> list[Path]:
    """Lines as files of at most `MOST_REQUESTS` lines and `MOST_BYTES` bytes; all of them whole, or none."""
    there = folder.iterdir() if folder.exists() else ()
    known = (re.fullmatch(rf"{stage}-(\d+)\.jsonl", path.name) for path in there)
    number = max((int(match[1]) for match in known if match), default=0)
    files: list[Path] = []
    with contextlib.ExitStack() as stack:
        out: BinaryIO | None = None
        count = size = 0
        for line in lines:
            if out is None or count == MOST_REQUESTS or size + len(line) > MOST_BYTES:
                folder.mkdir(exist_ok=True)
                files.append(folder / f"{stage}-{number + len(files) + 1:03d}.jsonl")
                out = stack.enter_context(stack.enter_context(creating(files[-1])).open("wb"))
                count = size = 0
            out.write(line)
            count, size = count + 1, size + len(line)
    return files


def _sent(files: Iterable[Path], url: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, whole request) of every line in batch files."""
    for path in files:
        for _, line in _lines(path):
            row = json.loads(line)
            yield row["custom_id"], {**row["body"], "endpoint": url}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the lines that are not blank. Raises InputError."""
    try:
        with path.open("rb") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _output(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """(custom_id, the line) of a batch's output. Raises ValueError, saying what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    key = row.get("custom_id")
    if not isinstance(key, str) or not key:
        raise ValueError("has no custom_id")
    if not row.get("response") and not row.get("error"):
        raise ValueError("is a request, no answer" if "body" in row else "has neither response nor error")
    return key, row


def _answer(key: str, row: Mapping[str, Any], cache: Cache) -> tuple[Answer, Mapping[str, Any] | None, str]:
    """(answer, request, who pays) of a line; no request where there is an answer to it already.

    Raises ValueError where the line's answer cannot be read, or answers what is not out.
    """
    response, error = row.get("response"), row.get("error")
    if response and not (isinstance(response, dict) and isinstance(response.get("status_code"), int)):
        raise ValueError("its response has no status_code")
    request, buyer = cache.out(key) or (None, "")
    if not response or (response["status_code"] != 200 and error):
        told = error.get("message") or error.get("code") if isinstance(error, dict) else error
        return Answer("", error=" ".join(str(told or "no reason given").split())[:300], received=False), request, buyer
    text = json.dumps(response.get("body"))
    if response["status_code"] != 200:
        return refused(response["status_code"], text, {}).answer, request, buyer
    if request is None and cache.get(key) is None:
        raise ValueError(f"answers {key[:40]!r}, which is not out: it was never exported here, or was given up")
    return received(text, 0.0, _prompt_tokens(request)).answer, request, buyer


def _prompt_tokens(request: Mapping[str, Any] | None) -> int:
    return estimate(str(message.get("content")) for message in (request or {}).get("messages", ()))


def _give_up(cache: Cache, keys: Iterable[str]) -> int:
    """How many of the requests with these keys were out; now they may be asked again."""
    out = [key for key in keys if cache.out(key)]
    cache.unbatch(out)
    return len(out)
