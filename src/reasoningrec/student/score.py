"""P(Yes) of a student: softmax over its two decision logits at the place after "Prediction:".

Prompts of one user begin alike. What they have in common is computed once: prompts that share a prefix form a group
(`prefix`), whose suffixes are packed behind it (`packed`), as far as the model's code allows (`agree`). Prompts that
share nothing go the plain way, in padded batches.
"""

# Names end in their axes: B rows, T tokens, F features of a hidden state; 2 stands for (No, Yes).
# ruff: noqa: N803, N806

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch

from reasoningrec.records import Case
from reasoningrec.student.agree import PlainWay, trusted
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import decision_ids, encode_prompt
from reasoningrec.student.packed import Kept
from reasoningrec.student.prefix import Tokens, passes, share

Done: TypeAlias = Callable[[int, int], None]
"""Told (done, total) as work goes on."""
CPU_TOKENS: Final = 2048
"""Tokens of a batch at most on a CPU: larger ones leave its caches and are slower."""


def score(
    student: Student, cases: Sequence[Case], batch_tokens: int, progress: Done | None = None
) -> list[float | None]:
    """P(Yes) of each case, in the order of `cases`; None where the model gave no number.

    Args:
        student: an opened student.
        cases: what may be shown of each query.
        batch_tokens: tokens of a batch, padding included. Does not change the answers beyond rounding (1e-5).
        progress: told how many cases are scored.

    Raises:
        StudentError: a prompt does not fit into `train.max_tokens`.
    """
    prompts = [encode_prompt(case, student.tokenizer, student.config.max_tokens).tokens for case in cases]
    return probabilities(student.model, decision_ids(student.tokenizer), prompts, batch_tokens, progress)


@torch.inference_mode()
def probabilities(
    model: Any,
    decisions: tuple[int, int],
    prompts: Sequence[Sequence[int]],
    batch_tokens: int,
    progress: Done | None = None,
) -> list[float | None]:
    """P(Yes) of each prompt, as `score`, given the token ids of (No, Yes)."""
    rows: list[Tokens] = [tuple(prompt) for prompt in prompts]
    lengths = [len(row) for row in rows]
    most = min(batch_tokens, CPU_TOKENS) if model.device.type == "cpu" else batch_tokens
    plain = PlainWay(lambda some: _last(model, some), lambda last_BF: _decided(model, decisions, last_BF))
    found: dict[int, float] = {}

    def note(members: Sequence[int], last_BF: torch.Tensor) -> None:
        found.update(zip(members, plain.decide(last_BF).tolist(), strict=True))
        if progress:
            progress(len(found), len(rows))

    groups = [group for group in share(rows) if len(group.members) > 1]
    body = trusted(model, rows, groups, plain) if groups else None
    kept: Kept = {}
    if body:
        for pieces in passes(groups, lengths, most):
            note([n for piece in pieces for n in piece.members], body(rows, pieces, kept))
    rest = [n for n in range(len(rows)) if n not in found]
    for batch in batches([lengths[n] for n in rest], most):
        note([rest[n] for n in batch], plain.last([rows[rest[n]] for n in batch]))
    return [None if math.isnan(found[n]) else found[n] for n in range(len(rows))]


def _last(model: Any, rows: Sequence[Tokens]) -> torch.Tensor:
    """last_BF: the hidden state that follows each row, all in one padded batch."""
    tokens_BT, lengths_B = pad(rows, model.device)
    # Padding stands on the right, where a causal model cannot look: no mask is needed.
    hidden_BTF: torch.Tensor = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
    return hidden_BTF[torch.arange(len(rows), device=model.device), lengths_B - 1]


def _decided(model: Any, decisions: tuple[int, int], last_BF: torch.Tensor) -> torch.Tensor:
    """P(Yes), (B,), in 64 bits. Only two rows of the output matrix are used, and in no less than 32 bits."""
    head, both = model.get_output_embeddings(), list(decisions)
    if type(head) is torch.nn.Linear:
        bias_2 = head.bias[both].float() if head.bias is not None else None
        logits_B2 = torch.nn.functional.linear(last_BF.float(), head.weight[both].float(), bias_2)
    else:
        logits_B2 = head(last_BF)[:, both]
    return torch.softmax(_scaled(model, logits_B2.double()), -1)[:, 1]


def _scaled(model: Any, logits_B2: torch.Tensor) -> torch.Tensor:
    """What a model does to its logits last: scale (Cohere, Granite), then soft cap (Gemma)."""
    config = getattr(model, "config", None)
    factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    logits_B2 = logits_B2 * factor
    return cap * torch.tanh(logits_B2 / cap) if cap else logits_B2


def batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices grouped by similar length, longest first; rows times the longest of a group is at most `batch_tokens`.

    A single row longer than that is a group of its own.
    """
    groups: list[list[int]] = []
    for n in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= batch_tokens:
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def pad(rows: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens_BT, lengths_B): rows padded on the right with token 0, which a causal model never sees from the left."""
    lengths_B = torch.tensor([len(row) for row in rows], device=device)
    longest = int(lengths_B.max())
    tokens_BT = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    return tokens_BT, lengths_B


def use_threads(count: int) -> None:
    """CPU threads of the student from here on; 0 = leave them as they are."""
    if count:
        torch.set_num_threads(count)


def place_of(student: Student) -> str:
    """Where the student works: the GPU's name, or how many threads of which processor."""
    if student.model.device.type == "cuda":
        return torch.cuda.get_device_name(student.model.device)
    threads = torch.get_num_threads()
    return f"{threads} {'thread' if threads == 1 else 'threads'} of {platform.processor() or platform.machine()}"
