from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from making import demo_line
from reasoningrec.llm.client import ReasonMaterial, Request
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.llm.stance import mask, stance

LIKES = """\
They will probably like it because they liked four of five [H1].
This user is likely to enjoy "Not for You" [T].
A good match for this user: they love creams.
It should suit them well.
This should be a hit.
You will not be disappointed.
It is not unlikely to please them.
I doubt they will dislike this.
There is no reason to think she would dislike it.
The user would enjoy this item since 90% liked it.
This is right up their alley.
Although they disliked one similar item, they will enjoy this one.
They might not love the price, but they will enjoy the scent.
The brand is not cheap, and they will like it.
Prediction: Yes
The answer is yes.
A like is likely.
A like is expected here.
We expect that the user will like the item.
He'll love it.
This fits their taste for thrillers.
It matches the user's taste.
They will also appreciate the low price.
She is very likely to be happy with this purchase.
The user can't go wrong; a safe bet.
On balance they should like it: 8 of 10 others liked it.
It's likely that you will enjoy this.
Likely to be liked.
It will likely work for them.
She would most likely be satisfied.
They are expected to like this.
It speaks to their taste.
This is one they will want.
"""
DISLIKES = """\
They will probably not like it because they disliked four of five [H1].
This user is unlikely to enjoy "A Good Match" [T].
Not a good match for this user: they love creams.
This is not for them.
This is probably not for you.
They will probably skip it.
It should not suit them.
It won't suit this user.
They are not likely to enjoy it.
It is hardly likely to please.
It is doubtful that they would like it.
There is little reason to think they will enjoy this.
They will be disappointed.
A poor match for their taste.
This falls outside their taste.
Although they may like the brand, they are unlikely to enjoy this.
It looks like a good match for the brand, but they will probably skip it.
They may like the colour, but will likely dislike the fit.
Prediction: No
The answer is no.
A like is unlikely.
A dislike is likely.
The user wouldn't recommend it.
I don't think they will like it.
It does not suit their taste.
This does not appeal to them.
Better avoided.
The odds are low.
They would likely pass on it.
They'd rather skip this.
You are unlikely to like this: only two of nine others liked it.
Probably not for her.
This user will likely not enjoy it.
This is one to skip.
We predict a dislike.
It clashes with their taste.
It will fall flat.
"""
NEITHER = """\
They liked four of five items [H1].
The shop sells shampoo.
The price is 4.99 and the brand is Acme.
Others who liked [H2] disliked it.
"They will like it"
They might like it, or they might not like it.
"""


@pytest.mark.parametrize("text", LIKES.splitlines())
def test_reads_a_like(text: str) -> None:
    assert stance(text) is True


@pytest.mark.parametrize("text", DISLIKES.splitlines())
def test_reads_a_dislike(text: str) -> None:
    assert stance(text) is False


@pytest.mark.parametrize("text", ["", *NEITHER.splitlines()])
def test_reads_no_side(text: str) -> None:
    assert stance(text) is None


@pytest.mark.parametrize("verb", ["like", "enjoy", "love", "appreciate", "be happy with"])
@pytest.mark.parametrize("forecast", ["will", "should", "would", "is likely to", "is expected to"])
@pytest.mark.parametrize("adverb", ["", "probably ", "really ", "most likely "])
def test_not_turns_every_forecast(verb: str, forecast: str, adverb: str) -> None:
    assert stance(f"This user {forecast} {adverb}{verb} it.") is True
    first, _, rest = f"{forecast} ".partition(" ")
    assert stance(f"This user {first} not {rest}{adverb}{verb} it.") is False
    assert stance(f"It is doubtful that this user {forecast} {adverb}{verb} it.") is False


def test_quoted_titles_and_citations_are_no_opinion() -> None:
    assert stance('They will like "You Will Not Like This" [H2].') is True
    assert stance("They will skip “A Good Match for You”.") is False


def test_what_follows_a_contrast_weighs_more() -> None:
    assert stance("The brand is a good match, but they will skip it.") is False
    assert stance("They will skip the brand, but this is a good match.") is True


def test_case_and_curly_apostrophes_do_not_matter() -> None:
    assert stance("THEY WON’T LIKE IT.") is False


def test_reasons_about_the_past_do_not_outvote_the_decision() -> None:
    text = (
        "This user will probably not enjoy it: they liked two of nine items [U1], loved by others, but not this [U3]."
    )
    assert stance(text) is False


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    assert stance(text) in (True, False, None)


@given(st.sampled_from(LIKES.splitlines()), st.sampled_from(DISLIKES.splitlines()))
def test_reading_is_repeatable_after_padding(like: str, dislike: str) -> None:
    assert stance(f"The item is a lamp. {like}") is True
    assert stance(f"The item is a lamp. {dislike}") is False


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("You liked two [U1], so you will like it.", "You liked two [U1], so you ____ it."),
        ("You will not like it: 2 of 9 did [C1].", "You ____ it: 2 of 9 did [C1]."),
        ("This is not a good match for you, since [U3].", "This is ____ for you, since [U3]."),
        ("It is unlikely that you would enjoy this.", "It is ____ this."),
        ('You liked "You will like it" [H1].', 'You liked "You will like it" [H1].'),
        ("You liked lamps [U1].", "You liked lamps [U1]."),
        ("Expect a like; hardly worth trying.", "____; ____."),
        ("", ""),
    ],
)
def test_what_says_the_decision_is_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(st.text(max_size=300))
def test_a_masked_text_takes_no_side(text: str) -> None:
    assert stance(mask(text)) is None


@pytest.mark.parametrize("label", [True, False])
def test_the_words_of_the_rule_writer_take_no_side_once_masked(label: bool) -> None:
    material = [ReasonMaterial(case, label, "product", 60, 80, 3) for case in demo_line(60).cases]
    replies = OfflineWriter().answer(Request(m.case.query.id, (), (), m) for m in material)
    whys = [reply.text.partition("Why: ")[2] for reply in replies]
    assert [why for why in whys if stance(why) is not label] == []
    assert [why for why in whys if stance(mask(why)) is not None] == []
