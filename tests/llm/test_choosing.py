"""Yes or No by the likelihoods of a chat's next token: the model's own softmax, from a server and on this machine."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from completing import Completing, completing
from reasoningrec.config import BudgetConfig, ModelConfig
from reasoningrec.errors import TeacherError
from reasoningrec.llm import likelihoods
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.choosing import ServedChooser, chance
from reasoningrec.llm.client import Message, Request
from reasoningrec.llm.likelihoods import Likelihood
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.local_choosing import LocalChooser
from reasoningrec.llm.remember import Remembering

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED = [
    Request(f"q{n}", (Message("user", f"They liked {'tea ' * n}. Will they like a lamp? Yes or No."),), ())
    for n in range(1, 10)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose tokenizer has Yes and No as tokens."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    plain.train_from_iterator([*(["Yes", "No"] * 50), *(request.messages[0].text for request in ASKED)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        model = LlamaForCausalLM(shape)
    with torch.no_grad():  # so that both words are among the likeliest, as a model that was told so would have it
        for word in ("Yes", "No"):
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(word)] *= 8
    place = tmp_path_factory.mktemp("choosing") / "model"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    return LlamaForCausalLM.from_pretrained(folder).eval(), PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def expected(loaded: tuple[Any, Any]) -> dict[str, float]:
    """P(Yes) by the model's own logits, one prompt at a time."""
    model, tokenizer = loaded
    found = {}
    words = [tokenizer.convert_tokens_to_ids(word) for word in ("No", "Yes")]
    for request in ASKED:
        chat = [{"role": "user", "content": request.messages[0].text}]
        tokens = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        found[request.id] = float(torch.softmax(logits[words], -1)[1])
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "answers.sqlite") as opened:
        yield opened


def test_a_model_here_answers_as_its_logits_say_in_batches_of_unequal_prompts(
    folder: Path, expected: dict[str, float], cache: Cache
) -> None:
    model = LocalChooser(ModelConfig(model=str(folder), batch_size=4, max_new_tokens=8), Purse(BudgetConfig()))
    client = Remembering(model, cache, "me")
    found = {reply.request_id: chance(reply.text) for reply in client.answer(ASKED)}
    assert len({round(p, 3) for p in expected.values()}) > 3
    for id, p in expected.items():
        assert found[id].p == pytest.approx(p, abs=1e-4 if found[id].bounded else 1e-6)
        assert not found[id].bounded
    again = Remembering(model, cache, "me")
    assert {reply.request_id: chance(reply.text) for reply in again.answer(ASKED)} == found
    assert (again.spending.asked, again.spending.cached) == (0, len(ASKED))


def test_a_model_here_that_does_not_run_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: Any, **__: Any) -> None:
        raise RuntimeError("sizes differ")

    monkeypatch.setattr(LlamaForCausalLM, "forward", stuck)
    with pytest.raises(TeacherError, match='model = "model": does not run: sizes differ'):
        list(LocalChooser(ModelConfig(model=str(folder), max_new_tokens=8), Purse(BudgetConfig())).send(ASKED))


def test_another_seed_asks_the_same(loaded: tuple[Any, Any], cache: Cache) -> None:
    with completing(Completing(*loaded)) as server:
        config = ModelConfig(endpoint=server.url, model="tiny")
        for seed in (0, 1):
            client = Remembering(ServedChooser(config, Purse(BudgetConfig()), cache, seed=seed), cache, "me")
            list(client.answer(dataclasses.replace(request, seed=seed) for request in ASKED))
        assert len(server.asked) == 1 + len(ASKED)


@pytest.mark.parametrize("most", [20, 5])
def test_a_server_answers_the_same(
    loaded: tuple[Any, Any], expected: dict[str, float], cache: Cache, most: int
) -> None:
    with completing(Completing(*loaded, most_top=most)) as server:
        config = ModelConfig(
            endpoint=server.url, model="tiny", extra={"max_tokens": 7, "top_logprobs": 1, "user": "me"}
        )
        client = Remembering(ServedChooser(config, Purse(BudgetConfig()), cache), cache, "me")
        found = {reply.request_id: chance(reply.text) for reply in client.answer(ASKED)}
        sent = server.asked[-1]
        assert (sent["max_tokens"], sent["top_logprobs"], sent["temperature"]) == (1, most, 0.0)
        assert sent["user"] == "me"
        assert "form" not in json.dumps(sent["messages"])
        asked = len(server.asked)
        more = Remembering(ServedChooser(config, Purse(BudgetConfig()), cache), cache, "me")
        assert {reply.request_id: chance(reply.text) for reply in more.answer(ASKED)} == found
        assert len(server.asked) == asked  # neither the queries nor what the server gives are asked again
    for id, p in expected.items():
        assert found[id].bounded or found[id].p == pytest.approx(p, abs=1e-5)
    assert sum(not one.bounded for one in found.values()) >= 5


def test_a_server_without_likelihoods_stops_the_run_and_says_which_have_them(
    loaded: tuple[Any, Any], cache: Cache
) -> None:
    def silent(_: dict[str, Any], answer: dict[str, Any]) -> Any:
        del answer["choices"][0]["logprobs"]
        return answer

    with completing(Completing(*loaded, hurt=silent)) as server:
        client = ServedChooser(ModelConfig(endpoint=server.url, model="tiny"), Purse(BudgetConfig()), cache)
        with pytest.raises(TeacherError, match="no log-probabilities") as caught:
            list(client.send(ASKED))
        assert "vLLM" in (caught.value.hint or "")
        assert len(server.asked) == 1


def test_a_server_that_refuses_every_number_is_told(loaded: tuple[Any, Any], cache: Cache) -> None:
    with completing(Completing(*loaded, most_top=2)) as server:
        config = ModelConfig(endpoint=server.url, model="tiny", retries=0)
        with pytest.raises(TeacherError, match="HTTP 400"):
            list(ServedChooser(config, Purse(BudgetConfig()), cache).send(ASKED))


@pytest.mark.parametrize("sent", ["not json", {"choices": []}, {"choices": [{"message": None}]}, []])
def test_what_is_no_chat_is_no_answer(loaded: tuple[Any, Any], cache: Cache, sent: Any) -> None:
    with completing(Completing(*loaded)) as server:
        config = ModelConfig(endpoint=server.url, model="tiny", retries=0)
        client = ServedChooser(config, Purse(BudgetConfig()), cache)
        client.learn()
        server.hurt = lambda *_: sent
        answers = list(client.send(ASKED[:3]))
    assert [answer.received for _, answer in answers] == [False] * 3
    assert all("not one of a chat" in answer.error for _, answer in answers)


@pytest.mark.parametrize(
    ("tops", "p"),
    [
        ([("\u2581Yes", -0.1), ("\u2581No", -3.0), ("Yes", -4.0)], None),
        ([("Yes", -0.1), ("Yes", -4.0), ("No", -3.0)], None),  # two tokens that are written alike
        ([("YES", -0.1), (" yes", -4.0), ("No", -3.0)], None),
        ([("Yes", -0.1), ("No", float("-inf"))], 1.0),
    ],
)
def test_all_tokens_of_a_word_are_added_up(tops: list[tuple[str, float]], p: float | None) -> None:
    found = chance(likelihoods.dumps([Likelihood(name, None, log) for name, log in tops]))
    added = math.exp(-0.1) + math.exp(-4.0)
    assert found.p == pytest.approx(p or added / (added + math.exp(-3.0)))


def test_a_word_that_is_not_named_is_as_likely_as_the_least_that_is() -> None:
    tops = [Likelihood("Yes", None, -0.1), Likelihood("Maybe", None, -6.0)]
    found = chance(likelihoods.dumps(tops))
    assert found.bounded
    assert found.p == pytest.approx(math.exp(-0.1) / (math.exp(-0.1) + math.exp(-6.0)))
    assert chance(likelihoods.dumps([Likelihood("Yes", None, math.nan), *tops])).p is None


def test_numbers_of_tokens_are_passed_over_and_neither_word_is_no_answer() -> None:
    tops = [Likelihood("Yes", 7, -0.5), Likelihood(" No", 9, -1.5), Likelihood("maybe", 3, -2.0)]
    assert chance(likelihoods.dumps(tops)).p == pytest.approx(1 / (1 + 2.718281828**-1))
    assert chance(likelihoods.dumps(tops[2:])).p is None
    with pytest.raises(ValueError, match="Expecting value"):
        chance("Yes")
