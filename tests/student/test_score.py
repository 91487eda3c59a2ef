from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from reasoningrec.student.encode import DECISIONS, continuation, encode_prompt
from reasoningrec.student.score import batches, probabilities, score
from reasoningrec.student.train import TrainingResult


def test_scores_do_not_depend_on_the_batches(trained: TrainingResult, shop: Any) -> None:
    cases = [row.case for row in shop(4, history=1).rows(7) + shop(5, history=9).rows(9)]
    alone = score(trained.student, cases, 1)
    together = score(trained.student, cases, 100_000)
    backwards = score(trained.student, cases[::-1], 1500)[::-1]
    assert len({round(p or 0, 3) for p in alone}) > 8, "a model that says the same of all would pass anything"
    for one, two, three in zip(alone, together, backwards, strict=True):
        assert one is not None
        assert two is not None
        assert three is not None
        assert max(abs(one - two), abs(one - three)) <= 1e-5


def test_a_score_is_the_softmax_over_the_two_decisions(trained: TrainingResult, shop: Any) -> None:
    student = trained.student
    case = shop(4).rows(1)[0].case
    tokens = encode_prompt(case, student.tokenizer, student.config.max_tokens).tokens
    logits = student.model(torch.tensor([tokens])).logits[0, -1]
    no, yes = (logits[continuation(word, student.tokenizer)[0]].item() for word in DECISIONS)
    (found,) = score(student, [case], 4096)
    assert found is not None
    assert abs(found - 1 / (1 + torch.exp(torch.tensor(no - yes)).item())) < 1e-6


def test_the_trained_student_ranks_new_cases(trained: TrainingResult, shop: Any) -> None:
    rows = shop(9).rows(300)
    assert roc_auc_score([row.label for row in rows], score(trained.student, [row.case for row in rows], 8192)) >= 0.75


def test_no_number_is_no_answer(trained: TrainingResult) -> None:
    class Broken:
        device = torch.device("cpu")

        def base_model(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            hidden = trained.student.model.base_model(input_ids=input_ids, use_cache=use_cache)
            hidden.last_hidden_state[input_ids[:, 0] == 5] = float("nan")
            return hidden

        def get_output_embeddings(self) -> Any:
            return trained.student.model.get_output_embeddings()

    found = probabilities(Broken(), (7, 8), [(5, 6), (6, 6)], 100)
    assert found[0] is None
    assert found[1] is not None


def test_progress_ends_at_all(trained: TrainingResult, shop: Any) -> None:
    told: list[tuple[int, int]] = []
    score(trained.student, [row.case for row in shop(4).rows(5)], 1, lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]
    assert score(trained.student, [], 100) == []


@given(st.lists(st.integers(1, 90), max_size=60), st.integers(1, 300))
def test_batches_hold_each_row_once_and_keep_the_limit(lengths: list[int], most: int) -> None:
    groups = batches(lengths, most)
    assert sorted(n for group in groups for n in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[n] for n in group) <= most for group in groups)
