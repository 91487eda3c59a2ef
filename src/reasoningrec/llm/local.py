"""A causal LM on this machine as a `Model`: any that transformers can load, from a folder or a hub, in batches.

What is and is not the same on every start:

- A key stands for model, messages and sampling, and for the precision that the machine computes in.
- A drawn answer has a generator of its own, seeded by its request's key, and takes one number for each token of the
  vocabulary at each step. So it depends neither on the order of requests nor on what else is in its batch.
- Only rounding does: a row is padded to its batch's longest, and sums are taken in another order. In float32 that
  turns a choice only between tokens as good as equally likely; in bfloat16, on a GPU, now and then a real one. Which
  answer came first is kept in the cache. A machine with another GPU or library may round otherwise.
- Padding is masked, which architectures with attention obey. One with a running state (Mamba) may let it through;
  `batch_size = 1` keeps it out.
"""

# ruff: noqa: N806
from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import GenerationConfig

from reasoningrec.config import ModelConfig
from reasoningrec.errors import ConfigError, TeacherError
from reasoningrec.llm import checkpoint, drawing
from reasoningrec.llm.cache import key_of
from reasoningrec.llm.client import Answer, Request, Usage
from reasoningrec.llm.forms import chat, is_tag, part_thinking, problem
from reasoningrec.llm.limits import Purse
from reasoningrec.llm.settings import answering
from reasoningrec.llm.templates import Prompt, Template
from reasoningrec.rows import Json

STUCK: Final = (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError)
"""What a model raises that does not run."""
WINDOW: Final = 8
"""So many batches of requests are taken together and sorted by length, so that little is padded."""


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """A request on its way."""

    request: Request
    prompt: Prompt
    ticket: int | None
    """Of the purse; None where the prompt is too long to be answered."""


class Local:
    """See the module. `settings` hold what can change an answer.

    A field in `leave_out` is as the model's own generation_config.json has it; the seed is then none, and "max_tokens"
    stays the limit. Nothing else is taken from that file but the tokens that end an answer. `key_env`, `tokenizer`, and
    what limits requests to a server have no meaning here.
    """

    def __init__(self, config: ModelConfig, purse: Purse, *, seed: int = 0) -> None:
        """Read tokenizer and configuration; the weights wait for the first request to be answered.

        Args:
            config: `model` is a folder or hub id.
            purse: what may be spent.
            seed: of all draws, beside that of each request; part of the settings where answers are drawn.

        Raises:
            ConfigError: the model cannot be used, or a setting has no meaning for it.
            TeacherError: the hub does not answer.
        """
        drawing.check(config)
        self.config, self.purse = config, purse
        self.checkpoint = checkpoint.find(config.model)
        self.name = self.checkpoint.name
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = _precision(self._device)
        self.rescued: list[tuple[Request, Answer]] = []
        self.settings: dict[str, Json] = {
            **answering(config),
            **{"endpoint": "local", "model": self.name, "answer_form": "lines"},
            **{"digest": self.checkpoint.digest, "dtype": str(self._dtype).removeprefix("torch.")},
            **({"run_seed": seed} if drawing.is_drawn(config) else {}),
        }
        self._room = (self.checkpoint.context or 1 << 40) - config.max_new_tokens
        if self._room < 1:
            context = self.checkpoint.context
            raise ConfigError(
                f"max_new_tokens = {config.max_new_tokens}: {self.name} has room for {context} tokens, prompt included",
                hint="Lower it, or name a model with a longer context.",
            )
        self._template = Template(self.checkpoint.tokenizer, config.extra.get(drawing.TEMPLATE, {}))
        self._stops = drawing.stops(config)
        self._barred = _unspoken(self.checkpoint.tokenizer)
        self._batch = config.batch_size
        self._model: Any = None
        self._native: Any = None

    def body(self, request: Request) -> dict[str, Json]:
        """Model, files, precision, messages, sampling: everything."""
        return {**self.settings, "messages": chat(request, "lines"), **self._seed_of(request)}

    def count_tokens(self, request: Request) -> tuple[int, bool]:
        """Tokens of the prompt, template included; always exact. Raises ConfigError where the template refuses it."""
        return len(self._prompt(request).tokens), True

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers as each batch is done. WINDOW batches of requests are taken at a time, the longest answered first.

        A prompt that leaves no room for an answer gets a failed one, and so does a single prompt that does not fit
        into the GPU's memory; of several, fewer are then answered at once from there on.

        Raises:
            TeacherError: the budget allows no further request, the weights cannot be loaded, or the model does not run.
            ConfigError: a value in `extra` is none, the template refuses a chat, or the weights do not fit the model.
        """
        queue = iter(requests)
        ahead = next(queue, None)
        while ahead is not None:
            window: list[Asked] = []
            try:
                ahead = self._reserve(window, ahead, queue)
                if not window:
                    raise self.purse.exhausted()
                yield from self._answer(window)
            finally:
                self._settle(window, [Usage()] * len(window))  # what is left

    def _reserve(self, window: list[Asked], first: Request, queue: Iterator[Request]) -> Request | None:
        """Fills the next window with what the purse allows; the first request that is not in it."""
        request: Request | None = first
        while request is not None and len(window) < WINDOW * self.config.batch_size:
            prompt, ticket = self._prompt(request), None
            if len(prompt.tokens) <= self._room:
                ticket = self.purse.reserve(Usage(1, len(prompt.tokens), self.config.max_new_tokens))
                if ticket is None:
                    break
            window.append(Asked(request, prompt, ticket))
            request = next(queue, None)
        return request

    def _answer(self, window: Sequence[Asked]) -> Iterator[tuple[Request, Answer]]:
        yield from ((asked.request, self._too_long(asked)) for asked in window if asked.ticket is None)
        waiting = [asked for asked in window if asked.ticket is not None]
        waiting.sort(key=lambda asked: -len(asked.prompt.tokens))
        while waiting:
            batch = waiting[: self._batch]
            answers = self._attempt(batch)
            if answers is None and len(batch) > 1:
                self._batch = len(batch) // 2
                continue
            answers = answers or [_no_memory()]
            del waiting[: len(batch)]
            self._settle(batch, [answer.usage for answer in answers])
            self.rescued = [(asked.request, answer) for asked, answer in zip(batch, answers, strict=True)]
            while self.rescued:  # what is not taken is left there
                yield self.rescued.pop(0)

    def _settle(self, batch: Sequence[Asked], used: Sequence[Usage]) -> None:
        for asked, usage in zip(batch, used, strict=True):
            if asked.ticket is not None:
                self.purse.settle(asked.ticket, usage)

    def _attempt(self, batch: Sequence[Asked]) -> list[Answer] | None:
        """The answers to a batch; None where memory does not suffice."""
        started = time.monotonic()
        rows = self._generate(batch)
        if rows is None:
            torch.cuda.empty_cache()  # here, where no error holds on to the tensors any more
            return None
        seconds = (time.monotonic() - started) / len(batch)
        return [self._read(asked.prompt, row, seconds) for asked, row in zip(batch, rows, strict=True)]

    def _generate(self, batch: Sequence[Asked]) -> list[list[int]] | None:
        """The new tokens of each row, with whatever follows their end; None where memory does not suffice."""
        model = self._loaded()
        tokens_BT, mask_BT = _left_padded([asked.prompt.tokens for asked in batch])
        extra = drawing.arguments(self.config)
        keys = [key_of(self.body(asked.request)) for asked in batch]
        try:
            whole_BT = model.generate(
                input_ids=tokens_BT.to(self._device),
                attention_mask=mask_BT.to(self._device),
                max_new_tokens=self.config.max_new_tokens,
                do_sample=False,  # draws are made by the last of the processors
                logits_processor=drawing.processors(self.config, self._native, keys, self._device),
                tokenizer=self.checkpoint.tokenizer if self._stops else None,
                **extra,
            )
        except torch.cuda.OutOfMemoryError:
            return None
        except STUCK as error:
            raise self._stuck(error, extra) from error
        rows: list[list[int]] = whole_BT[:, tokens_BT.shape[1] :].tolist()
        return rows

    def _stuck(self, error: Exception, extra: Iterable[str] = ()) -> ConfigError | TeacherError:
        """The error to raise where the model does not run; `extra` are the settings that may be why."""
        text = f'model = "{self.name}": does not run: {error}'
        if names := ", ".join(extra):
            return ConfigError(text, hint=f"Are the values in `extra` right? {names}.")
        return TeacherError(text, hint="Try another model.")

    def _loaded(self) -> Any:
        """The model, loaded at the first call, with settings of its own for nothing but the tokens that end a text."""
        if self._model is None:
            model = checkpoint.load(self.checkpoint, self._device, self._dtype)
            self._native = model.generation_config
            ends = sorted(_ends(self._native.eos_token_id, model.config, self.checkpoint.tokenizer))
            pad = self.checkpoint.tokenizer.pad_token_id
            pad = pad if pad is not None else ends[0] if ends else 0
            own = GenerationConfig(eos_token_id=ends or None, pad_token_id=pad)  # type: ignore[no-untyped-call]
            model.generation_config = own
            self._model = model
        return self._model

    def _read(self, prompt: Prompt, row: Sequence[int], seconds: float) -> Answer:
        """The answer that a row of new tokens holds. The end token is counted: it was written."""
        length, ended = self._end(row)
        text = self._spoken(row[:length])
        text = min((text.partition(stop)[0] for stop in self._stops), key=len, default=text)
        said, thinking = part_thinking(prompt.opened + text)
        finish = "stop" if ended else "length"
        error, said = problem(said, None, finish, thinking)
        return Answer(said, thinking, finish, Usage(1, len(prompt.tokens), length), seconds, error)

    def _end(self, row: Sequence[int]) -> tuple[int, bool]:
        """How many tokens were written, and whether the text ended there; else it broke off."""
        ends, pad = self._model.generation_config.eos_token_id or (), self._model.generation_config.pad_token_id
        length = next((place for place, token in enumerate(row, 1) if token in ends), 0)
        if not self._stops:
            return length or len(row), bool(length)
        stopped = 1 + bisect.bisect(range(1, len(row) + 1), 0, key=lambda most: self._stop_in(row[:most]))
        # A stop that began in the prompt is in no text of ours: it shows by the padding after it.
        padded = (
            len(row) if pad in ends else max((place for place, token in enumerate(row, 1) if token != pad), default=0)
        )
        first = min(length or len(row), stopped, padded)
        return first, bool(length) or first < len(row) or stopped == len(row)

    def _stop_in(self, tokens: Sequence[int]) -> int:
        text = self._spoken(tokens)
        return int(any(stop in text for stop in self._stops))

    def _spoken(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        kept = [token for token in tokens if token not in self._barred]
        return str(self.checkpoint.tokenizer.decode(kept, clean_up_tokenization_spaces=False))

    def _prompt(self, request: Request) -> Prompt:
        return self._template.prompt(chat(request, "lines"))

    def _seed_of(self, request: Request) -> dict[str, Json]:
        return {} if "seed" in self.config.leave_out else {"seed": request.seed}

    def _too_long(self, asked: Asked) -> Answer:
        tokens, most = len(asked.prompt.tokens), self.config.max_new_tokens
        return Answer(
            "",
            error=f"the prompt has {tokens} tokens: with max_new_tokens = {most} it does not fit into the"
            f" {self.checkpoint.context} that {self.name} can read",
        )


def _precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that computes in it, else float32."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if able else torch.float32


def _left_padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens_BT and mask_BT of rows of tokens, their ends in line.

    What is padded with is masked; it is the row's own first token, so that penalties for what was said already
    (`repetition_penalty`) find nothing in the padding that is not in the prompt.
    """
    longest = max(map(len, rows))
    tokens = [[row[0]] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)


def _ends(native: int | list[int] | None, shape: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer, by any of the model's files."""
    ends: set[int] = set()
    for found in (native, getattr(shape.get_text_config(decoder=True), "eos_token_id", None), tokenizer.eos_token_id):
        ends.update([found] if isinstance(found, int) else found or ())
    return ends


def _unspoken(tokenizer: Any) -> frozenset[int]:
    """Control tokens, which are no part of a text; tags around thoughts are."""
    added = {id_: token.content for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return frozenset(id_ for id_, text in {**added, **named}.items() if not is_tag(text))


def _no_memory() -> Answer:
    error = "the GPU's memory does not suffice for this prompt alone"
    return Answer("", error=error, received=False)
