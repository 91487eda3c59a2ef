"""Zero-shot baselines: what a model is asked, and what is made of its answers, in a whole run too."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from completing import completing
from making import demo_line
from reasoningrec.baselines.prompted import METHODS, Said, Words, ask, question
from reasoningrec.config import read
from reasoningrec.errors import TeacherError
from reasoningrec.evaluation.evaluate import Evaluation
from reasoningrec.llm import likelihoods
from reasoningrec.llm.client import Reply, Request
from reasoningrec.llm.likelihoods import Likelihood
from reasoningrec.pipeline.predict import predict_fields
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.records import Case, Evidence, Item, Prediction, Query, Reaction
from reasoningrec.rows import from_row, read_json, read_records
from running import SMALL, Cli

WORDS = Words("film", "films", "viewer")
CASE = Case(
    Query("q", "u", "b", 5, (Reaction("a", True, 5.0, 1), Reaction("c", False, 1.0, 2))),
    Item("b", "The Lake", "Acme", 3.0, ("Drama",)),
    {"a": Item("a", "A Hill"), "c": Item("c", "A Sea")},
    Evidence("q", (), {}),
    "A quiet film.",
    "Likes hills.",
    {"a": "Of a hill."},
)
NONE = 'without = ["descriptions", "profiles", "rationales"]\n'


@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_shows_what_its_method_may(method: str) -> None:
    shown = METHODS[method]
    request = question(CASE, shown, WORDS)
    text = request.messages[0].text
    assert "1. A Hill: LIKED" in text
    assert "2. A Sea: DISLIKED" in text
    assert 'The next film: "The Lake"' in text
    assert text.endswith("Will the viewer like the next film? Answer with one word: Yes or No.")
    assert ("A quiet film." in text, "Of a hill." in text) == (shown.descriptions, shown.descriptions)
    assert ("Likes hills." in text) == shown.profile
    assert (request.id, request.fields, request.seed) == ("q", (), 0)


class Told:
    """A client that gives these replies."""

    name, settings = "told", {}

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self.replies = replies

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        yield from (self.replies[request.id] for request in reversed(list(requests)))


def cases(count: int) -> list[Case]:
    return [Case(Query(f"q{n}", "u", "b", 5, ()), CASE.target, {}, Evidence(f"q{n}", (), {})) for n in range(count)]


def test_answers_are_in_order_and_those_that_did_not_come_or_say_neither_are_none() -> None:
    yes = likelihoods.dumps([Likelihood("Yes", None, -0.1), Likelihood("No", None, -3.0)])
    neither = likelihoods.dumps([Likelihood("maybe", None, -0.1)])
    replies = {
        "q0": Reply("q0", yes),
        "q1": Reply("q1", "", error="HTTP 500", answered=False),
        "q2": Reply("q2", neither),
        "q3": Reply("q3", "", error="too long"),
    }
    first, *rest = ask(Told(replies), cases(4), "zero-shot", WORDS)
    assert first.p == pytest.approx(1 / (1 + 2.718281828**-2.9))
    assert rest == [Said(None, "unanswered"), Said(None, "neither"), Said(None, "unusable")]
    with pytest.raises(TeacherError, match="query q0"):
        ask(Told({"q0": Reply("q0", "Yes")}), cases(1), "zero-shot", WORDS)


def word(text: str) -> bool:
    if text not in ("Yes", "No"):
        raise TeacherError("neither")
    return text == "Yes"


def test_the_word_that_is_written_is_taken_where_it_is_asked_for() -> None:
    replies = {f"q{n}": Reply(f"q{n}", text) for n, text in enumerate(("Yes", "No", "Perhaps"))}
    replies["q3"] = Reply("q3", "", error="HTTP 500", answered=False)
    said = ask(Told(replies), cases(4), "zero-shot", WORDS, word)
    assert said == [Said(1.0), Said(0.0), Said(None, "neither"), Said(None, "unanswered")]


def test_every_demo_query_can_be_asked() -> None:
    for case in demo_line(users=60).cases[:20]:
        assert case.target.title in question(case, METHODS["zero-shot-both"], WORDS).messages[0].text


def refused(text: str) -> bool:
    return "wet" not in text and len(text) % 7 == 0


class Chatting:
    """Says Yes the more surely the more was liked; some queries get no answer."""

    def __init__(self, says: str = "Yes") -> None:
        self.url, self.asked, self.well, self.says = "", list[str](), False, says

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(json.dumps(body))
        text = body["messages"][0]["content"]
        if refused(text) and not self.well and self.says == "Yes":
            return 400, {"error": {"message": "no"}}
        tops = [{"token": self.says, "logprob": -1.0 / (1 + text.count(": LIKED"))}, {"token": "No", "logprob": -1.5}]
        tops = tops[: 2 if self.says == "Yes" else 1]
        return 200, {"choices": [{"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": tops}]}}]}


def test_a_run_asks_once_counts_what_is_missing_and_stands_in_every_table(
    small_run: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    more = '[baselines]\nmethods = ["zero-shot", "zero-shot-both"]\n'
    with completing(Chatting()) as server:
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\nretries = 0\n'
        (tmp_path / "asking.toml").write_text(NONE + SMALL + more + teacher, "utf-8")
        answer = cli("run", "--run", folder, tmp_path / "asking.toml")
        assert answer.code == 0, answer.err
        shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("predict*"))
        answer = cli("run", "--run", tmp_path / "other", tmp_path / "asking.toml")
    asked = Counter(server.asked)
    texts = {body: json.loads(body)["messages"][0]["content"] for body in asked}
    assert max(count for body, count in asked.items() if not refused(texts[body])) == 1
    found = read_records(Prediction, folder / "predict" / "predictions.jsonl")
    answered = Counter(row.method for row in found)
    assert answered["zero-shot"] == answered["zero-shot-both"] == answered["student"] > 0
    counts = read_json(folder / "manifest.json")["stages"]["predict"]["counts"]
    lost = [row for row in found if row.method == "zero-shot" and row.probability is None]
    assert 0 < len(lost) < answered["zero-shot"]
    assert counts["zero_shot_unanswered"] == sum(row.probability is None for row in found)
    assert "--retry-failed" in answer.err
    measured = from_row(Evaluation, read_json(folder / "evaluate.json"))
    results = {result.method: result for result in measured.readings[0].methods}
    assert results["zero-shot"].kind == "baseline"
    assert results["zero-shot"].measures.invalid > 0
    assert "zero-shot-both" in (folder / "report.md").read_text("utf-8")


def test_a_dry_run_counts_what_it_would_ask_and_what_is_known(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    def told(folder: Path) -> list[str]:
        answer = cli("run", "--run", folder, tmp_path / "a.toml", "--dry-run")
        assert answer.code == 0, answer.err
        return next(line for line in answer.out.splitlines() if line.startswith("predict")).split()[1:6]

    folder, fresh = (shutil.copytree(small_run, tmp_path / name) for name in ("run", "fresh"))
    with completing(Chatting()) as server:
        server.well = True
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\n'
        methods = '[baselines]\nmethods = ["zero-shot", "zero-shot-profile"]\n'
        (tmp_path / "a.toml").write_text(f'without = ["rationales"]\n{SMALL}{teacher}{methods}', "utf-8")
        assert told(folder) == ["tiny", "240", "0", "0", "240"]
        assert server.asked == []
        (tmp_path / "a.toml").write_text(f"{NONE}{SMALL}{teacher}{methods}", "utf-8")
        assert told(folder) == ["tiny", "240", "0", "0", "120"]  # without profiles both prompts are one
        assert cli("run", "--run", folder, tmp_path / "a.toml").code == 0
        assert sum("wet" not in body for body in server.asked) == 120
        assert told(folder) == ["tiny", "240", "240", "0", "0"]
        assert told(fresh) == ["tiny", "240", "0", "240", "0"]
        assert sum("wet" not in body for body in server.asked) == 120


def test_a_dry_run_finds_what_an_interrupted_run_was_told(
    small_run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with completing(Chatting()) as server:
        server.well = True
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\n'
        (tmp_path / "a.toml").write_text(f'{NONE}{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n', "utf-8")
        with monkeypatch.context() as patched:
            patched.setattr("reasoningrec.pipeline.predict.check_said", stop)  # after the answers, before the end
            assert cli("predict", "--run", folder, tmp_path / "a.toml").code == 130
        told = cli("run", "--run", folder, tmp_path / "a.toml", "--dry-run")
    row = next(line for line in told.out.splitlines() if line.startswith("predict"))
    assert row.split()[1:6] == ["tiny", "120", "120", "0", "0"]


def test_what_got_no_answer_is_asked_again_on_demand(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    with completing(Chatting()) as server:
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\nretries = 0\n'
        (tmp_path / "a.toml").write_text(f'{NONE}{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n', "utf-8")
        assert cli("run", "--run", folder, tmp_path / "a.toml").code == 0
        lost = sum(refused(json.loads(body)["messages"][0]["content"]) for body in set(server.asked))
        server.well = True
        asked = len(server.asked)
        answer = cli("run", "--run", folder, tmp_path / "a.toml", "--retry-failed")
        assert answer.code == 0, answer.err
        assert len(server.asked) == asked + lost > asked
    found = read_records(Prediction, folder / "predict" / "predictions.jsonl")
    assert all(row.probability is not None for row in found if row.method == "zero-shot")


def test_a_model_that_says_neither_word_to_anything_stops_the_run(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    with completing(Chatting(says="<think>")) as server:
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\n'
        (tmp_path / "a.toml").write_text(f'{NONE}{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n', "utf-8")
        answer = cli("run", "--run", folder, tmp_path / "a.toml")
        assert answer.code == 3
        assert "zero-shot: not one of 120 answers is Yes or No" in answer.err
        assert "thinks" in answer.err
        server.says, server.well = "Yes", True
        assert cli("cache", "prune", "--model", "tiny", "--yes").code == 0
        assert cli("run", "--run", folder, tmp_path / "a.toml").code == 0, "the same command goes on"


def test_predictions_depend_on_who_is_asked(tmp_path: Path) -> None:
    fields = []
    for name in ("one", "two"):
        teacher = f'[teacher]\nendpoint = "http://127.0.0.1:9/v1"\nmodel = "{name}"\n'
        (tmp_path / "a.toml").write_text(f'{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n', "utf-8")
        fields.append(predict_fields(Workspace(tmp_path, read(tmp_path / "a.toml"))))
    assert fields[0] != fields[1]


def test_it_needs_a_model(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "none.toml").write_text(f'{SMALL}[baselines]\nmethods = ["zero-shot-profile"]\n', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "none.toml")
    assert answer.code == 2
    assert "baselines.methods" in answer.err
    assert "[teacher]" in answer.err


def test_its_key_is_asked_for_before_anything_is_done(tmp_path: Path, cli: Cli) -> None:
    teacher = '[teacher]\nendpoint = "http://127.0.0.1:9/v1"\nmodel = "m"\nkey_env = "NOT_SET_HERE"\n'
    (tmp_path / "key.toml").write_text(f'{NONE}{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n', "utf-8")
    answer = cli("run", "--run", tmp_path / "run", tmp_path / "key.toml")
    assert answer.code == 2
    assert "NOT_SET_HERE" in answer.err


class Writing:
    """A server without log-probabilities that thinks, then writes a word: in the form asked for, alone, or neither."""

    def __init__(self) -> None:
        self.url, self.asked = "", list[str]()

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        text = body["messages"][0]["content"]
        self.asked.append(text)
        if "logprobs" in body:
            return 400, {"error": {"message": "logprobs: not supported"}}
        likes = text.count(": LIKED") > text.count(": DISLIKED")
        said = "Yes" if likes else "No."
        written = ("Perhaps.", f"Prediction: {said}", said)[min(likes + 1, len(text) % 3)]
        return 200, {"choices": [{"message": {"content": f"<think>Is it Yes? No?</think>{written}"}}]}


def test_a_teacher_without_log_probabilities_is_asked_for_its_word(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    with completing(Writing()) as server:
        teacher = f'[teacher]\nendpoint = "{server.url}"\nmodel = "tiny"\nretries = 0\n'
        plain = f'{NONE}{SMALL}{teacher}[baselines]\nmethods = ["zero-shot"]\n'
        (tmp_path / "a.toml").write_text(plain, "utf-8")
        answer = cli("run", "--run", folder, tmp_path / "a.toml")
        assert answer.code == 3
        assert 'zero_shot = "word" under [baselines]' in answer.err
        (tmp_path / "a.toml").write_text(f'{plain}zero_shot = "word"\n', "utf-8")
        told = cli("run", "--run", folder, tmp_path / "a.toml", "--dry-run")
        row = next(line for line in told.out.splitlines() if line.startswith("predict"))
        answer = cli("run", "--run", folder, tmp_path / "a.toml")
    assert row.split()[1:6] == ["tiny", "120", "0", "0", "120"]
    assert answer.code == 0, answer.err
    assert len(server.asked) > 120
    found = read_records(Prediction, folder / "predict" / "predictions.jsonl")
    said = [row.probability for row in found if row.method == "zero-shot"]
    assert {*said} == {1.0, 0.0, None}
    counts = read_json(folder / "manifest.json")["stages"]["predict"]["counts"]
    assert counts["zero_shot_neither"] == said.count(None)
    measured = from_row(Evaluation, read_json(folder / "evaluate.json"))
    assert {result.method for result in measured.readings[0].methods} > {"zero-shot"}
