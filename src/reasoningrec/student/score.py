"""P(Yes) of a student: softmax over its two decision logits at the place after "Prediction:"."""

# Names end in their axes: B rows, T tokens, H hidden.
# ruff: noqa: N806

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from reasoningrec.records import Case
from reasoningrec.student.bases import Student
from reasoningrec.student.encode import decision_ids, encode_prompt

Done: TypeAlias = Callable[[int, int], None]
"""Told (done, total) as work goes on."""


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
    found: list[float | None] = [None] * len(prompts)
    done = 0
    for batch in batches([len(prompt) for prompt in prompts], batch_tokens):
        tokens_BT, lengths_B = pad([prompts[n] for n in batch], model.device)
        # Padding stands on the right, where a causal model cannot look: no mask is needed.
        hidden_BTH = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        last_BH = hidden_BTH[torch.arange(len(batch), device=model.device), lengths_B - 1]
        logits_B2 = model.get_output_embeddings()(last_BH)[:, list(decisions)].double()
        for n, p in zip(batch, torch.softmax(logits_B2, -1)[:, 1].tolist(), strict=True):
            found[n] = None if math.isnan(p) else p
        done += len(batch)
        if progress:
            progress(done, len(prompts))
    return found


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
