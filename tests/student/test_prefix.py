"""Groups and passes: every prompt once, every prefix before it is used, never more tokens than without sharing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from reasoningrec.student.prefix import FORM_COST, Group, Piece, passes, share

Prompts = list[tuple[int, ...]]


def user(luck: random.Random, prefix: int, suffixes: list[int], begin: tuple[int, ...] = ()) -> Prompts:
    """Prompts that begin alike and part for certain after `prefix` tokens."""
    shared = (*begin, *(luck.randrange(50) for _ in range(prefix - len(begin))))
    return [(*shared, 100 + n, *(luck.randrange(50) for _ in range(length - 1))) for n, length in enumerate(suffixes)]


def computed(groups: list[Group], prompts: Prompts) -> int:
    return sum(group.prefix + sum(len(prompts[n]) - group.prefix for n in group.members) for group in groups)


@st.composite
def crowds(draw: st.DrawFn) -> Prompts:
    """Prompts of some users, in any order; some share only how all begin, some are repeated."""
    luck = random.Random(draw(st.integers(0, 10**6)))
    begin = tuple(luck.randrange(50) for _ in range(draw(st.integers(0, 30))))
    prompts: Prompts = []
    for _ in range(draw(st.integers(0, 5))):
        suffixes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=8))
        prompts += user(luck, len(begin) + draw(st.integers(0, 60)), suffixes, begin)
    prompts += [prompts[n] for n in draw(st.lists(st.integers(0, max(len(prompts) - 1, 0)), max_size=2)) if prompts]
    luck.shuffle(prompts)
    return prompts


def test_one_user_is_one_group() -> None:
    prompts = user(random.Random(0), 400, [40] * 64)
    (group,) = share(prompts)
    assert group.prefix == 400
    assert sorted(group.members) == list(range(64))


def test_users_who_share_instructions_only_are_apart() -> None:
    luck, begin = random.Random(0), tuple(range(20))
    first, second = user(luck, 200, [30] * 5, begin), user(luck, 180, [30] * 4, begin)
    groups = share([*first, *second])
    assert sorted((group.prefix, len(group.members)) for group in groups) == [(180, 4), (200, 5)]


def test_many_users_of_one_candidate_share_the_instructions() -> None:
    luck, begin = random.Random(0), tuple(range(30))
    prompts = [(*begin, 100 + n, *(luck.randrange(50) for _ in range(100))) for n in range(20)]
    (group,) = share(prompts)
    assert group.prefix == 30


def test_a_history_that_was_shortened_parts_a_user_in_two() -> None:
    luck = random.Random(0)
    groups = share([*user(luck, 150, [9] * 6), *user(luck, 120, [60] * 5)])
    assert sorted((group.prefix, len(group.members)) for group in groups) == [(120, 5), (150, 6)]


def test_what_would_save_little_is_left_alone() -> None:
    prompts = user(random.Random(0), FORM_COST, [10, 10])
    assert sorted(share(prompts), key=lambda group: group.members) == [Group(0, (0,)), Group(0, (1,))]
    (group,) = share(user(random.Random(0), FORM_COST + 1, [10, 10]))
    assert group.prefix == FORM_COST + 1


def test_each_member_has_a_token_of_its_own() -> None:
    same = tuple(range(100))
    (group,) = share([same, same, (*same, 1)])
    assert group.prefix == 99


def test_nothing_and_one() -> None:
    assert share([]) == []
    assert share([(1, 2)]) == [Group(0, (0,))]
    assert list(passes([], [], 10)) == []


def test_long_chains_do_not_run_out_of_stack() -> None:
    prompts = [tuple(range(length)) for length in range(1, 1500)]
    assert sum(len(group.members) for group in share(prompts)) == len(prompts)


@given(crowds())
def test_groups_hold_each_prompt_once_and_save_tokens(prompts: Prompts) -> None:
    groups = share(prompts)
    assert sorted(n for group in groups for n in group.members) == list(range(len(prompts)))
    for group in groups:
        assert len({prompts[n][: group.prefix] for n in group.members}) == 1
        assert all(len(prompts[n]) > group.prefix for n in group.members)
        assert (group.prefix == 0) == (len(group.members) == 1)
    formed = sum(group.prefix > 0 for group in groups)
    assert computed(groups, prompts) + formed * FORM_COST <= sum(map(len, prompts))


@given(crowds(), st.integers(1, 400))
def test_passes_keep_the_budget_and_compute_each_prefix_first(prompts: Prompts, budget: int) -> None:
    lengths = [len(prompt) for prompt in prompts]
    groups = [group for group in share(prompts) if group.prefix]
    done: list[int] = []
    waiting: set[Group] = set()
    for pieces in passes(groups, lengths, budget):
        assert sum(_tokens(piece, lengths) for piece in pieces) <= budget or _lone(pieces)
        for piece in pieces:
            assert piece.fresh == (piece.group not in waiting)
            waiting = waiting | {piece.group} if piece.kept else waiting - {piece.group}
            done += piece.members
    assert not waiting
    assert sorted(done) == sorted(n for group in groups for n in group.members)


def _tokens(piece: Piece, lengths: list[int]) -> int:
    prefix = piece.group.prefix
    return prefix * piece.fresh + sum(lengths[n] - prefix for n in piece.members)


def _lone(pieces: list[Piece]) -> bool:
    return len(pieces) == 1 and len(pieces[0].members) == 1
