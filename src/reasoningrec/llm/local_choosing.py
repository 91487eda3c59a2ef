"""Yes or No by how likely a chat's next token is, for a causal LM on this machine."""

# Names end in their axes: B rows, T tokens, V vocabulary.
# ruff: noqa: N806

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from reasoningrec.llm import likelihoods
from reasoningrec.llm.choosing import TOPS, turns
from reasoningrec.llm.client import Answer, Request, Usage
from reasoningrec.llm.likelihoods import Likelihood
from reasoningrec.llm.local import STUCK, Asked, Local
from reasoningrec.llm.templates import Prompt
from reasoningrec.rows import Json


class LocalChooser(Local):
    """A model on this machine. The text of an answer is `likelihoods.dumps` of the likeliest tokens."""

    def body(self, request: Request) -> dict[str, Json]:
        """Model, files, precision, messages."""
        return {**self.settings, "messages": turns(request), "wanted": "likelihoods"}

    def _prompt(self, request: Request) -> Prompt:
        return self._template.prompt(turns(request))

    def _attempt(self, batch: Sequence[Asked]) -> list[Answer] | None:
        started = time.monotonic()
        try:
            best = self._likeliest([asked.prompt.tokens for asked in batch])
        except torch.cuda.OutOfMemoryError:
            best = None
        except STUCK as error:
            raise self._stuck(error) from error
        if best is None:
            torch.cuda.empty_cache()  # here, where no error holds on to the tensors any more
            return None
        seconds = (time.monotonic() - started) / len(batch)
        usages = [Usage(1, len(asked.prompt.tokens), 1) for asked in batch]
        return [
            Answer(likelihoods.dumps(found), "", "stop", usage, seconds)
            for found, usage in zip(best, usages, strict=True)
        ]

    @torch.inference_mode()
    def _likeliest(self, rows: Sequence[Sequence[int]]) -> list[list[Likelihood]]:
        model, tokenizer = self._loaded(), self.checkpoint.tokenizer
        tokens_BT, mask_BT = (
            torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in part], batch_first=True).to(self._device)
            for part in (rows, [[1] * len(row) for row in rows])
        )
        logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
        logits = logits_BTV[torch.arange(len(rows)), mask_BT.sum(1) - 1]
        logs, ids = torch.log_softmax(logits.float(), -1).topk(min(TOPS[0], logits.shape[-1]))
        return [
            [Likelihood(str(tokenizer.decode([id_])), id_, log) for id_, log in zip(some, those, strict=True)]
            for some, those in zip(ids.tolist(), logs.tolist(), strict=True)
        ]
