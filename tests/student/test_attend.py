"""Attention in two parts is attention, whatever reads the parts."""

from __future__ import annotations

import pytest
import torch

from reasoningrec.student import attend
from reasoningrec.student.attend import Manner, banded, look, merge

MANNER = Manner(0.3)


def made(heads: int = 4, keys: int = 4, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, h, 21, 16, generator=generator, dtype=dtype) for h in (heads, keys, keys))


@pytest.fixture
def explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "FLASH", None)
    monkeypatch.setattr(attend, "MOST_SCORES", 2 * 4 * 21 * 5)


@pytest.mark.parametrize("keys", [4, 2, 1])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_two_parts_merge_into_the_whole(keys: int, softcap: float | None) -> None:
    q, k, v = made(keys=keys)
    manner = Manner(0.3, softcap)
    parts = [look(q, k[:, :, part], v[:, :, part], manner, causal=False) for part in (slice(0, 15), slice(15, 21))]
    whole = look(q, k, v, manner, causal=False)[0]
    torch.testing.assert_close(merge(*parts), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(merge(*parts[::-1]), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.usefixtures("explicit")
def test_score_by_score_is_the_same_as_the_kernel(causal: bool) -> None:
    q, k, v = made(keys=2)
    out, lse = look(q, k, v, MANNER, causal)
    wide = [x.repeat_interleave(2, 1) for x in (k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(q, *wide, is_causal=causal, scale=0.3)
    torch.testing.assert_close(out, expected.transpose(1, 2), atol=1e-6, rtol=1e-5)
    scores = (q @ wide[0].transpose(2, 3)) * 0.3
    if causal:
        scores = scores.masked_fill(~banded(torch.arange(21), 21, None), float("-inf"))
    torch.testing.assert_close(lse, scores.logsumexp(-1).transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_a_window_shows_so_many_tokens() -> None:
    seen = banded(torch.tensor([0, 3, 9]), 6, 3)
    assert seen.tolist() == [
        [True, False, False, False, False, False],
        [False, True, True, True, False, False],
        [False] * 6,
    ]


def test_what_sees_nothing_of_one_part_reads_the_other_alone() -> None:
    q, k, v = made()
    blind = look(q, k, v, MANNER, causal=False, seen=torch.zeros(21, 21, dtype=torch.bool))
    other = look(q, k, v, MANNER, causal=True)
    torch.testing.assert_close(merge(blind, other), other[0])


def test_half_precision_stays_near() -> None:
    full, half = made(), [x.bfloat16() for x in made()]
    one = look(*full, MANNER, causal=True)
    two = look(half[0], half[1], half[2], MANNER, causal=True)
    assert two[0].dtype == torch.bfloat16
    torch.testing.assert_close(two[0].float(), one[0], atol=0.03, rtol=0.03)
