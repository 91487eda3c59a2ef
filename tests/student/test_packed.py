"""Packed passes say what plain ones say, on trained models of several architectures, or they are not used."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from growing import FAMILIES, NO, YES, grown, one_by_one, prompts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from reasoningrec.student import agree, packed, score
from reasoningrec.student.prefix import passes, share
from reasoningrec.student.score import probabilities

PACKING = ("llama", "qwen2", "mistral", "gemma", "gemma2", "gemma3", "gpt2", "granite", "cohere")
"""Architectures that take the packed form; RoPE or learned positions, GQA, windows shorter than the prompts, caps."""
REFUSING = ("bloom", "gpt-oss")
"""Those with attention of their own, or that reads more than queries, keys and values."""
USERS = [(40, [9, 1, 14, 6, 6, 30]), (33, [5] * 7), (60, [3, 2]), (20, [8])]
DECISIONS = (NO, YES)


def found_for(model: Any) -> list[packed.PackedBody | None]:
    return [finding.body for finding in agree._FOUND.get(model, {}).values()]


def largest(one: list[float | None], two: list[float] | list[float | None]) -> float:
    return max(abs(a - b) for a, b in zip(one, two, strict=True) if a is not None and b is not None)


class Sizes(TorchDispatchMode):
    """Notes the bytes of the largest storage that anything computes."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.most = max(self.most, tensor.untyped_storage().nbytes())
        return made


@pytest.fixture
def plain_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(score, "share", lambda rows: [])
        yield


@pytest.mark.parametrize("family", PACKING)
def test_packed_is_plain_to_four_digits(family: str) -> None:
    model, prompts = grown(family), prompts_of(1, USERS)
    expected = one_by_one(model, prompts)
    assert max(expected) - min(expected) > 0.1, "a model that says the same of all would pass anything"
    for budget in (1, 70, 100_000):
        assert largest(probabilities(model, DECISIONS, prompts, budget), expected) <= 1e-5
    (body,) = found_for(model)
    assert body is not None
    assert body._early == (family != "gpt2"), "only GPT-2's code must know how many tokens leave the last layer"


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_half_precision_decides_alike_save_near_ties(family: str) -> None:
    model = copy.deepcopy(grown(family)).bfloat16()
    prompts = prompts_of(2, USERS)
    expected, found = one_by_one(model, prompts), probabilities(model, DECISIONS, prompts, 200)
    exact = one_by_one(grown(family), prompts)
    assert all(found_for(model))
    assert largest(found, expected) <= 0.03
    assert largest(found, exact) <= 0.03
    for one, two in zip(found, expected, strict=True):
        assert one is not None
        assert (one >= 0.5) == (two >= 0.5) or abs(two - 0.5) <= 0.03


@pytest.mark.parametrize("family", REFUSING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_cannot_be_packed_goes_the_plain_way(
    family: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reasoningrec")
    model, prompts = copy.deepcopy(grown(family)).to(dtype), prompts_of(3, USERS)
    found = probabilities(model, DECISIONS, prompts, 300)
    assert found_for(model) == [None]
    assert largest(found, one_by_one(model, prompts)) <= (1e-5 if dtype == torch.float32 else 0.03)
    assert "cannot share prefixes" in caplog.text


def test_numbers_that_differ_are_refused_even_where_nothing_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = FAMILIES["llama"]().eval()
    right = packed.merge
    monkeypatch.setattr(packed, "merge", lambda one, two: torch.lerp(right(one, two), one[0], 0.02))
    prompts = prompts_of(4, USERS)
    assert largest(probabilities(model, DECISIONS, prompts, 300), one_by_one(model, prompts)) <= 1e-5
    assert found_for(model) == [None]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 70), st.lists(st.integers(1, 25), min_size=1, max_size=9)), max_size=4),
    st.integers(1, 400),
    st.sampled_from(["llama", "mistral"]),
)
def test_any_groups_lengths_and_budgets(
    seed: int, users: list[tuple[int, list[int]]], budget: int, family: str
) -> None:
    prompts = prompts_of(seed, users)
    found = probabilities(grown(family), DECISIONS, prompts, budget)
    assert len(found) == len(prompts)
    if prompts:
        assert largest(found, one_by_one(grown(family), prompts)) <= 1e-5


def test_none_and_one() -> None:
    model = grown("llama")
    assert probabilities(model, DECISIONS, [], 100) == []
    (prompt,) = prompts_of(5, [(30, [5])])
    assert largest(probabilities(model, DECISIONS, [prompt], 100), one_by_one(model, [prompt])) <= 1e-6
    twice = probabilities(model, DECISIONS, [prompt, list(prompt), prompt], 100)
    assert largest(twice, one_by_one(model, [prompt] * 3)) <= 1e-5


def test_progress_rises_to_all() -> None:
    told: list[tuple[int, int]] = []
    prompts = prompts_of(6, USERS)
    probabilities(grown("llama"), DECISIONS, prompts, 80, lambda done, total: told.append((done, total)))
    assert told == sorted(set(told))
    assert told[-1] == (len(prompts), len(prompts))
    assert len(told) > 3


def test_the_check_is_made_once_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = copy.deepcopy(grown("llama")), []
    real = packed.PackedBody
    monkeypatch.setattr(agree, "PackedBody", lambda *given: made.append(given) or real(*given))
    for seed in range(3):
        probabilities(model, DECISIONS, prompts_of(seed, USERS), 300)
    assert len(made) == 1
    probabilities(model.double(), DECISIONS, prompts_of(3, USERS), 300)
    assert len(made) == 2, "other types are other arithmetic"


def test_prompts_beyond_a_window_are_checked_anew() -> None:
    model = copy.deepcopy(grown("mistral"))
    model.config.sliding_window = 80
    probabilities(model, DECISIONS, prompts_of(0, [(50, [9] * 4)]), 300)
    assert len(found_for(model)) == 1
    probabilities(model, DECISIONS, prompts_of(0, [(90, [9] * 4)]), 300)
    assert len(found_for(model)) == 2


def test_weights_that_change_in_place_are_seen() -> None:
    model, prompts = copy.deepcopy(grown("qwen2")), prompts_of(7, USERS)
    before = probabilities(model, DECISIONS, prompts, 300)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)
    after = probabilities(model, DECISIONS, prompts, 300)
    assert largest(after, before) > 1e-3
    assert largest(after, one_by_one(model, prompts)) <= 1e-5


def test_the_model_is_left_as_it_was() -> None:
    model, prompts = copy.deepcopy(grown("llama")), prompts_of(8, USERS)
    names = {name: type(module) for name, module in model.named_modules()}
    probabilities(model, DECISIONS, prompts, 300)
    assert model.config._attn_implementation != packed.NAME
    assert {name: type(module) for name, module in model.named_modules()} == names
    assert not any(module._forward_pre_hooks for module in model.modules())
    (body,) = found_for(model)
    assert body is not None
    own = {weight.data_ptr() for weight in model.parameters()}
    assert {weight.data_ptr() for weight in body._body.parameters()} <= own


def test_a_model_is_forgotten_when_it_goes() -> None:
    model = copy.deepcopy(grown("llama"))
    probabilities(model, DECISIONS, prompts_of(9, USERS), 300)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_no_number_spoils_its_own_group_or_candidate_only() -> None:
    model = copy.deepcopy(grown("llama"))
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    bad = 0
    with torch.no_grad():
        model.base_model.embed_tokens.weight[bad] = float("nan")
    healthy = prompts_of(10, [(40, [5] * 6)])
    candidate, group = (*healthy[0][:-1], bad), [(bad, *prompt) for prompt in prompts_of(11, [(40, [6] * 5)])]
    expected = one_by_one(model, healthy)
    for mixed in ([*healthy, candidate, *group], [*group, candidate, *healthy]):
        for _ in range(2):  # the first time, the check may meet no numbers
            found = dict(zip(mixed, probabilities(model, DECISIONS, mixed, 300), strict=True))
            assert largest([found[prompt] for prompt in healthy], expected) <= 1e-5
            assert [found[prompt] for prompt in (candidate, *group)] == [None] * 6


def test_memory_follows_the_budget_and_not_the_candidates() -> None:
    model, most = grown("llama"), {}
    probabilities(model, DECISIONS, prompts_of(12, [(60, [8] * 4)]), 300)
    for count in (40, 80, 600):
        prompts = prompts_of(12, [(60, [8] * count)])
        with Sizes() as sizes:
            probabilities(model, DECISIONS, prompts, 300)
        most[count] = sizes.most
    # Up to the budget's 300 tokens of the widest activation (64 features of 4 bytes), never 80 times the prefix.
    assert most[600] == most[80]
    assert most[600] <= 300 * 64 * 4 < 80 * 60 * 32 * 4


@torch.inference_mode()
def test_of_a_prefix_its_keys_and_values_are_kept_and_only_while_they_are_needed() -> None:
    prompts = prompts_of(14, [(60, [8] * 20), (50, [8] * 20)])
    body, kept, most = packed.PackedBody(grown("llama")), {}, 0
    for pieces in passes(share(prompts), [len(prompt) for prompt in prompts], 120):
        body(prompts, pieces, kept)
        assert set(kept) == {piece.group for piece in pieces if piece.kept}
        for group, layers in kept.items():
            assert len(layers) == 3
            for tensor in (one for both in layers.values() for one in both):
                most += 1
                assert tensor.untyped_storage().nbytes() == group.prefix * 2 * 8 * 4, "2 heads of 8 features, 4 bytes"
    assert most
    assert not kept


@pytest.mark.usefixtures("plain_only")
def test_the_plain_way_alone_gives_the_same() -> None:
    model, prompts = grown("gemma2"), prompts_of(13, USERS)
    assert largest(probabilities(model, DECISIONS, prompts, 300), one_by_one(model, prompts)) <= 1e-6


def test_threads_share_a_model() -> None:
    model, answers = copy.deepcopy(grown("llama")), {}
    sets = {n: prompts_of(20 + n, USERS) for n in range(4)}

    def work(n: int) -> None:
        answers[n] = [probabilities(model, DECISIONS, sets[n], 150) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(n,)) for n in sets]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        one_by_one(model, sets[0][:2])
    for n, rounds in answers.items():
        assert all(largest(found, one_by_one(model, sets[n])) <= 1e-5 for found in rounds)
