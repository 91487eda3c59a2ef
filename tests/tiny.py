"""Tiny models in real architectures, trained for a moment on a few requests and answers, and stored in folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from reasoningrec.llm.client import Message, Request
from reasoningrec.llm.forms import chat
from reasoningrec.llm.templates import Template

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
REFUSING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
DROPPING = (
    "{{ bos_token }}{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}<|im_start|>assistant\n"
)
SPECIAL = ("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>")
SHAPE = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
ITEMS = ("a red kettle", "a lamp", "the very large blue tent of the north", "one clock", "a brush and a basket")


@dataclass(frozen=True)
class Kind:
    """An architecture, and how it is talked to."""

    config: type
    template: str
    end: str
    pad: str | None
    start: str | None = None


KINDS = {
    "llama": Kind(LlamaConfig, "", "</s>", None, "<s>"),
    "qwen2": Kind(Qwen2Config, CHATML, "<|im_end|>", "<pad>"),
    "qwen3": Kind(Qwen3Config, CHATML, "<|im_end|>", "<pad>"),
    "mistral": Kind(MistralConfig, REFUSING, "</s>", None, "<s>"),
}


def request(number: int, **changes: Any) -> Request:
    """Request `number`, of a length of its own."""
    item = ITEMS[number % len(ITEMS)]
    past = " ".join(ITEMS[place % len(ITEMS)] for place in range(number))
    messages = (Message("system", "You describe shops."), Message("user", f"They had {past}. Now {item}?"))
    return Request(**{"id": f"r{number}", "messages": messages, "fields": ("Prediction", "Why"), **changes})


def wanted(number: int) -> str:
    """What a tiny model learns to answer to request `number`."""
    return f"Prediction: {('Yes', 'No')[number % 3 == 0]}\nWhy: {ITEMS[(number * 2 + 1) % len(ITEMS)]} {number}."


def store(kind: Kind, model: Any, folder: Path) -> Path:
    """Write a model with its tokenizer to `folder`."""
    model.save_pretrained(folder)
    tokenizer_of(kind.template, kind.end, kind.pad, kind.start).save_pretrained(folder)
    return folder


@cache
def tokenizer_of(template: str, end: str | None, pad: str | None, start: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE with control tokens and tags."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    texts = [message.text for number in range(12) for message in request(number).messages]
    texts += [wanted(number) for number in range(12)] + [str(turn["content"]) for turn in chat(request(3), "lines")]
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(SPECIAL)
    )
    bare.train_from_iterator(texts, trainer)
    bare.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    if start:
        bare.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, bare.token_to_id(start))]
        )
    named = {"bos_token": start, "eos_token": end, "pad_token": pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, **{name: token for name, token in named.items() if token is not None}
    )
    tokenizer.chat_template = template or None
    return tokenizer


def trained(kind: Kind, steps: int = 90, rows: int = 9) -> Any:
    """A model that has seen some answers for some steps."""
    tokenizer = tokenizer_of(kind.template, kind.end, kind.pad, kind.start)
    shape = kind.config(
        **SHAPE,
        num_key_value_heads=2,
        head_dim=12,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        model: Any = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    template = Template(tokenizer, {})
    examples = []
    for number in range(rows):
        prompt = list(template.prompt(chat(request(number), "lines")).tokens)
        answer = tokenizer.encode(wanted(number), add_special_tokens=False)
        examples.append((prompt, [*answer, tokenizer.eos_token_id]))
    longest = max(len(prompt) + len(answer) for prompt, answer in examples)
    inputs, labels, mask = [], [], []
    for prompt, answer in examples:
        room = longest - len(prompt) - len(answer)
        inputs.append(prompt + answer + [0] * room)
        labels.append([-100] * len(prompt) + answer + [-100] * room)
        mask.append([1] * (len(prompt) + len(answer)) + [0] * room)
    batch = {"input_ids": torch.tensor(inputs), "labels": torch.tensor(labels), "attention_mask": torch.tensor(mask)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval()


def copied(folder: Path, target: Path, **settings: Any) -> Path:
    """A copy of a stored model, its config.json changed; None takes a key out."""
    shutil.copytree(folder, target)
    if settings:
        file = target / "config.json"
        config = {**json.loads(file.read_text("utf-8")), **settings}
        file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}), "utf-8")
    return target
