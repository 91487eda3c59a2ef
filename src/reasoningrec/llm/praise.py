"""What reviews praise and complain of, by rule: the things named beside words of opinion, counted over reviews."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

GOOD = frozenset(
    ["good", "great", "love", "loved", "loves", "nice", "perfect", "excellent", "comfortable", "beautiful", "sturdy", "soft", "amazing", "awesome", "happy", "pretty", "best", "cute", "fits", "comfy", "quality", "durable", "warm", "lightweight", "solid", "lovely", "pleased", "recommend", "easy", "well", "cheap", "value", "fun", "funny", "brilliant", "gripping", "moving", "charming", "reliable", "quick", "smooth", "clean", "fresh", "gorgeous", "excellent", "trust"]
)
BAD = frozenset(
    ["bad", "poor", "cheaply", "broke", "broken", "disappointed", "disappointing", "small", "tight", "flimsy", "terrible", "awful", "hate", "hated", "itchy", "thin", "uncomfortable", "returned", "return", "wrong", "waste", "ripped", "tore", "worn", "defective", "narrow", "stiff", "hard", "overpriced", "expensive", "annoying", "dislike", "boring", "weak", "slow", "noisy", "leaks", "dull", "faded", "scratches", "smell", "smells", "disappoints"]
)
NEGATED = frozenset(["not", "no", "never", "isn't", "wasn't", "don't", "doesn't", "didn't"])
COMMON = frozenset(
    ["the", "a", "an", "and", "or", "but", "if", "it", "its", "it's", "is", "was", "were", "are", "be", "been", "am", "i", "i'm", "i've", "me", "my", "we", "you", "your", "they", "them", "this", "that", "these", "those", "to", "of", "in", "on", "at", "for", "with", "from", "by", "as", "so", "very", "really", "too", "just", "about", "after", "before", "than", "then", "when", "while", "have", "has", "had", "do", "does", "did", "will", "would", "can", "could", "get", "got", "one", "two", "them", "out", "up", "all", "any", "some", "more", "most", "much", "many", "few", "also", "only", "even", "ever", "other", "what", "which", "who", "how", "why", "there", "here", "she", "he", "her", "his", "him", "our", "us", "because", "being", "makes", "make", "made", "like", "liked", "again", "work", "works", "worked", "use", "used", "using", "buy", "bought", "order", "ordered", "wear", "wearing", "wore", "day", "days", "time", "times", "year", "years", "month", "months", "thing", "things", "lot", "bit", "little", "product", "item", "review", "stars", "star", "not", "no", "never", "too", "far", "another", "still", "back", "into", "over", "down", "for", "me", "said", "say", "feels", "feel", "felt", "look", "looks", "looking", "looked", "came", "come", "go", "went", "want", "wanted", "need", "needed", "know", "think", "thought", "first", "last", "since", "always", "quite", "pair", "new", "old", "big", "long", "way", "off", "put", "each", "both", "same", "lets", "should", "years", "job", "perfect", "size", "however", "although", "though", "actually", "definitely", "absolutely", "especially", "exactly", "probably", "son", "daughter", "husband", "wife"]
)
WORD = re.compile(r"[a-z][a-z'-]+")
NEAR = 4
"""Words between an opinion and the thing it is about, at most."""
MOST = 2


def features(reviews: Sequence[str]) -> tuple[list[str], list[str]]:
    """Up to two things praised and two complained of, each by more reviews than the other way round."""
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for review in reviews:
        praised, blamed = _of_review(review)
        good.update(praised)
        bad.update(blamed)
    praised = sorted((name for name in good if good[name] > bad[name]), key=lambda name: (-good[name], name))[:MOST]
    blamed = sorted((name for name in bad if bad[name] > good[name]), key=lambda name: (-bad[name], name))[:MOST]
    return praised, blamed


def _of_review(review: str) -> tuple[set[str], set[str]]:
    praised: set[str] = set()
    blamed: set[str] = set()
    for clause in re.split(r"[.!?;,\n]|\bbut\b", review.lower()):
        words = WORD.findall(clause)
        for at, word in enumerate(words):
            if word not in GOOD and word not in BAD:
                continue
            negated = bool(NEGATED.intersection(words[max(0, at - 3) : at]))
            about = {near for near in words[max(0, at - NEAR) : at + NEAR + 1] if _is_thing(near)}
            (praised if (word in GOOD) != negated else blamed).update(about)
    return praised, blamed


def _is_thing(word: str) -> bool:
    return len(word) > 2 and word not in COMMON and word not in GOOD and word not in BAD and word not in NEGATED
