"""What two servers that speak the same protocol do alike, and where they part: what a client must be ready for."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from launch import NAME, ROOT, Server, call
from reasoningrec.config import BudgetConfig, ModelConfig
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.choosing import ServedChooser
from reasoningrec.llm.client import Answer, Message, Request
from reasoningrec.llm.forms import schema
from reasoningrec.llm.likelihoods import SPACES, loads
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.local_choosing import LocalChooser
from reasoningrec.teacher.answers import labelled
from small_model import END, Pair
from small_model import asked as asked_tokens

FIELDS = ("Taste", "Prediction", "Why")
SCHEMA = schema(FIELDS)
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Ways:
    """Where servers part."""

    refused: int
    """Status for a request it cannot read."""
    schema: int
    """Status for `response_format` of type json_schema."""
    unknown_model: int
    many_logprobs: int
    """Status for more than 20 `top_logprobs`."""
    new_limit: bool
    """Whether it obeys `max_completion_tokens`."""
    plain: Mapping[str, float]
    """Fields that make its greedy text the model's own: llama.cpp's server holds back words that stood before."""


WAYS = {
    "vllm": Ways(refused=400, schema=200, unknown_model=404, many_logprobs=400, new_limit=True, plain={}),
    "llamacpp": Ways(
        refused=500, schema=500, unknown_model=200, many_logprobs=200, new_limit=False, plain={"repeat_penalty": 1.0}
    ),
}


@pytest.fixture
def ways(server: Server) -> Ways:
    return WAYS[server.kind]


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="module")
def reference(model: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(model).eval()


@pytest.fixture(scope="module")
def why(lines: list[Pair]) -> str:
    """A request for a rationale, in labelled lines."""
    return next(asked for asked, answer in lines if answer.startswith("Taste"))


@pytest.fixture(scope="module")
def why_object(questions: list[Pair]) -> str:
    """A request for a rationale, as a JSON object."""
    return next(asked for asked, answer in questions if answer.startswith('{"taste"'))


@pytest.fixture(scope="module")
def lines(questions: list[Pair]) -> list[Pair]:
    """Those that are to be answered in labelled lines."""
    return [pair for pair in questions if not pair[1].startswith("{")]


@torch.no_grad()
def greedy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    tokens = torch.tensor([asked_tokens(tokenizer, text)])
    written = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=200, do_sample=False)
    return tokenizer.decode(written[0, tokens.shape[1] :]).removesuffix(END)


def test_the_file_for_llamacpp_holds_the_same_model(
    gguf_file: Path, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, why: str
) -> None:
    tokens = asked_tokens(tokenizer, why)
    command = [ROOT / ".venv-llamacpp/bin/python", Path(__file__).parent / "to_gguf.py", "logits", gguf_file]
    printed = subprocess.run([*command, json.dumps(tokens)], check=True, capture_output=True, text=True).stdout
    with torch.no_grad():
        expected = reference(torch.tensor([tokens])).logits[0, -1]
    torch.testing.assert_close(torch.tensor(json.loads(printed)), expected, atol=1e-4, rtol=0)


def test_the_model_is_listed(server: Server) -> None:
    status, body = call(f"{server.url}/models")
    assert status == 200
    assert [entry["id"] for entry in body["data"]] == [NAME]


def test_most_answers_are_in_the_form_asked_for(server: Server, ways: Ways, lines: list[Pair]) -> None:
    some = lines[::5]
    formed = sum(is_formed(server.text(asked, **ways.plain), like=answer) for asked, answer in some)
    assert formed >= 0.6 * len(some)


def is_formed(text: str, like: str) -> bool:
    names = re.findall(r"^(\w+):", like, re.MULTILINE)
    try:
        return set(labelled(text, names)) == set(names)
    except TeacherError:
        return False


def test_usage_counts_the_tokens(server: Server, tokenizer: PreTrainedTokenizerFast, why: str) -> None:
    status, body = server.ask(why, max_tokens=5)
    usage, choice = body["usage"], body["choices"][0]
    assert status == 200
    assert choice["finish_reason"] == "length"
    assert usage["prompt_tokens"] == len(asked_tokens(tokenizer, why))
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    assert choice["message"]["role"] == "assistant"


def test_the_end_of_the_turn_ends_the_answer(server: Server, why: str) -> None:
    _, body = server.ask(why, max_tokens=1000)
    assert body["choices"][0]["finish_reason"] == "stop"
    assert END not in body["choices"][0]["message"]["content"]


def test_a_seed_fixes_the_draw(server: Server, why: str) -> None:
    drawn = [server.text(why, temperature=1.0, seed=seed, max_tokens=40) for seed in (5, 5, 6, 7, 8)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_log_probabilities_are_those_of_the_model(
    server: Server, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, why: str
) -> None:
    _, body = server.ask(why, max_tokens=1, logprobs=True, top_logprobs=5)
    (first,) = body["choices"][0]["logprobs"]["content"]
    told = {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}
    with torch.no_grad():
        logits = reference(torch.tensor([asked_tokens(tokenizer, why)])).logits[0, -1]
    values, places = logits.log_softmax(-1).topk(5)
    expected = {tokenizer.decode([place]): value for place, value in zip(places.tolist(), values.tolist(), strict=True)}
    assert told == pytest.approx(expected, abs=0.01)
    assert first["token"] == max(told, key=told.__getitem__)


def test_greedy_text(
    server: Server, ways: Ways, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, lines: list[Pair]
) -> None:
    some = [asked for asked, _ in lines[::30]]
    same = [server.text(asked, **ways.plain) == greedy(reference, tokenizer, asked) for asked in some]
    assert sum(same) >= len(same) - 1  # two words may be as likely to the last digit but one


def test_an_answer_by_schema(server: Server, ways: Ways, why_object: str) -> None:
    status, body = server.ask(why_object, response_format=BY_SCHEMA)
    assert status == ways.schema
    if status == 200:
        answer = json.loads(body["choices"][0]["message"]["content"])
        assert list(answer) == [name.lower() for name in FIELDS]
        assert answer["prediction"] in ("Yes", "No")
    else:
        assert "json_schema" in body["error"]["message"]


def test_a_schema_holds_where_lines_were_asked_for(server: Server, ways: Ways, why: str) -> None:
    """The server's grammar, not the model's goodwill; it may end in the middle, with blanks or words for ever."""
    form = BY_SCHEMA if ways.schema == 200 else {"type": "json_object", "schema": SCHEMA}
    assert re.match(r'\s*{\s*"taste"\s*:\s*"', server.text(why, response_format=form))
    assert server.text(why).startswith("Taste:")


def test_only_llamacpp_reads_a_schema_beside_json_object(server: Server, why_object: str) -> None:
    wanted = {"type": "object", "properties": {"other": {"type": "string"}}, "required": ["other"]}
    text = server.text(why_object, response_format={"type": "json_object", "schema": wanted})
    assert text.lstrip().startswith('{"other"') is (server.kind == "llamacpp")


def test_a_value_that_cannot_be_read_is_refused_with_a_message(server: Server, ways: Ways, why: str) -> None:
    for fields in ({"response_format": {"type": "xml"}}, {"max_tokens": "many"}):
        status, body = server.ask(why, **fields)
        assert status == ways.refused
        assert next(iter(fields)) in body["error"]["message"]


def test_an_unknown_field_is_ignored(server: Server, why: str) -> None:
    assert server.ask(why, fancy_field=3, max_tokens=3)[0] == 200


def test_more_log_probabilities_than_the_protocol_has(server: Server, ways: Ways, why: str) -> None:
    status, body = server.ask(why, max_tokens=1, logprobs=True, top_logprobs=21)
    assert status == ways.many_logprobs
    assert status == 200 or "21" in body["error"]["message"]


def test_a_model_that_is_not_there(server: Server, ways: Ways, why: str) -> None:
    status, body = server.ask(why, model="nobody", max_tokens=1)
    assert status == ways.unknown_model
    assert body["model"] == "nobody" if status == 200 else "nobody" in body["error"]["message"]


def test_the_newer_name_of_the_limit(server: Server, ways: Ways, why: str) -> None:
    _, body = server.ask(why, max_tokens=None, max_completion_tokens=3)
    assert (body["usage"]["completion_tokens"] == 3) is ways.new_limit


def test_a_prompt_longer_than_the_context_is_refused(server: Server, why: str) -> None:
    for times in (5, 50):
        status, body = server.ask(why * times)
        assert status == 400
        assert "maximum context length" in body["error"]["message"]


def test_an_answer_is_cut_where_the_context_ends(server: Server, why: str) -> None:
    assert server.ask(why, max_tokens=1900)[0] == 200


def test_an_address_that_is_not_there(server: Server) -> None:
    assert call(f"{server.url}/nothing", {})[0] == 404


def test_many_at_once_are_all_answered(server: Server, questions: list[Pair]) -> None:
    some = [asked for asked, _ in questions[:48]]
    before = server.asked()
    with ThreadPoolExecutor(16) as pool:
        answered = list(pool.map(lambda asked: server.ask(asked, max_tokens=40)[0], some))
    assert answered == [200] * len(some)
    assert server.asked() == before + len(some)


def test_the_likelihoods_a_zero_shot_answer_is_read_from_are_the_models_own(
    server: Server, ways: Ways, model: Path, lines: list[Pair], tmp_path: Path
) -> None:
    asked = [Request(str(n), (Message("user", text),), ()) for n, (text, _) in enumerate(lines[:6])]
    config = ModelConfig(endpoint=server.url, model=NAME, extra=dict(ways.plain))
    with Cache(tmp_path / "answers.sqlite") as cache:
        there = dict(answered(ServedChooser(config, Purse(BudgetConfig()), cache).send(asked)))
    here = dict(answered(LocalChooser(ModelConfig(model=str(model)), Purse(BudgetConfig())).send(asked)))
    assert there.keys() == here.keys() == {request.id for request in asked}
    for id, found in there.items():
        both = found.keys() & here[id].keys()
        assert len(both) >= 10, (found, here[id])
        assert max(abs(found[name] - here[id][name]) for name in both) < 0.01


def answered(answers: Iterable[tuple[Request, Answer]]) -> Iterator[tuple[str, dict[str, float]]]:
    """(id, name of a token -> its log-probability) of each; names that two tokens share are left out."""
    for request, answer in answers:
        assert answer.received, answer.error
        named = [(name.translate(SPACES).strip(), log) for name, _, log in loads(answer.text)]
        counts = Counter(name for name, _ in named)
        yield request.id, {name: log for name, log in named if counts[name] == 1}
