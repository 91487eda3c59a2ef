"""The offline writer's words. Every clause is true of any fact of its kind and side, whatever the numbers: weights are
over a base, so clauses compare with what is usual and leave "well" and "badly" to the reader.

`FOR` and `AGAINST` hold clauses by kind of fact; `{id}` is the citation, the other names are the fact's `values`. They
start in lower case, so that they can stand anywhere in a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping

Bank = Mapping[str, tuple[str, ...]]

FOR: Bank = {
    "history": (
        'you liked "{title}" {id}{shared}',
        '"{title}" {id} was to your liking{shared}',
        'it is close to "{title}" {id}, which you liked',
        'it has much in common with "{title}" {id}, one of your likes',
        'your like of "{title}" {id} points the same way{shared}',
    ),
    "user-share": (
        "you have liked {liked} of the {n} you rated, above the usual {usual} % {id}",
        "at {liked} of {n} liked you are easier to please than most {id}",
        "you like more than people here usually do, {liked} of {n} so far {id}",
        "more goes down well with you than with most: {liked} of {n} against a usual {usual} % {id}",
        "your record is kinder than the average one, {liked} of {n} liked {id}",
    ),
    "recent": (
        "your latest reactions were {words} {id}",
        "of late you have been in a better mood than before: {words} {id}",
        "the last few went {words}, better than your average {id}",
        "your recent run is {words} {id}",
    ),
    "own-brand": (
        "you liked {liked} of {n} by {which} {id}",
        "{which} has served you better than most, with {liked} of {n} liked {id}",
        "your record with {which} is {liked} of {n} liked {id}",
        "it comes from {which}, where you liked {liked} of {n} {id}",
        "you get along with {which} better than with the rest: {liked} of {n} liked {id}",
    ),
    "own-category": (
        "you liked {liked} of {n} in {which} {id}",
        "{which} goes down better with you than most, {liked} of {n} so far {id}",
        "it falls under {which}, where you liked {liked} of {n} {id}",
        "in {which} you stand at {liked} of {n} liked {id}",
        "{liked} of the {n} you tried in {which} pleased you {id}",
    ),
    "own-price": (
        "at {which} you liked {liked} of {n} {id}",
        "you are happier at its price than at others, {liked} of {n} liked at {which} {id}",
        "you have been easier to win over at {which}, {liked} of {n} liked {id}",
        "you liked {liked} of the {n} you bought at {which} {id}",
    ),
    "same-item": (
        "you rated this very one before and liked it {id}",
        "it is no stranger: you have liked it before {id}",
        "you have had it already, and it got a like {id}",
        "this exact one already pleased you once {id}",
    ),
    "same-day": (
        "on that same day you liked {liked} of {n} {id}",
        "your other ratings of the day were kinder than usual, {liked} of {n} liked {id}",
        "the day had gone better than usual, with {liked} of {n} liked {id}",
        "of the {n} you rated earlier that day you liked {liked} {id}",
    ),
    "item-share": (
        "{liked} of {n} others liked it, above the usual {usual} % {id}",
        "it does better than most, with {liked} of {n} pleased {id}",
        "others are fonder of it than of most, {liked} of {n} {id}",
        "the crowd is on its side: {liked} of {n} against a usual {usual} % {id}",
        "people who tried it came away pleased more often than usual, {liked} of {n} {id}",
    ),
    "co-liked": (
        'of {n} people who also {did} "{title}" [{with}], {liked} liked this one {id}',
        'those who {did} "{title}" [{with}] as you did liked it, {liked} of {n} {id}',
        '{liked} of {n} with your view of "{title}" [{with}] liked this too {id}',
        'people who share your verdict on "{title}" [{with}] took to it more than others, {liked} of {n} {id}',
    ),
    "crowd-brand": (
        "{which} is liked more than usual {id}",
        "others rate {which} above the average {id}",
        "people tend to be pleased with {which} {id}",
        "the name {which} stands well with others {id}",
    ),
}

AGAINST: Bank = {
    "history": (
        'you did not like "{title}" {id}{shared}',
        '"{title}" {id} left you cold{shared}',
        'it is close to "{title}" {id}, which you did not like',
        'it has much in common with "{title}" {id}, one that let you down',
        '"{title}" {id} was a miss for you{shared}',
    ),
    "user-share": (
        "you have liked {liked} of the {n} you rated, below the usual {usual} % {id}",
        "at {liked} of {n} liked you are harder to please than most {id}",
        "you like less than people here usually do, {liked} of {n} so far {id}",
        "you are won over less often than most: {liked} of {n} against a usual {usual} % {id}",
        "your record is stricter than the average one, {liked} of {n} liked {id}",
    ),
    "recent": (
        "your latest reactions were {words} {id}",
        "of late you have been more critical than before: {words} {id}",
        "the last few went {words}, worse than your average {id}",
        "your recent run is {words} {id}",
    ),
    "own-brand": (
        "by {which} you have liked {liked} of {n} {id}",
        "{which} has served you worse than most, with {liked} of {n} liked {id}",
        "your record with {which} is below your average, {liked} of {n} liked {id}",
        "it comes from {which}, where you liked {liked} of {n} {id}",
        "you get along with {which} less than with the rest: {liked} of {n} liked {id}",
    ),
    "own-category": (
        "in {which} you have liked {liked} of {n} {id}",
        "{which} goes down less well with you than most, {liked} of {n} so far {id}",
        "it falls under {which}, where you liked {liked} of {n} {id}",
        "in {which} you stand at {liked} of {n} liked {id}",
        "of the {n} you tried in {which}, {liked} pleased you {id}",
    ),
    "own-price": (
        "at {which} you have liked {liked} of {n} {id}",
        "you are less happy at its price than at others, {liked} of {n} liked at {which} {id}",
        "you are harder to win over at {which}, {liked} of {n} liked {id}",
        "you liked {liked} of the {n} you bought at {which} {id}",
    ),
    "same-item": (
        "you rated this very one before and did not like it {id}",
        "it is no stranger: it has let you down before {id}",
        "you have had it already, and it did not go well {id}",
        "this exact one already fell flat once {id}",
    ),
    "same-day": (
        "on that same day you liked {liked} of {n} {id}",
        "your other ratings of the day were harsher than usual, {liked} of {n} liked {id}",
        "the day had gone worse than usual, with {liked} of {n} liked {id}",
        "of the {n} you rated earlier that day you liked {liked} {id}",
    ),
    "item-share": (
        "{liked} of {n} others liked it, below the usual {usual} % {id}",
        "it does worse than most, with {liked} of {n} pleased {id}",
        "others are cooler on it than on most, {liked} of {n} {id}",
        "the crowd is not on its side: {liked} of {n} against a usual {usual} % {id}",
        "people who tried it came away pleased less often than usual, {liked} of {n} {id}",
    ),
    "co-liked": (
        'of {n} people who also {did} "{title}" [{with}], {liked} liked this one {id}',
        'those who {did} "{title}" [{with}] as you did had more doubts than others, {liked} of {n} liked it {id}',
        '{liked} of {n} with your view of "{title}" [{with}] liked this, fewer than usual {id}',
        'people who share your verdict on "{title}" [{with}] were cooler on it, {liked} of {n} liked it {id}',
    ),
    "crowd-brand": (
        "{which} is liked less than usual {id}",
        "others rate {which} below the average {id}",
        "people tend to be less pleased with {which} {id}",
        "the name {which} stands less well with others {id}",
    ),
}

NEUTRAL: Bank = {
    "user-share": (
        "your record of {liked} of {n} liked is close to what is usual {id}",
        "you rate about as others do {id}",
    ),
    "recent": ("your last reactions were {words} {id}", "of late it went {words} {id}"),
    "item-share": ("little is known of how others found it {id}", "what others made of it settles nothing {id}"),
    "target": ("there is little to hold {id} against", "none of the evidence settles {id}"),
}
"""For a decision that no fact supports: said of the fact that speaks least against it."""

VERDICTS: Mapping[bool, tuple[str, ...]] = {
    True: (
        "you will probably like this {word}",
        "it should suit you",
        "a like is likely",
        "you should enjoy it",
        "this {word} is a good match for you",
        "it will likely please you",
        "it looks like a safe pick for you",
        "expect to like it",
        "this one is worth a try",
        "you would be happy with it",
        "the odds are good",
        "it ought to please you",
    ),
    False: (
        "you will probably not like this {word}",
        "it is unlikely to suit you",
        "a like is unlikely",
        "you would not enjoy it",
        "this {word} is a poor match for you",
        "it will likely disappoint you",
        "it looks like a risky pick for you",
        "do not expect to like it",
        "this one is not worth a try",
        "you would not be happy with it",
        "the odds are slim",
        "it is likely to disappoint",
    ),
}

ADDED = ("also, ", "besides, ", "on top of that, ", "what is more, ", "then, ", "", "", "")
CLOSING = ("so ", "all told, ", "taken together, ", "in short, ", "hence ", "that is why ", "")
CONCEDED = ("although {c}, ", "granted, {c}, but ", "even though {c}, ")
THIN = (
    "the evidence is thin: ",
    "there is little to go on: ",
    "nothing speaks clearly here: ",
    "on balance, and barely: ",
)

TASTE_LIKES: tuple[str, ...] = (
    "You lean towards {likes}",
    "Your likes gather around {likes}",
    "You have a soft spot for {likes}",
    "You do best with {likes}",
    "What pleases you most is {likes}",
)
TASTE_DISLIKES: tuple[str, ...] = (
    " and care less for {dislikes}.",
    ", less towards {dislikes}.",
    "; you are won over less often by {dislikes}.",
    ", while you warm less to {dislikes}.",
)
TASTE_PLAIN: Mapping[bool, tuple[str, ...]] = {
    True: (
        "You are generous with your likes.",
        "Most of what you try pleases you.",
        "You are easy to please.",
        "You tend to like what you choose.",
    ),
    False: (
        "You are choosy.",
        "You are hard to please.",
        "You give your likes sparingly.",
        "Much of what you try does not win you over.",
    ),
}
TASTE_UNKNOWN = ("Nothing is known of your taste yet.", "Your taste is still an open page.")
