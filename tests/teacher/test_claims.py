"""What is said beside a citation fits the cited line."""

from __future__ import annotations

import pytest

from reasoningrec.records import Fact
from reasoningrec.teacher import claims

FACTS = {
    "H1": Fact("H1", "history", '"Old Lamp": liked', 0.4, {"title": "Old Lamp", "liked": True}),
    "H2": Fact("H2", "history", '"Red Chair": did not like', -0.4, {"title": "Red Chair", "liked": False}),
    "U1": Fact("U1", "user-share", "liked 2 of 9", -0.6, {"n": 9, "liked": 2, "usual": 60}),
    "U3": Fact("U3", "own-brand", "has liked 3 of 3 by Acme", 0.7, {"n": 3, "liked": 3, "which": "Acme"}),
    "U4": Fact("U4", "own-category", "has liked 1 of 4 in wireless", -0.5, {"n": 4, "liked": 1, "which": "wireless"}),
    "C1": Fact("C1", "item-share", "9 of 10 others liked it", 0.9, {"n": 10, "liked": 9, "usual": 60}),
    "C2": Fact(
        "C2", "co-liked", "of 3 who also liked [H1], 0 liked this one", -0.4, {"n": 3, "liked": 0, "with": "H1"}
    ),
}


@pytest.mark.parametrize(
    "why",
    [
        "You liked 3 of 3 by Acme [U3], so it should suit you.",
        "9 of 10 others liked it, above the usual 60 % [C1].",
        "You will not enjoy it: you have liked 2 of 9, below the usual 60 % [U1].",
        'Of 3 people who also liked "Old Lamp" [H1], 0 liked this one, fewer than usual [C2].',
        "In wireless you have liked 1 of 4 [U4].",
        'It is like "Old Lamp" [H1], which you liked, and 9 of 10 others liked it, above the usual [C1].',
        "It is like [H1], which never disappointed you, and you have liked 2 of 9 [U1], which is below the usual.",
        "Of 3 who also liked [H1], which you liked, 0 liked this one, fewer than usual [C2].",
        'You liked "Old Lamp" [H1], which comes from Acme, where you liked 3 of 3 [U3].',
        'You did not like "Red Chair" [H2], which makes it doubtful that you will like this.',
        "It is close to [H2], which you wanted to like but did not.",
        "It is close to [H1], which you not only liked but kept and which others disliked.",
        "9 of 10 others liked it [C1], which outweighs that your record in wireless is worse than most, 1 of 4 [U4].",
    ],
)
def test_what_fits_holds(why: str) -> None:
    assert claims.hold(why, FACTS)


@pytest.mark.parametrize(
    "why",
    [
        "9 of 10 others liked it, below the usual 60 % [C1].",
        "You liked 2 of 9, above the usual 60 % [U1].",
        "3 of 3 others liked it [U3].",
        "You liked 3 of 3 in wireless [U3].",
        "In Acme you have liked 1 of 4 [U4].",
        "The crowd is not on its side [C1].",
        'Of 3 people who also did not like "Old Lamp" [H1], 0 liked this one [C2].',
        'You did not like "Old Lamp" [H1].',
        'It is like "Old Lamp" [H1], which you did not like.',
        "It is like [H1] that you disliked and you liked 3 of 3 by Acme [U3].",
        "Consider [H1], which the user never enjoyed, and 9 of 10 others liked it [C1].",
        "You have liked 2 of 9 [U1], which is above the usual.",
        "You have liked 2 of 9 [U1], well above the usual.",
        "9 of 10 others liked it [C1], fewer than usual.",
        "It is close to [H2], which you liked.",
        "It is close to [H1] (which you hardly liked).",
        "It is close to [H1], which you tried and did not like.",
        "It is close to [H1], which you don't really like.",
        "9 of 10 others liked it [C1], which is fewer than usual, and Acme has 3 of 3 [U3].",
    ],
)
def test_what_contradicts_the_line_does_not(why: str) -> None:
    assert not claims.hold(why, FACTS)


def test_a_word_inside_another_is_no_cue() -> None:
    fact = Fact("U4", "own-category", "has liked 4 of 4 in wireless", 0.9, {"n": 4, "liked": 4, "which": "wireless"})
    assert claims.hold("4 of the 4 you tried in wireless pleased you [U4].", {"U4": fact})
