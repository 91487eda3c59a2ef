"""Proof, for the questions of a run, that nothing at or after a target could reach its prompt.

Written apart from what it checks: what a question may know is worked out here from the interactions alone, one question
at a time, and compared with what the run stored and would show. `paper` runs are held to the rules of `honest`, which
is what shows their leak.

| check | what it compares |
| --- | --- |
| `times` | every row of the history with the target's place and time |
| `counts` | the counts of every question with a recount, one row at a time |
| `numbers` | all numbers of drawn questions with those of data that end before it, its answer turned round |
| `sources` | every row and review a text was written from with the question's moment and the list of targets |
| `overlap` | every phrase of every text shown with all reviews the question may not know |
| `learned` | every row that is learned from with what the valid and test questions of its user may know |
| `target-in-history` | the history with the target's own row, and with earlier rows of the same item |
| `label-words` | the texts and facts with words that tell the answer or name the user |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import polars as pl

from reasoningrec.config import Protocol
from reasoningrec.data.corpus import Corpus, replace
from reasoningrec.data.facts import describe_item
from reasoningrec.data.known import Known
from reasoningrec.data.overlap import RUN, SENTENCE, Phrasebook, phrases
from reasoningrec.data.texts import AllowedReviews
from reasoningrec.data.timeline import Ints, Timeline
from reasoningrec.records import Case

Ruling = Literal["passed", "found", "not provable"]
EXAMPLES: Final = 5
"""Finds that a check keeps in words."""
NEAR: Final = 1e-9
"""Numbers may differ by so much: sums are taken in another order."""
COUNTS: Final = ("user_n", "user_liked", "item_n", "item_liked", "same_n", "same_liked")
TELLING: Final = (
    re.compile(r"\b(?:prediction|label|answer|decision|reaction)\s*[:=]\s*(?:yes|no|liked?|disliked?|true|false)\b"),
    re.compile(r"\bthis (?:user|person|viewer|shopper|reader|customer) (?:did not like|didn't like|liked|disliked)\b"),
    re.compile(r"\b(?:gave|gives) (?:this|it|\[t\]) \d(?:\.\d)? stars?\b"),
)
"""Words that tell the answer. The label in other words is what the target-text classifier measures."""


@dataclass(frozen=True, slots=True)
class Find:
    """One thing that should not be there."""

    query_id: str
    where: str
    """Part of the prompt or of the data: description, profile, history, facts, evidence."""
    says: str


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check."""

    name: str
    says: str
    ruling: Ruling
    tried: int
    """How many things were compared."""
    found: int
    examples: tuple[Find, ...] = ()
    """The worst first, `EXAMPLES` at most."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audited:
    """What is checked: the data, the split, what was stored of it, and all that prompts may show.

    Attributes:
        corpus, timeline, windows: the data as the run holds them.
        protocol: of the run.
        train_targets: places in the timeline of all train targets: those of the windows, and the earlier ones.
        numbers: what is known of every question in numbers, rows as in `windows`.
        work_out: the numbers of windows on a timeline, as the run works them out.
        history: k.
        cases: by query id, in the windows' order: all that a prompt may show.
        text_keys: query id -> (item, n reviews) of its description, for texts written here.
        profile_keys: query id -> (user, n rows, from the oldest) of its profile, for texts written here.
        item_keys: item -> n reviews of its description as histories show it (`paper`), for texts written here.
        given: query ids whose description or profile was written elsewhere.
        reviews: which reviews texts are written from.
        sample: how many questions `numbers` draws.
        seed: of that draw.
        repeats: what `data.repeats` says of a user's further rows of one item.
    """

    corpus: Corpus
    timeline: Timeline
    windows: pl.DataFrame
    protocol: Protocol
    train_targets: Ints
    numbers: pl.DataFrame
    work_out: Callable[[Timeline, pl.DataFrame], pl.DataFrame]
    history: int
    cases: Sequence[Case]
    text_keys: Mapping[str, tuple[str, int]]
    profile_keys: Mapping[str, tuple[str, int]]
    item_keys: Mapping[str, int]
    given: frozenset[str]
    reviews: AllowedReviews
    sample: int = 64
    seed: int = 0
    repeats: str = "keep"

    @cached_property
    def known(self) -> Known:
        """What each question may know."""
        return Known(self.timeline, self.windows, strict=self.protocol == "strict")


class _Finds:
    """Counts finds and keeps the worst of them."""

    def __init__(self) -> None:
        self.queries: set[str] = set()
        self._kept: list[tuple[float, int, Find]] = []

    def add(self, find: Find, badness: float = 0.0) -> None:
        self.queries.add(find.query_id)
        self._kept.append((-badness, len(self._kept), find))

    def check(self, name: str, says: str, tried: int, *, provable: bool = True, notes: Sequence[str] = ()) -> Check:
        ruling: Ruling = "found" if self._kept else "passed" if provable else "not provable"
        worst = tuple(find for _, _, find in sorted(self._kept)[:EXAMPLES])
        return Check(name, says, ruling, tried, len(self._kept), worst, tuple(notes))


def audit(given: Audited) -> tuple[Check, ...]:
    """Every check, in the order of the table above."""
    return (
        check_times(given),
        check_counts(given),
        check_numbers(given),
        check_sources(given),
        check_overlap(given),
        check_learned(given),
        check_history(given),
        check_words(given),
    )


MOST_SHORT: Final = 0.9
"""Share of reviews too short to be told apart, or in a script without spaces, above which their words prove nothing."""
NO_TIMES: Final = "the data have no times: file order stands for time within a user, and “before” cannot be proved"


def check_times(given: Audited) -> Check:
    """Every row of a history is one of the rows the question may know."""
    line, finds, tried = given.timeline, _Finds(), 0
    for case in given.cases:
        query = case.query
        own = [
            (line.items[line.item[at]], bool(line.liked[at]), None if line.time is None else int(line.time[at]))
            for at in given.known.own(query.id)
        ]
        left = Counter(own)
        for place, reaction in enumerate(query.history, start=1):
            tried += 1
            row = (reaction.item, reaction.liked, reaction.time)
            left[row] -= 1
            if left[row] < 0:
                late = query.time is not None and reaction.time is not None and reaction.time >= query.time
                says = f"[H{place}] {reaction.item} at {reaction.time} is no row before the target at {query.time}"
                finds.add(Find(query.id, "history", says), 1.0 + late)
    rule = "strictly earlier" if given.known.strict else "before the target in (time, file order)"
    provable = line.time is not None
    notes = () if provable else (NO_TIMES,)
    return finds.check("times", f"every row of a history is {rule}", tried, provable=provable, notes=notes)


def check_counts(given: Audited) -> Check:
    """The counts every question was told, against a recount of the rows that it may know.

    Without times a train question is told of other folds of users alone, so only valid and test are recounted.
    """
    line, finds, tried = given.timeline, _Finds(), 0
    roles = dict(given.windows.select("id", "role").iter_rows())
    names = [name for name in COUNTS if name in given.numbers.columns]
    for case, row in zip(given.cases, given.numbers.iter_rows(named=True), strict=True):
        id = case.query.id
        if line.time is None and roles[id] == "train":
            continue
        tried += 1
        expected = _recount(given, id)
        wrong = [name for name in names if abs(row[name] - expected[name]) > NEAR]
        if wrong:
            told = ", ".join(f"{name} {row[name]:g}, not {expected[name]:g}" for name in wrong)
            finds.add(Find(id, "evidence", told), float(len(wrong)))
    notes = () if line.time is not None else (NO_TIMES, "others' train windows alone are counted, as they should be")
    says = "the stored counts of the user's and of others' reactions are those of the rows before the target"
    return finds.check("counts", says, tried, provable=line.time is not None, notes=notes)


def _recount(given: Audited, id: str) -> dict[str, float]:
    line, known = given.timeline, given.known
    at = known.at[id]
    own = np.array(known.own(id), dtype=np.int64)
    rows = known.rows_of(int(line.item[at]))
    groups = {"user": own, "item": rows[known.others(id, rows)], "same": own[line.item[own] == line.item[at]]}
    counted = {f"{name}_n": float(len(found)) for name, found in groups.items()}
    return counted | {f"{name}_liked": float(line.liked[found].sum()) for name, found in groups.items()}


def check_numbers(given: Audited) -> Check:
    """All numbers of drawn questions, worked out again from data that end before the target.

    From the interactions every row is taken that the question may not know, and its own answer is turned round: numbers
    that stay the same have seen neither. (Metamorphic testing: Chen et al., 1998.)
    """
    finds, line = _Finds(), given.timeline
    candidates = given.windows.with_row_index("place")
    if line.time is None:
        candidates = candidates.filter(pl.col("role") != "train")
    drawn = candidates.sample(min(given.sample, len(candidates)), seed=given.seed).sort("id")
    for row in drawn.iter_rows(named=True):
        stored, found = given.numbers.row(row["place"], named=True), _without_the_future(given, row)
        wrong = {name: abs(value - stored[name]) for name, value in found.items() if abs(value - stored[name]) > NEAR}
        if wrong:
            worst = max(wrong, key=lambda name: wrong[name])
            says = f"{len(wrong)} numbers change; {worst} from {stored[worst]:g} to {found[worst]:g}"
            finds.add(Find(row["id"], "evidence", says), float(len(wrong)))
    notes = [f"{len(drawn)} of {len(given.windows)} questions were drawn"]
    notes += [] if line.time is not None else [NO_TIMES]
    says = "the numbers stay the same when nothing later exists and the answer is turned round"
    return finds.check("numbers", says, len(drawn), provable=line.time is not None, notes=notes)


def _without_the_future(given: Audited, row: Mapping[str, object]) -> dict[str, float]:
    """The numbers of one question on data that hold only what it may know, and its own row with the other answer."""
    line, id = given.timeline, str(row["id"])
    at, own = given.known.at[id], given.known.own(id)
    keep = given.known.others(id, np.arange(line.user.size))
    keep[list(own)] = True
    mine = int(line.row[at])
    is_mine = pl.col("row") == mine
    rating = pl.col("rating")
    turned = pl.when(rating > (rating.min() + rating.max()) / 2).then(rating.min()).otherwise(rating.max())
    frame = given.corpus.interactions.with_columns(
        liked=pl.when(is_mine).then(~pl.col("liked")).otherwise("liked"),
        rating=pl.when(is_mine & rating.is_not_null()).then(turned).otherwise(rating),
    ).filter(pl.col("row").is_in([*line.row[keep].tolist(), mine]))
    short = Timeline.of(replace(given.corpus, interactions=frame))
    window = pl.DataFrame(
        {"role": [row["role"]], "at": np.flatnonzero(short.row == mine).astype(np.int64), "past": [len(own)]}
    )
    return given.work_out(short, window).row(0, named=True)


def check_sources(given: Audited) -> Check:
    """Every review or row that a text shown was written from is one that the question may know."""
    line, finds, tried = given.timeline, _Finds(), 0
    for id, where, key, places in _written(given):
        for place in places.tolist():
            tried += 1
            if not given.known.admits(id, place, item_text=where != "profile"):
                own = place == given.known.at[id]
                other = "a later row" if where == "profile" else "a target's review, or a later one"
                whose = f"the target's own {'row' if where == 'profile' else 'review'}" if own else other
                finds.add(Find(id, where, f"{key} was written from row {line.row[place]}: {whose}"), 1.0 + own)
    outside, notes = len(given.given), list[str]()
    if outside:
        notes.append(f"{outside} questions show texts written elsewhere: what those were written from is not known")
    if not (tried or outside):
        notes.append("no text was written from a review or a row: there is nothing that could leak this way")
    unordered = line.time is None and bool(tried)
    notes += [NO_TIMES] if unordered else []
    says = "descriptions were written from earlier reviews that belong to no target, profiles from earlier rows"
    return finds.check("sources", says, tried, provable=not outside and not unordered, notes=notes)


def _written(given: Audited) -> Iterator[tuple[str, str, str, Ints]]:
    """Of every text shown that was written here: question, where it stands, its key, and the rows it is made of."""
    line, reviews = given.timeline, given.reviews
    item_at, user_at = ({name: place for place, name in enumerate(names)} for names in (line.items, line.users))
    for case in given.cases:
        id = case.query.id
        if case.description and id in given.text_keys:
            item, n = given.text_keys[id]
            yield id, "description", f"{item}@{n}", reviews.places(item_at[item], n)
        if case.profile and id in given.profile_keys:
            user, n = given.profile_keys[id]
            yield id, "profile", f"{user}@{n}", line.start[user_at[user]] + np.arange(n)
        for item, text in case.item_texts.items():
            if text and item in given.item_keys:
                n = given.item_keys[item]
                yield id, f"text on {item}", f"{item}@{n}", reviews.places(item_at[item], n)


def check_overlap(given: Audited) -> Check:
    """No phrase of a text shown stands in reviews kept from the question alone, and not where it may look."""
    shown = {case.query.id: dict(_texts(case)) for case in given.cases}
    book = Phrasebook({text for texts in shown.values() for text in texts.values()})
    place_of = dict(zip(given.timeline.row.tolist(), range(given.timeline.row.size), strict=True))
    said = {
        place_of[row]: f"{summary}. {text}"
        for row, summary, text in given.corpus.reviews.iter_rows()
        if row in place_of
    }
    book.read(said)
    public = Phrasebook(book.holders)
    public.read(dict(enumerate(_catalogue(given.corpus))))
    finds, tried = _Finds(), 0
    shared: dict[str, dict[str, Sequence[int]]] = {}
    for id, texts in shown.items():
        for where, text in texts.items():
            tried += 1
            found = shared.setdefault(text, book.shared(text))
            told = {k: v for k, v in found.items() if k not in public.holders and k not in public.within}
            _overlaps(given, finds, (id, where), told, book.within)
    provable, notes = _provable(given, said)
    says = f"no run of {RUN} words, nor sentence of {SENTENCE} or more, of a text stands in a review kept from it"
    return finds.check("overlap", says, tried, provable=provable, notes=notes)


def _overlaps(
    given: Audited,
    finds: _Finds,
    place: tuple[str, str],
    shared: Mapping[str, Sequence[int]],
    within: Mapping[str, Sequence[int]],
) -> None:
    """Add the longest-shared review of one text, where there is one; a phrase may be `within` one that may be known."""
    id, where = place
    item_text = where != "profile"
    rows: Counter[int] = Counter()
    example: dict[int, str] = {}
    for phrase, holders in shared.items():
        if not any(given.known.admits(id, row, item_text=item_text) for row in (*holders, *within.get(phrase, ()))):
            rows.update(holders)
            example.update(dict.fromkeys(holders, phrase))
    if rows:
        row, n = rows.most_common(1)[0]
        whose = (
            "the target's own review" if row == given.known.at[id] else f"the review of row {given.timeline.row[row]}"
        )
        finds.add(Find(id, where, f"{n} phrases of {whose}: “{example[row]}”"), n)


def _texts(case: Case) -> Iterator[tuple[str, str]]:
    """The texts a prompt may show, by where they stand."""
    if case.description:
        yield "description", case.description
    if case.profile:
        yield "profile", case.profile
    yield from ((f"text on {item}", text) for item, text in case.item_texts.items())
    yield "facts", "\n".join(fact.text for fact in case.evidence.facts)


def _catalogue(corpus: Corpus) -> Iterator[str]:
    """Everything that is known of items whatever the time."""
    columns = corpus.items.select("title", "brand", "categories", "details")
    for title, brand, categories, details in columns.iter_rows():
        yield f"{title}. {brand}. {'. '.join(categories)}. {details}"


def _provable(given: Audited, said: Mapping[int, str]) -> tuple[bool, list[str]]:
    notes = []
    if not said:
        notes.append("the data hold no reviews, so there is nothing to compare texts with")
        return not given.given, notes
    short = sum(not phrases(text) for text in said.values())
    blind = short > MOST_SHORT * len(said)
    if short:
        notes.append(f"{short} of {len(said)} reviews are too short to be recognised by their words")
    if given.given:
        notes.append("texts written elsewhere may say the same in other words")
    if given.timeline.time is None:
        notes.append(NO_TIMES)
    return not given.given and given.timeline.time is not None and not blind, notes


def check_learned(given: Audited) -> Check:
    """Rows of its user that a valid or test question is answered by having learned from are rows that it may know."""
    line, finds, tried = given.timeline, _Finds(), 0
    of_user: dict[int, list[int]] = {}
    for row in np.unique(given.train_targets).tolist():
        of_user.setdefault(int(line.user[row]), []).append(row)
    valid = dict(given.windows.filter(role="valid").select("user", "at").iter_rows())
    for id, role, user, at in given.windows.select("id", "role", "user", "at").iter_rows():
        if role != "train":
            held = [valid[user]] if role == "test" and user in valid else []
            for row in [*of_user.get(int(line.user[at]), []), *held]:
                tried += 1
                if not given.known.admits(id, row):
                    finds.add(Find(id, "training", f"row {line.row[row]} of the same user is learned from"))
    notes = () if line.time is not None else (NO_TIMES,)
    says = "of its user nothing is learned from but rows before the target"
    return finds.check("learned", says, tried, provable=line.time is not None, notes=notes)


def check_history(given: Audited) -> Check:
    """The target's own row, or a later one of its item, does not stand in the history."""
    line, finds, tried = given.timeline, _Finds(), 0
    repeats = alike = 0
    for case in given.cases:
        id = case.query.id
        at = given.known.at[id]
        own = list(given.known.own(id))[-given.history :]
        earlier = [row for row in own if line.item[row] == line.item[at]]
        shown = [reaction for reaction in case.query.history if reaction.item == case.query.item]
        tried += len(case.query.history)
        if len(shown) > len(earlier):
            says = f"{case.query.item} stands {len(shown)} times in the history, {len(earlier)} of them earlier rows"
            finds.add(Find(id, "history", says))
        elif shown:
            repeats += 1
            alike += shown[-1].liked == bool(line.liked[at])
    notes = []
    if repeats:
        told = (
            f"{repeats} targets have an earlier row of the same item in the history; its label is the same in {alike}"
        )
        why = '; data.repeats = "first" gives every repeat the first rating, so there the answer is shown'
        notes.append(told + (why if given.repeats == "first" else ""))
    return finds.check("target-in-history", "the target's own row is not in the history", tried, notes=notes)


def check_words(given: Audited) -> Check:
    """Texts and facts do not tell the answer in so many words, nor does a description name the asking user."""
    finds, tried = _Finds(), 0
    for case in given.cases:
        query = case.query
        texts = {where: text for where, text in _texts(case) if where != "facts"}
        tried += len(texts)
        for where, text in texts.items():
            found = next((match.group() for words in TELLING if (match := words.search(text.casefold()))), "")
            if found:
                finds.add(Find(query.id, where, f"tells an answer: “{found}”"), 2.0)
            elif len(query.user) > 4 and re.search(rf"(?<!\w){re.escape(query.user)}(?!\w)", text):
                finds.add(Find(query.id, where, f"names the user {query.user}"), 1.0)
        target = next((fact.text for fact in case.evidence.facts if fact.kind == "target"), "")
        if target != describe_item(case.target):
            finds.add(Find(query.id, "facts", f"[T] says more than title, brand, price and categories: {target}"), 2.0)
    says = "no text tells the answer in so many words, and [T] tells of the item alone"
    return finds.check("label-words", says, tried)
