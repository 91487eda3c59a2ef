"""Runs whose student a server answers for: answers as on this machine, and what is told where there are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import speakers
from completing import Body, Completing, completing, unhurt
from reasoningrec import Recommender, read_config
from reasoningrec.config import ModelConfig
from reasoningrec.errors import StudentError
from reasoningrec.pipeline import served
from reasoningrec.pipeline.explain import by_rule
from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.rows import read_jsonl
from reasoningrec.runs import Run
from reasoningrec.student.bases import Student
from reasoningrec.student.write import WriteLimits, opened_texts
from running import SMALL, Cli, files

QUICK = "timeout_seconds = 30.0\nretries = 1\nbackoff_seconds = 0.001\nconcurrency = 2\n"


def small(base: Path, train: str = "", predict: str = "") -> str:
    text = SMALL.replace("max_tokens = 320", f'base = "{base}"\nmax_tokens = 1000\n{train}')
    text = text.replace("max_new_tokens = 64", f"max_new_tokens = 40\ntries = 1\n{predict}")
    return text.replace("explain = 24", "explain = 2").replace("epochs = 2", "epochs = 1")


def section(server: Completing, more: str = "") -> str:
    return f'[student]\nendpoint = "{server.url}"\nmodel = "shop"\n{QUICK}{more}'


def run_of(folder: Path, text: str) -> Path:
    from reasoningrec.cli.progress import Screen
    from reasoningrec.pipeline.line import run_line

    (folder / "small.toml").write_text(text, "utf-8")
    with Screen() as screen:
        run_line(folder / "run", read_config(folder / "small.toml"), screen)
    return folder / "run"


LEARNS = "lora_rank = 0\nlearning_rate = 0.01\n"
"""So that one epoch is enough for the decisions to be among the likeliest tokens, as they are after any training."""


@pytest.fixture(scope="module")
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on this machine, of a base with a beginning of text, a template, or SentencePiece's way."""
    folder = tmp_path_factory.mktemp(request.param)
    return run_of(folder, small(speakers.store(request.param, folder / "base"), LEARNS))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of one kind alone."""
    folder = tmp_path_factory.mktemp("one")
    return run_of(folder, small(speakers.store("llama", folder / "base"), LEARNS))


def opened(run: Path) -> Student:
    return Student.open(run / "train", config_of(Run.read(run)).train.base)


@pytest.fixture(scope="module")
def student(one: Path) -> Student:
    return opened(one)


@pytest.fixture
def server(student: Student) -> Iterator[Completing]:
    with completing(Completing(student.model, student.tokenizer.tokenizer)) as started:
        yield started


def chances(run: Path) -> dict[str, float | None]:
    rows: Iterator[dict[str, Any]] = read_jsonl(run / "predict" / "predictions.jsonl")
    return {row["query_id"]: row["probability"] for row in rows if row["method"] == "student"}


def apart(found: dict[str, float | None], expected: dict[str, float | None]) -> float:
    """Largest difference; a missing answer is 1 away from any."""
    assert found.keys() == expected.keys()
    pairs = ((found[id], expected[id]) for id in found)
    return max(1.0 if p is None or q is None else abs(p - q) for p, q in pairs)


def moved(run: Path, folder: Path, more: str) -> tuple[Path, Path]:
    """A copy of a run and its configuration, with `more` in it."""
    text = (run.parent / "small.toml").read_text("utf-8")
    (folder / "served.toml").write_text(f"{text}{more}", "utf-8")
    return shutil.copytree(run, folder / "served"), folder / "served.toml"


@pytest.mark.parametrize(
    ("here", "names", "takes_tokens", "most_top"),
    [("llama", "numbers", True, 20), ("qwen3", "both", True, 5), ("llama-pieces", "texts", False, 20)],
    indirect=["here"],
)
def test_it_answers_as_on_this_machine(
    here: Path, tmp_path: Path, cli: Cli, names: str, takes_tokens: bool, most_top: int
) -> None:
    local = opened(here)
    served_by = Completing(local.model, local.tokenizer.tokenizer, names, takes_tokens, most_top)
    with completing(served_by) as server:
        run, config = moved(here, tmp_path, section(server))
        answer = cli("run", "--run", run, config)
        assert answer.code == 0, answer.err
        asked = len(server.asked)
        assert asked > 120
        counts = Run.read(run).stages["score"].counts
        assert counts["invalid"] == 0
        assert not {"bounded", "unanswered"} & counts.keys()
        assert apart(chances(run), chances(here)) < 1e-4
        assert cli("run", "--run", run, config).code == 0
        again = shutil.copytree(here, tmp_path / "again")
        assert cli("run", "--run", again, config).code == 0
        assert len(server.asked) == asked, "nothing is asked twice"
        assert (again / "predict/predictions.jsonl").read_bytes() == (run / "predict/predictions.jsonl").read_bytes()
        spent = json.loads((again / "times.json").read_text())
        assert '"asked": 0' in json.dumps(spent)


def test_the_prompts_are_those_of_the_student_in_an_order_that_shares_beginnings(
    one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))
    assert cli("predict", "--run", run, config).code == 0
    before = len(server.asked)
    recommender = Recommender.open(run)
    answers = recommender.recommend(recommender.users[0], 1)
    assert answers[0].student_probability is not None
    prompts = [body["prompt"] for body in server.asked[before:] if body.get("logprobs")]
    assert len(prompts) > 1
    assert all(len(set(map(tuple, prompts))) == len(prompts) and prompt[:20] == prompts[0][:20] for prompt in prompts)


def hurting(change: Callable[[dict[str, Any]], object]) -> Callable[[Body, dict[str, Any]], Any]:
    """A server that spoils what is to be scored, after the first request."""

    def hurt(body: Body, answer: dict[str, Any]) -> Any:
        if not body.get("logprobs"):
            return answer
        changed = change(answer["choices"][0])
        return answer if changed is None else changed

    return hurt


def without(choice: dict[str, Any]) -> None:
    choice.pop("logprobs", None)


def numbers(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(choice: dict[str, Any]) -> None:
        tops = choice["logprobs"]["top_logprobs"][0]
        choice["logprobs"]["top_logprobs"][0] = dict.fromkeys(tops, value)

    return change


def others(choice: dict[str, Any]) -> None:
    choice["logprobs"]["top_logprobs"] = [{"token_id:7": -0.1, "token_id:8": -3.0}]


@pytest.mark.parametrize(
    ("hurt", "says"),
    [
        (hurting(without), "gives no log-probabilities"),
        (hurting(lambda choice: choice.update(logprobs={"top_logprobs": [None]})), "gives no log-probabilities"),
        (hurting(lambda choice: choice.update(logprobs=7)), "not one of a server of completions"),
        (hurting(lambda choice: choice.update(logprobs={"top_logprobs": [{"a": "b"}]})), "server of completions"),
        (lambda *_: {"choices": []}, "not one of a server of completions"),
        (lambda *_: '{"choices": [{"text": "', "not one of a server of completions"),
        (lambda *_: (500, {"error": {"message": "out of memory"}}), "HTTP 500: out of memory"),
        (
            lambda *_: (404, {"error": {"message": "The model `shop` does not exist."}}),
            "The model `shop` does not exist",
        ),
        (lambda *_: (401, {"error": {"message": "no key"}}), "`key_env` names the environment variable"),
    ],
)
def test_a_server_that_cannot_is_told_and_nothing_is_made_up(
    hurt: Any, says: str, one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    server.hurt = hurt
    run, config = moved(one, tmp_path, section(server))
    answer = cli("run", "--run", run, config)
    assert answer.code == 3
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert files(run) == files(one), "what the student on this machine answered stays"
    if "500" in says:
        server.hurt = unhurt
        assert cli("run", "--run", run, config).code == 0, "the same command goes on"


@pytest.mark.parametrize("change", [numbers(float("nan")), numbers(3.0), others])
def test_numbers_that_are_none_are_missing_answers_and_never_no(
    change: Any, one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))

    def some(body: Body, good: dict[str, Any]) -> Any:
        return hurting(change)(body, good) if len(body["prompt"]) % 2 else good

    server.hurt = some
    answer = cli("run", "--run", run, config)
    assert answer.code == 0, answer.err
    found = list(chances(run).values())
    assert None in found
    assert set(found) != {None}
    assert Run.read(run).stages["score"].counts["invalid"] == found.count(None)


def test_a_server_that_says_neither_word_to_anything_is_told(
    one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))
    server.hurt = hurting(others)
    answer = cli("run", "--run", run, config)
    assert answer.code == 3
    assert "not one of 120 answers is Yes or No" in answer.err
    assert "student check" in answer.err
    assert files(run) == files(one), "what the student on this machine answered stays"
    server.hurt = unhurt
    assert "`reasoningrec cache prune --model shop`" in answer.err
    assert cli("cache", "prune", "--model", "shop", "--yes").code == 0
    assert cli("run", "--run", run, config).code == 0, "the same command goes on"


def test_one_decision_alone_is_a_bound_and_is_counted(
    one: Path, student: Student, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    yes = f"token_id:{student.tokenizer.decisions[True]}"

    def change(choice: dict[str, Any]) -> None:
        choice["logprobs"]["top_logprobs"] = [{yes: -0.5, "token_id:7": -2.5}]

    server.hurt = hurting(change)
    run, config = moved(one, tmp_path, section(server))
    assert cli("run", "--run", run, config).code == 0
    assert {round(p or 0, 6) for p in chances(run).values()} == {0.880797}  # 1 / (1 + exp(-2))
    assert Run.read(run).stages["score"].counts["bounded"] == 120


def test_what_was_not_answered_is_missing_counted_and_asked_again(
    one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))
    text = config.read_text("utf-8").replace("tries = 1", "tries = 1\nexplain = 1", 1).replace("explain = 2\n", "", 1)
    config.write_text(text, "utf-8")
    scored: list[str] = []

    def hurt(body: Body, good: dict[str, Any]) -> Any:
        key = json.dumps(body["prompt"])
        if body.get("logprobs") and key not in scored:
            scored.append(key)
        return (500, {"error": {"message": "no"}}) if key in scored[1:4] else good

    server.hurt = hurt
    answer = cli("run", "--run", run, config)
    assert answer.code == 0, answer.err
    counts = Run.read(run).stages["score"].counts
    assert counts["unanswered"] == counts["invalid"] == 3
    assert "3 of 120 queries got no answer; --retry-failed asks again" in answer.err
    server.hurt, before = unhurt, len(server.asked)
    assert cli("run", "--run", run, config, "--retry-failed").code == 0
    assert None not in chances(run).values()
    again = [body for body in server.asked[before:] if body.get("logprobs")]
    assert sorted(json.dumps(body["prompt"]) for body in again) == sorted(scored[1:4]), "the others are in the cache"


def test_the_check_compares_both_and_tells_another_model(
    one: Path, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))
    answer = cli("student", "check", "--run", run)
    assert answer.code == 2
    assert "its configuration names no server" in answer.err
    assert cli("predict", "--run", run, config).code == 0
    answer = cli("student", "check", "--run", run, "--queries", 5)
    assert answer.code == 0, answer.err
    assert "5 queries" in answer.out

    def swap(choice: dict[str, Any]) -> None:
        tops = choice["logprobs"]["top_logprobs"][0]
        choice["logprobs"]["top_logprobs"][0] = dict(zip(tops, reversed(tops.values()), strict=True))

    server.hurt = hurting(swap)
    answer = cli("student", "check", "--run", run, "--queries", 20)
    assert answer.code == 3
    assert "answers otherwise than the run's student" in answer.err


def test_another_student_under_the_same_name_is_asked_anew(one: Path, server: Completing, tmp_path: Path) -> None:
    run, _ = moved(one, tmp_path, "")
    settings = ModelConfig(endpoint=server.url, model="shop")
    config = config_of(Run.read(run)).model_copy(update={"student": settings})
    space = Workspace(run, config)
    cases = list(space.cases(space.ids("test")[:2]))
    first = served.student_of(run, config)
    assert isinstance(first, served.Served)
    first.score(cases)
    first.score(cases)
    assert (first.spent.calls, first.cached) == (2, 2)
    with (run / "train" / "card.json").open("a") as card:
        card.write("\n")
    other = served.student_of(run, config)
    assert isinstance(other, served.Served)
    other.score(cases)
    assert (other.spent.calls, other.cached) == (2, 0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[student]\nmodel = "shop"\n', "student.endpoint: is needed"),
        ('[student]\nendpoint = "http://x/v1"\n', "student.model: is needed"),
        ('[student]\nendpoint = "http://x/v1"\nmodel = "m"\ntemperature = 0.2\n', "student.temperature: means nothing"),
        ('[student]\nendpoint = "http://x/v1"\nmodel = "m"\nextra = { logprobs = 3 }\n', "student.extra.logprobs"),
        ('[student]\nendpoint = "http://x/v1"\nmodel = "m"\nkey_env = "NO_SUCH_KEY"\n', "NO_SUCH_KEY is not set"),
    ],
)
def test_settings_that_cannot_be_are_told(more: str, says: str, one: Path, tmp_path: Path, cli: Cli) -> None:
    run, config = moved(one, tmp_path, more)
    answer = cli("run", "--run", run, config)
    assert answer.code == 2
    assert says in answer.err


def test_its_texts_follow_the_decision(
    one: Path, student: Student, server: Completing, tmp_path: Path, cli: Cli
) -> None:
    run, config = moved(one, tmp_path, section(server))
    settings = read_config(config)
    space = Workspace(one, settings)
    cases = list(space.cases(space.ids("test")[:2]))
    texts: dict[tuple[int, ...], str] = {}
    for case in cases:
        for decision in (False, True):
            said = by_rule(case, decision, settings)
            (begun,), _ = opened_texts(
                student, [case], [decision], WriteLimits(max_reasons=settings.reason.max_reasons)
            )
            texts[begun] = f" {said.why}\nTaste: {said.taste}"

    def hurt(body: Body, good: dict[str, Any]) -> Any:
        if not body.get("logprobs"):
            good["choices"][0].update(text=texts[tuple(body["prompt"])], finish_reason="stop")
        return good

    server.hurt = hurt
    answer = cli("run", "--run", run, config)
    assert answer.code == 0, answer.err
    assert Run.read(run).stages["predict"].counts["explained_by_student"] == 2
    rows: list[dict[str, Any]] = list(read_jsonl(run / "predict" / "explanations.jsonl"))
    assert [row["query_id"] for row in rows] == [case.query.id for case in cases]
    for case, row in zip(cases, rows, strict=True):
        assert row["why"] == by_rule(case, row["decision"], settings).why
    asked = [body for body in server.asked if not body.get("logprobs")]
    assert all(body["stop_token_ids"] == [student.tokenizer.end] and body["max_tokens"] == 40 for body in asked)
    assert {body["temperature"] for body in asked} == {0.0}, "the likeliest text comes first"


def test_reasons_first_on_a_server(tmp_path: Path, cli: Cli) -> None:
    base = speakers.store("qwen2", tmp_path / "base")
    text = small(base, f'order = "reason-first"\n{LEARNS}', 'mode = "reason-first"\n').replace(
        "max_new_tokens = 40", "max_new_tokens = 16"
    )
    here = run_of(tmp_path, text)
    local = opened(here)
    said = " You liked [H1], so this fits.\nTaste: Mugs.\nPrediction: Yes"

    def hurt(body: Body, good: dict[str, Any]) -> Any:
        if not body.get("logprobs"):
            good["choices"][0].update(text=said.partition(body["stop"][0])[0], finish_reason="stop")
        return good

    with completing(Completing(local.model, local.tokenizer.tokenizer, hurt=hurt)) as server:
        run, config = moved(here, tmp_path, section(server))
        answer = cli("run", "--run", run, config)
        assert answer.code == 0, answer.err
        assert Run.read(run).stages["score"].counts["invalid"] == 0
        drafts = [body for body in server.asked if body.get("logprobs")]
        assert local.tokenizer.tokenizer.decode(drafts[-1]["prompt"]).endswith("Taste: Mugs.\nPrediction:")
        check_finished(Run.read(run), Workspace(run, read_config(config)), "predict")


def test_nano_on_a_server(small_run: Path, tmp_path: Path, cli: Cli) -> None:
    local = Student.open(small_run / "train")
    with completing(Completing(local.model, local.tokenizer)) as server:
        (tmp_path / "served.toml").write_text(
            (small_run.parent / "small.toml").read_text("utf-8").replace("[predict]\n", "[predict]\ntries = 1\n")
            + section(server),
            "utf-8",
        )
        run = shutil.copytree(small_run, tmp_path / "run")
        answer = cli("run", "--run", run, tmp_path / "served.toml")
        assert answer.code == 0, answer.err
    assert apart(chances(run), chances(small_run)) < 1e-4


def test_a_served_student_s_error_names_the_server(one: Path, tmp_path: Path) -> None:
    settings = ModelConfig(endpoint="http://127.0.0.1:9/v1", model="shop", retries=0)
    config = config_of(Run.read(one)).model_copy(update={"student": settings})
    space = Workspace(one, config)
    with pytest.raises(StudentError, match=r"127\.0\.0\.1:9.*the connection failed"):
        served.student_of(one, config).score(list(space.cases(space.ids("test")[:1])))  # type: ignore[union-attr]
