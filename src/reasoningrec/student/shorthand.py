"""The short form in which a student reads and writes reasons, so that a small model need not learn to copy.

Three kinds of literal text give way to single tokens, and come back from the case's evidence when a text is shown:

- `"Trail Mug" [H2]` is `[H2]`: the title of a history item or the target before its id;
- `liked 7 of 9 by Acme [U3]` is `liked <liked> of <n> by <which> [U3]`: a value of the fact that is cited next (a
  capital, `<Which>`, for the start of a sentence), and `[H2], also by Acme` is `[H2], <shared>`;
- names of brands and categories that the history leans to or away from are `<good1>`, `<good2>`, ... and `<bad1>`, ...

What does not come back exactly is left as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reasoningrec.errors import StudentError
from reasoningrec.records import Case, Fact

CITATION: Final = re.compile(r"\[(?P<id>T|[HUC][1-9]\d{0,2})\]")
AHEAD: Final = ("liked", "n", "usual", "which", "words")
"""Values that stand before the citation they belong to."""
BEHIND: Final = "shared"
"""The value that stands right after it."""
GOOD: Final = tuple(f"good{n}" for n in range(1, 4))
BAD: Final = tuple(f"bad{n}" for n in range(1, 3))
SLOTS: Final = (*(f"<{name}>" for name in (*AHEAD, "Which", "Words", BEHIND, *GOOD, *BAD)),)
LEAST_ROWS: Final = 2
LEAST_LIFT: Final = 0.02
"""A name leans one way from this many rows of the history, and this smoothed distance from its share of likes."""

_PLACE: Final = re.compile(r"\[(?P<id>T|[HUC][1-9]\d{0,2})\]|<(?P<slot>[A-Za-z]+\d?)>")
_SENTENCE: Final = re.compile(r"[.!?] ")


@dataclass(frozen=True, slots=True)
class Shorthand:
    """What stands behind the tokens of one case.

    Attributes:
        titles: of history items and the target, by citation id.
        values: of each fact, by citation id, then by slot name without its brackets.
        names: behind `GOOD` and `BAD`.
    """

    titles: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]
    names: Mapping[str, str]

    @classmethod
    def of(cls, case: Case) -> Shorthand:
        """Read from the case's evidence and history."""
        facts = case.evidence.facts
        titled = (fact for fact in facts if fact.kind in ("history", "target") and fact.values.get("title"))
        good, bad = leanings(case)
        names = dict(zip(GOOD, good, strict=False)) | dict(zip(BAD, bad, strict=False))
        return cls({f.id: str(f.values["title"]) for f in titled}, {f.id: _values(f) for f in facts}, names)

    def compact(self, text: str) -> str:
        """`text` in short form; `expand` gives `text` back."""
        titled = self._titles(text, "[{id}]")
        for short in (self._name(self._fill(titled)), titled):
            if self._try(short) == text:
                return short
        return text

    def expand(self, text: str) -> str:
        """`text` with titles, values and names in full.

        Raises:
            StudentError: a slot has nothing to be filled from.
        """
        places = list(_PLACE.finditer(text))
        pieces, end = [], 0
        for at, place in enumerate(places):
            if place["slot"] is None or place[0] not in SLOTS:
                continue
            cited = [other["id"] for other in (places[:at][::-1] if place["slot"] == BEHIND else places[at:])]
            pieces += [text[end : place.start()], self._value(place["slot"], [id_ for id_ in cited if id_])]
            end = place.end()
        return self._titles("".join([*pieces, text[end:]]), '"{title}" [{id}]')

    def _value(self, slot: str, cited: list[str]) -> str:
        """What `slot` stands for, given the ids cited around it, nearest first."""
        if slot in self.names:
            return self.names[slot]
        key = slot.lower()
        found = next((self.values[id_][key] for id_ in cited if key in self.values.get(id_, ())), None)
        if found is None:
            raise StudentError(f"nothing cited near <{slot}> has such a value")
        return found if key == slot else found[0].upper() + found[1:]

    def _titles(self, text: str, form: str) -> str:
        """Every cited item, with or without its title before it, as `form`."""
        if not self.titles:
            return text
        # Longest title first, so that a title which holds another is not taken apart.
        order = sorted(self.titles, key=lambda id_: -len(self.titles[id_]))
        pattern = "|".join(f'(?:"{re.escape(self.titles[id_])}" )?\\[{id_}\\]' for id_ in order)

        def put(match: re.Match[str]) -> str:
            id_ = match[0][match[0].rindex("[") + 1 : -1]
            return form.format(id=id_, title=self.titles[id_])

        return re.sub(pattern, put, text)

    def _fill(self, text: str) -> str:
        """Values before and after each citation, within its sentence, as slots."""
        done, rest = "", text
        while (place := self._bearer(rest)) is not None:
            before, cited, rest = rest[: place.start()], place[0], rest[place.end() :]
            cut = max((stop.end() for stop in _SENTENCE.finditer(before)), default=0)
            done += before[:cut] + _slots(before[cut:], self.values[place["id"]]) + cited
        return self._fill_behind(done + rest)

    def _bearer(self, text: str) -> re.Match[str] | None:
        """The first citation of a fact with values that stand before it."""
        return next((match for match in CITATION.finditer(text) if self.bears(match["id"])), None)

    def bears(self, id_: str) -> frozenset[str]:
        """Values of fact `id_` that stand before its citation."""
        return frozenset(AHEAD).intersection(self.values.get(id_, ()))

    def _fill_behind(self, text: str) -> str:
        parts = re.split(r"(\[(?:T|[HUC]\d+)\])", text)
        for at in range(1, len(parts), 2):
            shared = self.values.get(parts[at][1:-1], {}).get(BEHIND)
            if shared:
                parts[at + 1] = parts[at + 1].replace(f", {shared}", f", <{BEHIND}>", 1)
        return "".join(parts)

    def _name(self, text: str) -> str:
        if not self.names:
            return text
        slots = {name: slot for slot, name in reversed(list(self.names.items()))}
        pattern = "|".join(re.escape(name) for name in sorted(slots, key=lambda name: -len(name)))
        return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda match: f"<{slots[match[0]]}>", text)

    def _try(self, short: str) -> str | None:
        try:
            return self.expand(short)
        except StudentError:
            return None


def leanings(case: Case) -> tuple[list[str], list[str]]:
    """Brands and categories of the history that fare better, and worse, than its share of likes; strongest first.

    A name with likes s among n rows leans by (s - share * n) / (n + 2). At most as many as `GOOD` and `BAD` hold.
    """
    total: Counter[str] = Counter()
    likes: Counter[str] = Counter()
    history = [reaction for reaction in case.query.history if reaction.item in case.items]
    for reaction in history:
        item = case.items[reaction.item]
        for name in {*item.categories, item.brand} - {""}:
            total[name] += 1
            likes[name] += reaction.liked
    share = sum(reaction.liked for reaction in history) / max(1, len(history))
    lift = {name: (likes[name] - share * n) / (n + 2) for name, n in total.items() if n >= LEAST_ROWS}
    ranked = sorted(lift, key=lambda name: (-lift[name], name))
    good = [name for name in ranked if lift[name] > LEAST_LIFT]
    bad = [name for name in reversed(ranked) if lift[name] < -LEAST_LIFT]
    return good[: len(GOOD)], bad[: len(BAD)]


def _values(fact: Fact) -> dict[str, str]:
    """The values of a fact that can stand in a slot; truth values cannot."""
    kept = {key: fact.values.get(key) for key in (*AHEAD, BEHIND)}
    return {key: str(value) for key, value in kept.items() if not isinstance(value, bool | None) and value != ""}


def _slots(text: str, values: Mapping[str, str]) -> str:
    """`text` with values as slots; of equal ones, the word before tells which is meant ("3 of 3")."""
    forms: dict[str, list[str]] = {}
    for key in (key for key in AHEAD if key in values):
        forms.setdefault(values[key], []).append(key)
        if f"<{key.capitalize()}>" in SLOTS:
            forms.setdefault(values[key][0].upper() + values[key][1:], []).append(key.capitalize())

    def slot(match: re.Match[str]) -> str:
        keys, before = forms[match[0]], text[: match.start()].lower().split()[-2:]
        last = " ".join(before).removesuffix(" the").rpartition(" ")[2]
        told = {"usual": "usual", "of": "n"}.get(last, "")
        return f"<{told if told in keys else keys[0]}>"

    pattern = "|".join(re.escape(form) for form in sorted(forms, key=lambda form: -len(form)))
    return re.sub(rf"(?<![\w.,<])(?:{pattern})(?![\w>]|[.,]\d)", slot, text)
