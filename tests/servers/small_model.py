"""A small chat model made on the spot: a Llama with a tokenizer of its own, trained on given questions and answers.

It is no teacher. It learns the form of the answers, so that an inference server has something to serve whose texts the
package can read.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reasoningrec import config
from reasoningrec.llm import forms
from reasoningrec.llm.client import Message, Reply, Request
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.pipeline import line
from reasoningrec.teacher.answers import labelled

END, PAD = "<|end|>", "<|pad|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 2048
"""Tokens that the model takes, question and answer together."""
STEPS = 900
"""Of 4,096 tokens; about five minutes on two cores that do nothing else."""

Pair = tuple[str, str]
"""The user's text, the assistant's text."""

SHOP = """name = "demo"
item_word = "product"
[data]
source = "demo"
users = {users}
seed = {seed}
[split]
history = 4
train_windows = 4
"""
PROBE = Request("probe", (Message("user", "Is water wet?"),), ("Prediction",)), "Prediction: Yes"
"""What the package asks first, to find out whether a server knows schemas; one of a hundred requests."""
SHOPS = ((60, 1), (90, 2), (120, 3), (150, 4), (180, 5))
"""(users, seed) of the shops to learn from; the tests run on another one."""


class Quiet:
    """A listener of a run who says nothing."""

    def begun(self, plan: object) -> None: ...

    def moved(self, done: int, total: int) -> None: ...

    def ended(self, name: str, counts: object) -> None: ...


def pairs(shops: Iterable[tuple[int, int]] = SHOPS) -> list[Pair]:
    """Every request of stages describe, profile and reason on made shops, as a server gets it: (asked, answered).

    The answers are the rule writer's. Each stands there twice: in labelled lines, and as a JSON object.
    """
    asked: list[tuple[Request, str]] = []
    write = OfflineWriter.answer

    def listening(writer: OfflineWriter, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            for reply in write(writer, [request]):
                asked.append((request, reply.text))
                yield reply

    with mock.patch.object(OfflineWriter, "answer", listening):
        for users, seed in shops:
            _run_teacher(SHOP.format(users=users, seed=seed))
    asked += [PROBE] * (len(asked) // 100)
    return [pair for request, text in asked for pair in in_both_forms(request, text)]


def _run_teacher(shop: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "shop.toml"
        path.write_text(shop, "utf-8")
        line.run_line(Path(name) / "run", config.read(path), Quiet(), until="reason")


def in_both_forms(request: Request, text: str) -> Iterator[Pair]:
    """A request and its answer in labelled lines, and both by JSON schema."""
    values = {name.lower(): value for name, value in labelled(text, request.fields).items()}
    yield said(request, "lines"), text
    yield said(request, "schema"), json.dumps(values, ensure_ascii=False)


def said(request: Request, form: forms.Form) -> str:
    """What the user says in a request of one message."""
    (message,) = forms.chat(request, form)
    return str(message["content"])


def build(texts: Sequence[Pair], folder: Path, minutes: float = 20.0, seed: int = 0) -> None:
    """Train a model on `texts`, at most so long, and save it with its tokenizer and chat template into `folder`."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(text for pair in texts for text in pair)
    model = make_model(tokenizer)
    rows = [encode(tokenizer, pair) for pair in texts]
    train(model, [row for row in rows if row.length <= CONTEXT], minutes, random.Random(seed))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer(texts: Iterable[str], size: int = 3000) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on `texts`; a turn is a token of the role, the text, and a token for its end."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [END, PAD, *ROLES.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """About a million weights, drawn afresh."""
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(shape)


def asked(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Tokens of a chat in which the user said `text` and the assistant is to answer."""
    messages = [{"role": "user", "content": text}]
    return tokenizer(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))["input_ids"]


@dataclass(frozen=True)
class Row:
    """Tokens of a dialogue, and where the assistant's part begins."""

    tokens: torch.Tensor
    start: int

    @property
    def length(self) -> int:
        return len(self.tokens)


def encode(tokenizer: PreTrainedTokenizerFast, pair: Pair) -> Row:
    """A dialogue of one question and one answer, up to the end of the assistant's turn."""
    before = asked(tokenizer, pair[0])
    after = tokenizer(pair[1] + END)["input_ids"]
    return Row(torch.tensor(before + after), len(before))


def batches(rows: Sequence[Row], most: int, luck: random.Random) -> Iterator[list[Row]]:
    """Rows of like length together, at most `most` tokens each with padding, over and over in new orders."""
    while True:
        ordered = sorted(rows, key=lambda row: row.length + luck.random() * 16)
        made: list[list[Row]] = [[]]
        for row in ordered:
            if made[-1] and row.length * (len(made[-1]) + 1) > most:
                made.append([])
            made[-1].append(row)
        luck.shuffle(made)
        yield from made


def loss_of(model: LlamaForCausalLM, batch: Sequence[Row]) -> torch.Tensor:
    """Mean loss over the assistant's tokens, its end included; the vocabulary's logits are made at those alone."""
    tokens_BT = pad_sequence([row.tokens for row in batch], batch_first=True)
    place_T = torch.arange(tokens_BT.shape[1] - 1)
    start_B1 = torch.tensor([[row.start - 1] for row in batch])
    end_B1 = torch.tensor([[row.length - 1] for row in batch])
    answer_BT = (place_T >= start_B1) & (place_T < end_B1)
    hidden_BTD = model.model(input_ids=tokens_BT[:, :-1]).last_hidden_state  # padding stands behind: causal
    return cross_entropy(model.lm_head(hidden_BTD[answer_BT]), tokens_BT[:, 1:][answer_BT])


def train(model: LlamaForCausalLM, rows: Sequence[Row], minutes: float, luck: random.Random) -> list[float]:
    """`STEPS` steps of Adam, fewer where time is short; the loss of each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    begin, losses = time.monotonic(), []
    model.train()
    for batch in batches(rows, 4096, luck):
        done = max(len(losses) / STEPS, (time.monotonic() - begin) / (60 * minutes))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(done * 20 + 0.02, 1.0 - 0.9 * done)  # up in a twentieth, then down to a tenth
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses
