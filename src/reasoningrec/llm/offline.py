"""The writer without a model: texts by rule from the evidence, in the form a model is asked for.

Where a rule leaves a choice of words, the request's id decides, so that the same request always gets the same text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reasoningrec.llm import phrases, praise
from reasoningrec.llm.client import ItemMaterial, Past, ReasonMaterial, Reply, Request, UserMaterial
from reasoningrec.records import Case, Fact
from reasoningrec.rows import Json

SPEAKS = 0.05
"""Nats below which a fact supports nothing."""
MINOR = 0.2
"""A further reason is given when it weighs at least this share of the first."""


class OfflineWriter:
    """A `Client` that needs no model, no network and no waiting."""

    name = "offline"
    settings: Mapping[str, Json] = {}

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Write each text at once."""
        for request in requests:
            material, choose = request.material, Chooser(request.id)
            assert material is not None
            if isinstance(material, ItemMaterial):
                text = f"Description: {describe(material, choose)}"
            elif isinstance(material, UserMaterial):
                text = f"Profile: {profile(material, choose)}"
            else:
                if material.label is None:
                    weights = sum(fact.weight for fact in material.case.evidence.facts)
                    material = replace(material, label=weights >= 0)
                answer = "Yes" if material.label else "No"
                why = write_why(material, choose)
                text = f"Taste: {taste(material.case, choose, material.taste_words)}\nPrediction: {answer}\nWhy: {why}"
            yield Reply(request.id, text)


class Chooser:
    """Picks by a hash of (seed, how many picks so far): the same seed gives the same picks on any machine."""

    def __init__(self, seed: str) -> None:
        self._seed, self._picks = seed, 0

    def __call__(self, options: Sequence[str]) -> str:
        """One of `options`."""
        self._picks += 1
        digest = hashlib.sha256(f"{self._seed}:{self._picks}".encode()).digest()
        return options[int.from_bytes(digest[:4], "big") % len(options)]


def describe(material: ItemMaterial, choose: Chooser) -> str:
    """What the item is, then what reviews praise and complain of, where there are any."""
    item = material.item
    kind = " ".join([*item.categories[:3], material.item_word]) if item.categories else material.item_word
    by = f" by {item.brand}" if item.brand else ""
    price = f" for ${item.price:.2f}" if item.price is not None else ""
    lead = f"{_article(kind)} {kind}{by}{price}"
    praised, blamed = praise.features(material.reviews)
    if not praised and not blamed:
        return limit(f"{lead}.", material.words)
    parts = []
    if praised:
        parts.append(f"{choose(('people praise', 'liked for', 'praised for'))} {_listed(praised)}")
    if blamed:
        parts.append(f"{choose(('some complain of', 'blamed for', 'less liked for'))} {_listed(blamed)}")
    return limit(f"{lead}; {', '.join(parts)}.", material.words)


def profile(material: UserMaterial, choose: Chooser) -> str:
    """How the user rates, which categories and brands fare well and badly, and a few titles of each side."""
    past = material.past
    liked = [row for row in past if row.liked]
    disliked = [row for row in past if not row.liked]
    noun = material.item_word + ("s" if len(past) != 1 else "")
    sentences = [f"Rated {len(past)} {noun} so far and liked {len(liked)}."]
    good, bad = _leanings(past)
    if good:
        sentences.append(f"{choose(('Likes', 'Prefers', 'Enjoys'))} {_listed(good)}.")
    if bad:
        sentences.append(f"{choose(('Less taken with', 'Cares less for', 'Often disappointed by'))} {_listed(bad)}.")
    for rows, verb in ((liked, "Liked"), (disliked, "Did not like")):
        if rows:
            titles = ", ".join(f'"{limit(row.item.title, 8)}"' for row in rows[-3:])
            sentences.append(f"{verb} {titles}.")
    praised, blamed = praise.features([row.review for row in past if row.review])
    if praised:
        sentences.append(f"Speaks well of {_listed(praised)}.")
    if blamed:
        sentences.append(f"Minds {_listed(blamed)}.")
    return limit(" ".join(sentences), material.words)


def _leanings(past: Sequence[Past]) -> tuple[list[str], list[str]]:
    """Up to three categories or brands liked more, and two liked less, than the user's average; two rows at least."""
    total: Counter[str] = Counter()
    likes: Counter[str] = Counter()
    for row in past:
        for name in {*row.item.categories, row.item.brand} - {""}:
            total[name] += 1
            likes[name] += row.liked
    average = sum(row.liked for row in past) / len(past) if past else 0.0
    lift = {name: (likes[name] - average * n) / (n + 2) for name, n in total.items() if n >= 2}
    ranked = sorted(lift, key=lambda name: (-lift[name], name))
    good = [name for name in ranked if lift[name] > 0.02][:3]
    return good, [name for name in reversed(ranked) if lift[name] < -0.02][:2]


def taste(case: Case, choose: Chooser, words: int) -> str:
    """What the shown history says of the person, without counting."""
    past = [Past(case.items[reaction.item], reaction.liked, "") for reaction in case.query.history]
    if not past:
        return choose(phrases.TASTE_UNKNOWN)
    good, bad = _leanings(past)
    if not good:
        share = sum(row.liked for row in past) / len(past)
        return choose(phrases.TASTE_PLAIN[share > 0.5])
    text = choose(phrases.TASTE_LIKES).format(likes=_listed(good))
    text = text[0].upper() + text[1:]
    text += choose(phrases.TASTE_DISLIKES).format(dislikes=_listed(bad)) if bad else "."
    return limit(text, words)


def reasons_for(facts: Sequence[Fact], decision: bool, most: int) -> list[Fact]:
    """The facts that speak for the decision, strongest first, each at least `MINOR` of the first; maybe none."""
    sign = 1.0 if decision else -1.0
    speaking = sorted((fact for fact in facts if sign * fact.weight >= SPEAKS), key=lambda f: (-abs(f.weight), f.id))
    if not speaking:
        return []
    return [fact for fact in speaking if abs(fact.weight) >= MINOR * abs(speaking[0].weight)][:most]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which lines a text cites: those that speak for the decision, strongest first, and one conceded, if any."""

    reasons: tuple[Fact, ...]
    conceded: Fact | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Citations in the order of the text; an item that a line names comes before that line."""
        lines = (*self.reasons, *([self.conceded] if self.conceded else []))
        named = ((fact.values.get("with"), fact.id) for fact in lines)
        return tuple(id for pair in named for id in pair if isinstance(id, str))


def plan(facts: Sequence[Fact], decision: bool, most: int) -> Plan:
    """What to cite for `decision`, at most `most` different ids; no reasons where no line speaks for it."""
    chosen: list[Fact] = []
    for fact in reasons_for(facts, decision, most):
        ids = Plan((*chosen, fact)).ids
        if len(ids) == len(set(ids)) <= most:
            chosen.append(fact)
    against = [fact for fact in reasons_for(facts, not decision, 1) if "with" not in fact.values]
    cited = Plan(tuple(chosen)).ids
    conceded = against[0] if chosen and against and len(cited) < most and against[0].id not in cited else None
    return Plan(tuple(chosen), conceded)


def write_why(material: ReasonMaterial, choose: Chooser) -> str:
    """The reasons in words, strongest first, with a verdict that agrees with the label; shortened to `why_words`."""
    label = bool(material.label)
    planned = plan(material.case.evidence.facts, label, material.max_reasons)
    verdict = choose(phrases.VERDICTS[label]).format(word=material.item_word)
    if not planned.reasons:
        return _thin(material, verdict, choose)
    bank, other = (phrases.FOR, phrases.AGAINST) if label else (phrases.AGAINST, phrases.FOR)
    clauses = [_clause(fact, bank, choose) for fact in planned.reasons]
    conceded = _clause(planned.conceded, other, choose) if planned.conceded else ""
    text = _compose(clauses, verdict, conceded, choose)
    while len(text.split()) > material.why_words and (conceded or len(clauses) > 1):
        clauses = clauses if conceded else clauses[:-1]
        conceded = ""
        text = _compose(clauses, verdict, conceded, choose)
    return text


def _clause(fact: Fact, bank: phrases.Bank, choose: Chooser) -> str:
    values = {name: value for name, value in fact.values.items() if name != "shared"}
    shared = fact.values.get("shared")
    text = choose(bank[fact.kind]).format(id=f"[{fact.id}]", shared=f", {shared}" if shared else "", **values)
    return text.removesuffix(", ")


def _thin(material: ReasonMaterial, verdict: str, choose: Chooser) -> str:
    """For a decision no fact supports: name the fact that speaks least against it, and say that it is little."""
    known = [fact for fact in material.case.evidence.facts if fact.kind in phrases.NEUTRAL]
    fact = min(known, key=lambda f: (abs(f.weight), f.id))
    clause = choose(phrases.NEUTRAL[fact.kind]).format(id=f"[{fact.id}]", **fact.values)
    if choose(("before", "after")) == "before":
        return _sentence(f"{choose(phrases.THIN)}{clause}") + " " + _sentence(f"still, {verdict}")
    return _sentence(verdict) + " " + _sentence(f"{choose(phrases.THIN)}{clause}")


def _compose(clauses: Sequence[str], verdict: str, conceded: str, choose: Chooser) -> str:
    """One of six ways to order verdict and clauses; a concession, where there is one, stands with the verdict."""
    shape = choose(("verdict-colon", "verdict-because", "reasons-verdict", "reasons-so", "verdict-stop", "joined"))
    rest = [_sentence(f"{choose(phrases.ADDED)}{clause}") for clause in clauses[1:]]
    if conceded:
        verdict = f"{choose(phrases.CONCEDED).format(c=conceded)}{verdict}"
    if shape == "verdict-because" and not conceded:
        return " ".join([_sentence(f"{verdict}, because {clauses[0]}"), *rest])
    if shape == "verdict-colon" and not conceded:
        return " ".join([_sentence(f"{verdict}: {clauses[0]}"), *rest])
    if shape == "verdict-stop" and not conceded:
        return " ".join([_sentence(verdict), _sentence(clauses[0]), *rest])
    if shape == "joined" and len(clauses) > 1:
        joined = _sentence(f"{clauses[0]}, and {clauses[1]}")
        return " ".join([joined, *rest[1:], _sentence(_closing(verdict, conceded, choose))])
    if shape == "reasons-so" and len(clauses) == 1 and not conceded:
        return _sentence(f"{clauses[0]}, so {verdict}")
    return " ".join([_sentence(clauses[0]), *rest, _sentence(_closing(verdict, conceded, choose))])


def _closing(verdict: str, conceded: str, choose: Chooser) -> str:
    return verdict if conceded else f"{choose(phrases.CLOSING)}{verdict}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _article(word: str) -> str:
    return "An" if word[:1].lower() in set("aeiou") else "A"


def limit(text: str, words: int) -> str:
    """At most `words` words; a cut is marked."""
    parts = text.split()
    return text if len(parts) <= words else " ".join(parts[:words]).rstrip(",;:.") + "…"
