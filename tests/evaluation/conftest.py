"""A seeded run that never was: 300 users, some of them twins, seven methods of known quality, sixty explanations."""

from __future__ import annotations

import numpy as np
import pytest

from reasoningrec.config import EvaluateConfig
from reasoningrec.evaluation.evaluate import Answers, EvaluateInputs
from reasoningrec.records import Evidence, Explanation, Fact, Prediction

METHODS = {
    "logistic": 1.1,
    "reasoningrec": 1.6,
    "user-share": 1.0,
    "student": 1.2,
    "item-share": 0.6,
    "user-item-share": 1.05,
    "last": 0.5,
}
USERS = 300


@pytest.fixture(scope="session")
def titles() -> dict[str, str]:
    words = [
        "Mineral",
        "Wool",
        "Cotton",
        "Silver",
        "Garden",
        "Night",
        "Linen",
        "Cedar",
        "River",
        "Copper",
        "Velvet",
        "Morning",
    ]
    things = ["Scarf", "Hand Cream <script>alert(1)</script>", "Lamp", "Notebook & Pen", "Boots"]
    return {f"i{n}": f"{words[n % 11]} {things[n % 5]}" for n in range(40)}


@pytest.fixture(scope="session")
def inputs(titles: dict[str, str]) -> EvaluateInputs:
    rng = np.random.default_rng(11)
    sequences = {f"u{n:03d}": [f"i{k}" for k in rng.integers(0, 40, 6)] for n in range(USERS)}
    for n in range(0, 60, 2):
        sequences[f"u{n + 1:03d}"] = sequences[f"u{n:03d}"]
    sides = {role: _answers(role, sequences, rng) for role in ("test", "valid")}
    explanations, evidence = _explanations(sides["test"], sequences, titles, rng)
    return EvaluateInputs(
        dataset="made-shop",
        protocol="strict",
        like_rule="rating > 3",
        time="known",
        test=sides["test"],
        valid=sides["valid"],
        sequences=sequences,
        weights={
            "student_logit": 0.81,
            "user_share": 1.2,
            "item_share": 0.44,
            "price_gap": -0.37,
            "last": 0.05,
            "same_brand": 0.21,
            "<b>co-liked</b>": 0.3,
            "days_since": -0.12,
        },
        explanations=explanations,
        evidence=evidence,
        notes=("12 repeats kept", "3 rows <skipped>"),
        settings=EvaluateConfig(resamples=200),
        seed=3,
    )


def _answers(role: str, sequences: dict[str, list[str]], rng: np.random.Generator) -> Answers:
    labels, predictions = {}, {method: [] for method in METHODS}
    for n, user in enumerate(sequences):
        query = f"{role}-{n:03d}"
        labels[query] = bool(rng.random() < 0.7)
        for method, signal in METHODS.items():
            logit = 0.85 + signal * (labels[query] - 0.7) * 1.4 + rng.normal()
            probability: float | None = float(1 / (1 + np.exp(-logit)))
            if method == "student" and n % 100 == 7:
                probability = None
            if method == "last":
                probability = 0.8 if logit > 0.5 else 0.4
            predictions[method].append(Prediction(query, user, sequences[user][-1], method, probability))
    return Answers(labels, {method: tuple(rows) for method, rows in predictions.items()})


def _explanations(
    test: Answers, sequences: dict[str, list[str]], titles: dict[str, str], rng: np.random.Generator
) -> tuple[list[Explanation], dict[str, Evidence]]:
    explanations, evidence = [], {}
    for prediction in test.predictions["reasoningrec"][:60]:
        history = sequences[prediction.user][:-1]
        likes = rng.random(len(history)) < 0.7
        facts = [
            Fact(
                f"H{n + 1}",
                "history",
                f'{"liked" if liked else "did not like"} "{titles[item]}", rated {4 if liked else 2}',
                round(float(rng.normal()), 2),
            )
            for n, (item, liked) in enumerate(zip(history, likes, strict=True))
        ]
        share = int(likes.sum())
        facts += [
            Fact("T", "target", f'"{titles[prediction.item]}" (Acorn, $12.50, home)', 0.0),
            Fact("U1", "user-share", f"liked {share} of {len(history)} items so far", round(0.3 * share - 0.8, 2)),
            Fact("C1", "item-share", f"{int(rng.integers(2, 30))} of 31 others liked it", 0.42),
        ]
        decision = (prediction.probability or 0.0) >= 0.6
        said = (
            ("will probably enjoy" if decision else "is unlikely to enjoy")
            if rng.random() < 0.6
            else ("should like" if decision else "will probably skip")
        )
        first = ("U1", "C1", "H2")[int(rng.integers(3))]
        why = f'This user {said} "{titles[prediction.item]}" [T]: most of what they tried points that way [{first}]'
        why += ", and others agree [C1, H1]." if first != "C1" else "."
        explanations.append(
            Explanation(
                prediction.query_id,
                decision,
                f"Likes {share} of {len(history)} things, mostly for the home [U1].",
                why,
                (first, "T"),
                "student" if rng.random() < 0.8 else "offline",
            )
        )
        evidence[prediction.query_id] = Evidence(prediction.query_id, tuple(facts), {"user_share": 0.5})
    return explanations, evidence
