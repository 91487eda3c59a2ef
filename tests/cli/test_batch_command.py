"""`reasoningrec batch export | import | drop`: requests go out once, answers come in, and a run asks nothing."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reasoningrec.config import read
from reasoningrec.llm.cache import Cache, key_of
from reasoningrec.pipeline import batch
from reasoningrec.pipeline.pending import pending, recalling, unwritten, work_of
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.pipeline.writers import model_of
from reasoningrec.runs import Run
from running import SMALL, Answer, Cli

Line = dict[str, Any]


class Counting(ThreadingHTTPServer):
    """A chat server that answers nothing, and counts what it is asked."""

    daemon_threads = True
    asked = 0


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Counting)
        self.server.asked += 1
        self.send_error(400)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Shop:
    """A run with a teacher on a server, and the part of its server that works batch files off."""

    def __init__(self, cli: Cli, folder: Path, port: int) -> None:
        self.cli, self.folder, self.run = cli, folder, folder / "run"
        self.cache, self.config = folder / "answers.sqlite", folder / "c.toml"
        self.teacher = f'[teacher]\nendpoint = "http://127.0.0.1:{port}/v1"\nmodel = "m"\nkey_env = "NOT_SET_HERE"\n'
        self.configure()

    def configure(self, more: str = "") -> None:
        top, rest = SMALL.split("[data]", 1)
        text = f'{top}cache = "answers.sqlite"\n[data]{rest}{self.teacher}[prices.m]\ninput = 1.0\noutput = 4.0\n{more}'
        self.config.write_text(text, "utf-8")

    def export(self, stage: str) -> Answer:
        return self.cli("batch", "export", "--run", self.run, stage, self.folder / "out", self.config)

    def take_in(self, *files: Path) -> Answer:
        return self.cli("batch", "import", "--run", self.run, *files)

    def sent(self, answer: Answer) -> list[Line]:
        """The lines of the files that an export tells of."""
        return [
            row for file in re.findall(r"^  (\S+\.jsonl)$", answer.out, re.MULTILINE) for row in rows_of(Path(file))
        ]

    def answered(self, lines: list[Line], name: str = "output.jsonl", **content: str) -> Path:
        return written(self.folder / name, [output(line, **content) for line in lines])

    def asked(self, stage: str) -> list[Line]:
        answer = self.export(stage)
        assert answer.code == 0, answer.err
        return self.sent(answer)

    def through(self, stage: str, **content: str) -> int:
        """Everything that a stage asks, in as many rounds as it takes; how many those are."""
        rounds = 0
        while lines := self.asked(stage):
            rounds += 1
            taken = self.take_in(self.answered(lines, f"{stage}-{rounds}-out.jsonl", **content))
            assert taken.out.startswith(f"taken in: {len(lines)} answer"), taken.out
        return rounds


@pytest.fixture
def shop(cli: Cli, tmp_path: Path, server: Counting) -> Shop:
    return Shop(cli, tmp_path, server.server_port)


def rows_of(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def written(path: Path, lines: list[Line | str]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def output(line: Line, **content: str) -> Line:
    """What a server makes of a line, with an answer by its schema."""
    wanted = line["body"]["response_format"]["json_schema"]["schema"]["properties"]
    said = {name: content.get(name, f"A {name} of words.") for name in wanted}
    message = {"role": "assistant", "content": json.dumps(said)}
    body = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": None}


def failed(line: Line) -> Line:
    error = {"code": "batch_expired", "message": "This request could not be executed."}
    return {"id": "batch_req_2", "custom_id": line["custom_id"], "response": None, "error": error}


def refused(line: Line) -> Line:
    body = {"error": {"message": "The prompt is too long"}}
    return {"custom_id": line["custom_id"], "response": {"status_code": 400, "body": body}, "error": None}


YES = {"prediction": "Yes", "taste": "You like quiet things.", "why": "You will like it, it is a good match for you."}


def test_a_run_finds_all_its_answers_and_asks_nothing(shop: Shop, server: Counting) -> None:
    assert shop.through("describe") == 1
    assert shop.through("profile") == 1
    answer = shop.cli("describe", "--run", shop.run, shop.config)
    assert "NOT_SET_HERE is not set" in answer.err  # a run may have to ask, so it wants the key; files need none
    shop.teacher = shop.teacher.replace('key_env = "NOT_SET_HERE"\n', "")
    shop.configure()
    assert shop.cli("profile", "--run", shop.run, shop.config).code == 0
    assert shop.through("reason", **YES) > 1  # what speaks for the wrong side is asked for again
    assert shop.cli("reason", "--run", shop.run, shop.config).code == 0
    assert shop.through("verify", **YES) <= 1
    assert shop.cli("run", "--run", shop.run, shop.config).code == 0
    assert server.asked == 0
    run = Run.read(shop.run)
    for stage in ("describe", "profile", "reason"):
        counts = run.stages[stage].counts
        assert counts["texts"] == counts["done"] > 0
        assert counts["input_tokens"] == 9 * counts["calls"]
        assert run.times()[stage]["spent"]["asked"] == 0


def test_lines_are_those_of_the_batch_interface_and_named_by_their_key(shop: Shop) -> None:
    answer = shop.export("describe")
    assert answer.code == 0, answer.err
    lines = shop.sent(answer)
    assert f"describe: {len(lines)} requests in 1 file\n  {shop.folder / 'out' / 'describe-001.jsonl'}\n" in answer.out
    assert re.search(r"about [\d,]+ tokens in, at most [\d,]+ out; at most [\d.]+ by the table of prices", answer.out)
    assert len({line["custom_id"] for line in lines}) == len(lines) > 20
    endpoint = read(shop.config).teacher.endpoint
    for line in lines:
        assert set(line) == {"custom_id", "method", "url", "body"}
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert "endpoint" not in line["body"]
        assert key_of({**line["body"], "endpoint": endpoint}) == line["custom_id"]
    with Cache(shop.cache) as cache:
        assert set(cache.batched()) == {line["custom_id"] for line in lines}
        assert cache.claimed() == 0


def test_what_is_out_is_neither_asked_nor_exported_again(shop: Shop, server: Counting) -> None:
    lines = shop.asked("describe")
    again = shop.export("describe")
    assert f"describe: 0 requests in 0 files\nout already: {len(lines)}\n" in again.out
    shop.teacher = shop.teacher.replace('key_env = "NOT_SET_HERE"\n', "")
    shop.configure()
    answer = shop.cli("describe", "--run", shop.run, shop.config)
    assert answer.code == 3
    assert f"{len(lines)} requests are out in a batch file" in answer.err
    assert server.asked == 0


def test_failures_are_counted_and_free_to_be_asked_again(shop: Shop) -> None:
    lines = shop.asked("describe")
    rest = [output(line) for line in lines[3:]]
    files = written(shop.folder / "o.jsonl", rest), written(shop.folder / "e.jsonl", [refused(lines[0])])
    late = written(shop.folder / "late.jsonl", [failed(line) for line in lines[1:3]])
    answer = shop.take_in(*files, late)
    assert answer.code == 0
    assert f"taken in: {len(rest)} answers, {9 * len(rest)} tokens in, {5 * len(rest)} out\n" in answer.out
    assert "failed: 2 because of: This request could not be executed.\n" in answer.out
    assert "failed: 1 because of: HTTP 400: The prompt is too long\nfree to be asked again: 3\n" in answer.out
    assert shop.asked("describe") == lines[:3]
    assert (shop.folder / "out" / "describe-002.jsonl").exists()


def test_importing_twice_is_harmless(shop: Shop) -> None:
    lines = shop.asked("describe")
    file = written(shop.folder / "o.jsonl", [failed(lines[0]), *map(output, lines[1:])])
    shop.take_in(file)
    with Cache(shop.cache) as cache:
        before = [(entry.key, entry.answer, entry.made) for entry in cache.entries()]
    shop.asked("describe")
    again = shop.take_in(
        written(shop.folder / "p.jsonl", [output(line, description="Other words.") for line in lines[1:]])
    )
    assert f"taken in: 0 answers, 0 tokens in, 0 out\nthere already: {len(lines) - 1}\n" in again.out
    assert "free to be" not in again.out
    with Cache(shop.cache) as cache:
        assert [(entry.key, entry.answer, entry.made) for entry in cache.entries()] == before
        assert list(cache.batched()) == [lines[0]["custom_id"]]


def test_lines_of_no_use_are_told_and_skipped(shop: Shop) -> None:
    lines = shop.asked("describe")
    stranger = {**output(lines[0]), "custom_id": "v1:0000"}
    file = written(shop.folder / "o.jsonl", [
        "{", "[1]", "", '{"response": {}}', stranger, lines[1], {"custom_id": "x", "response": {"body": 1}},
        output(lines[2]), output(lines[2], description="Other words."), "[" * 100_000,
    ])  # fmt: skip
    answer = shop.take_in(file)
    assert answer.code == 0
    assert answer.out.startswith("taken in: 1 answer,")
    told = [line.removeprefix(f"skipped: {file}:") for line in answer.err.splitlines()]
    assert [line.partition(":")[0] for line in told] == ["1", "2", "4", "5", "6", "7", "9", "10"]
    for at, says in enumerate((
        "is not JSON", "is not a JSON object", "has no custom_id", "answers 'v1:0000', which is not out",
        "is a request, no answer", "its response has no status_code", "a second time: the first counts", "is not JSON",
    )):  # fmt: skip
        assert says in told[at]
    with Cache(shop.cache) as cache:
        (entry,) = cache.entries()
        assert "A description of words." in entry.answer.text
        assert len(cache.batched()) == len(lines) - 1


def test_an_answer_that_is_none_of_a_chat_server_is_a_failure(shop: Shop) -> None:
    line, other, *_ = shop.asked("describe")
    bad = {**output(line), "response": {"status_code": 200, "body": {"choices": []}}}
    answer = shop.take_in(written(shop.folder / "o.jsonl", [bad, output(other)]))
    assert "failed: 1 because of: the answer is not one of a chat server" in answer.out
    assert "free to be asked again: 1" in answer.out


def test_answers_are_paid_at_the_share_of_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    put = Cache.put

    def note(self: Cache, key: str, request: Any, answer: Any, buyer: str, share: float = 1.0) -> None:
        shares.append(share)
        put(self, key, request, answer, buyer, share)

    monkeypatch.setattr(Cache, "put", note)
    lines = shop.asked("describe")
    shop.take_in(shop.answered(lines[:2]))
    shop.configure("batch_share = 0.25\n")
    with Run.open(shop.run, create=False) as run:
        run.configure(read(shop.config).model_dump(mode="json"), version="0")
    shop.take_in(shop.answered(lines[2:4]))
    assert shares == [0.5, 0.5, 0.25, 0.25]
    with Cache(shop.cache) as cache:
        (bought,) = cache.bought(batch.buyer_of(shop.run))
        assert (bought.usage.calls, bought.batch_usage.input_tokens) == (4, 36)


def test_files_have_a_size_at_most(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 7)
    lines = shop.asked("describe")
    sizes = [len(rows_of(path)) for path in sorted((shop.folder / "out").iterdir())]
    assert sizes[:-1] == [7] * (len(sizes) - 1)
    monkeypatch.setattr(batch, "MOST_REQUESTS", 50_000)
    monkeypatch.setattr(batch, "MOST_BYTES", 5_000)
    shop.cli("batch", "drop", "--run", shop.run)
    assert shop.asked("describe") == lines
    for path in sorted((shop.folder / "out").iterdir())[len(sizes) :]:
        assert path.stat().st_size <= 5_000 or len(rows_of(path)) == 1


def test_nothing_is_marked_where_the_files_could_not_be_written(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    shop.export("profile")  # brings data, split and evidence
    shop.cli("batch", "drop", "--run", shop.run)
    monkeypatch.setattr("reasoningrec.pipeline.batch.creating", full)
    answer = shop.export("describe")
    assert answer.code == 3
    assert "No space left" in answer.err
    with Cache(shop.cache) as cache:
        assert not cache.batched()
        assert cache.claimed() == 0


def test_drop_gives_up_what_is_out(shop: Shop) -> None:
    lines = shop.asked("describe")
    assert shop.cli("batch", "drop", "--run", shop.run).out == f"given up: {len(lines)} requests\n"
    answer = shop.take_in(shop.answered(lines[:1]))
    assert answer.code == 2
    assert "was given up" in answer.err
    assert shop.cli("batch", "drop", "--run", shop.run).out == "given up: 0 requests\n"
    assert shop.asked("describe") == lines


def test_drop_leaves_what_others_have_out(shop: Shop) -> None:
    lines = shop.asked("describe")
    with Cache(shop.cache) as cache:
        cache.batch([("v1:other", {"model": "m"})], "another run")
    dropped = shop.cli("batch", "drop", "--run", shop.run)
    assert (
        dropped.out
        == f"given up: {len(lines)} requests\nout for other runs in the same cache: 1 (--all gives them up too)\n"
    )
    assert shop.cli("batch", "drop", "--run", shop.run, "--all").out == "given up: 1 request\n"


def test_what_another_process_asks_is_left_to_it(shop: Shop) -> None:
    lines = shop.asked("describe")
    shop.cli("batch", "drop", "--run", shop.run)
    with Cache(shop.cache) as other:
        other.claim(lines[0]["custom_id"])
        answer = shop.export("describe")
    assert "being asked by another process right now: 1" in answer.out
    assert len(shop.sent(answer)) == len(lines) - 1


def test_the_budget_holds_for_batches_too(shop: Shop) -> None:
    shop.configure("[budget]\ntokens = 20000\n")
    answer = shop.export("describe")
    assert answer.code == 0
    assert "stopped at the budget" in answer.err
    first = shop.sent(answer)
    assert 0 < len(first) < 20
    assert not shop.sent(shop.export("describe"))  # what is out is as good as spent
    shop.take_in(shop.answered(first))
    assert shop.sent(shop.export("describe"))


def test_the_form_that_was_assumed_is_that_of_the_run(shop: Shop) -> None:
    shop.asked("describe")
    with Cache(shop.cache) as cache:
        assert cache.recall(f"form of {read(shop.config).teacher.endpoint} m") == "schema"


def test_a_finished_stage_has_nothing_to_ask(shop: Shop) -> None:
    shop.teacher = shop.teacher.replace('key_env = "NOT_SET_HERE"\n', "")
    shop.configure()
    shop.through("describe")
    assert "nothing is left to ask: `reasoningrec describe" in shop.export("describe").out
    assert shop.cli("describe", "--run", shop.run, shop.config).code == 0
    assert "nothing is left to ask" in shop.export("describe").out


Make = Callable[[Shop], list[Any]]


def offline(shop: Shop) -> list[Any]:
    shop.teacher = ""
    shop.configure()
    return ["export", "--run", shop.run, "describe", shop.folder / "out", shop.config]


def unjudged(shop: Shop) -> list[Any]:
    shop.configure("[verify]\nself_check = false\n")
    return ["export", "--run", shop.run, "verify", shop.folder / "out", shop.config]


def local(shop: Shop) -> list[Any]:
    shop.teacher = '[teacher]\nmodel = "here/qwen"\n'
    shop.configure()
    return ["export", "--run", shop.run, "describe", shop.folder / "out", shop.config]


def out(shop: Shop, *more: Any) -> list[Any]:
    shop.asked("describe")
    return list(more)


def exporting(shop: Shop, stage: str = "describe", place: str = "out") -> list[Any]:
    return ["export", "--run", shop.run, stage, shop.folder / place, shop.config]


BAD: list[tuple[str, Make]] = [
    (r"describe: is done by the offline writer; .*\n.*Set teacher\.endpoint", offline),
    (r"describe: is done by here/qwen on this machine", local),
    (r"verify: no model judges here\n.*verify\.self_check", unjudged),
    (r"reason needs stage describe, which is not begun\n.*reasoningrec describe", lambda s: exporting(s, "reason")),
    (r"verify.* needs stage describe, which is not begun", lambda s: exporting(s, "verify")),
    (r"c\.toml: is a file, or its own folder is not there", lambda s: exporting(s, "describe", "c.toml")),
    (r"a/b: is a file, or its own folder is not there", lambda s: exporting(s, "describe", "a/b")),
    (r"'train' is not one of 'describe', 'profile', 'reason', 'verify'", lambda s: exporting(s, "train")),
    (r"run: is not a run's folder", lambda s: exporting(s)[:-1]),
    (r"run: is not a run's folder", lambda s: ["import", "--run", s.run, s.config]),
    (r"run: is not a run's folder", lambda s: ["drop", "--run", s.run]),
    (r"gone\.jsonl: no such file", lambda s: out(s, "import", "--run", s.run, s.folder / "gone.jsonl")),
    (r"out: is a folder", lambda s: out(s, "import", "--run", s.run, s.folder / "out")),
    (r"c\.toml:1: is not JSON\n.*output and error files", lambda s: out(s, "import", "--run", s.run, s.config)),
    (
        r"describe-001\.jsonl:1: is a request, no answer",
        lambda s: out(s, "import", "--run", s.run, s.folder / "out" / "describe-001.jsonl"),
    ),
    (r"Missing option '--run'", lambda s: ["drop"]),
]  # fmt: skip


@pytest.mark.parametrize(("says", "arguments"), BAD, ids=[says for says, _ in BAD])
def test_bad_input_is_told_in_one_message(shop: Shop, says: str, arguments: Make) -> None:
    answer = shop.cli("batch", *arguments(shop))
    assert answer.code == 2, answer.err
    assert re.search(says, answer.err), answer.err
    assert "Traceback" not in answer.err


def test_import_without_a_cache_is_told(shop: Shop) -> None:
    lines = shop.asked("describe")
    file = shop.answered(lines)
    shop.cache.unlink()
    answer = shop.take_in(file)
    assert answer.code == 2
    assert "there is no cache" in answer.err


def test_a_run_that_another_process_works_in_is_left_alone(shop: Shop) -> None:
    shop.asked("describe")
    with Run.open(shop.run, create=False):
        answer = shop.export("describe")
    assert answer.code == 2
    assert "is working in it" in answer.err


def test_texts_that_the_journal_has_are_not_asked_for_again(shop: Shop) -> None:
    lines = shop.asked("describe")
    shop.take_in(shop.answered(lines[4:]))
    shop.teacher = shop.teacher.replace('key_env = "NOT_SET_HERE"\n', "")
    shop.configure()
    stopped = shop.cli("describe", "--run", shop.run, shop.config)
    assert "4 requests are out in a batch file" in stopped.err
    shop.cli("batch", "drop", "--run", shop.run)
    shop.cli("cache", "prune", "--model", "m", "--yes", "--cache", shop.cache)
    assert shop.asked("describe") == lines[:4]


def test_what_is_pending_is_found_out_without_changing_anything(shop: Shop) -> None:
    lines = shop.asked("describe")
    shop.take_in(shop.answered(lines[4:]))
    config = read(shop.config)
    before = shop.cache.read_bytes(), sorted(path.name for path in shop.run.iterdir())
    run, space = Run.read(shop.run), Workspace(shop.run, config)
    with Cache(shop.cache, write=False) as cache:
        model = model_of(config, config.teacher, cache, shop.run, asks=False)
        work = unwritten(run, "describe", "fresh", work_of(space, "describe"))
        found = list(pending(work, recalling(model, cache)))
        assert [key_of(model.body(request)) for request in found] == [line["custom_id"] for line in lines[:4]]
        assert len(list(pending(work, lambda _: None))) == len(lines)
    assert (shop.cache.read_bytes(), sorted(path.name for path in shop.run.iterdir())) == before


def test_a_dry_run_counts_what_was_written_under_other_settings_as_not_written(shop: Shop, small_run: Path) -> None:
    shutil.copytree(small_run, shop.run)  # its texts are the offline writer's
    answer = shop.cli("run", "--run", shop.run, shop.config, "--dry-run")
    assert answer.code == 0, answer.err
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines() if " m " in line}
    for stage in ("describe", "profile", "reason", "verify"):
        _, texts, done, _, calls, *_ = rows[stage]
        assert (done, calls) == ("0", texts)
