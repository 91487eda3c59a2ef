"""Evidence in words: the numbers of `evidence`, as lines with ids that an explanation can cite.

The id of a kind never changes, so [U3] is always the user's record with the target's brand; a line with nothing behind
it (no reaction counted) is left out, save [C1], which then says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reasoningrec.data.attributes import Attributes
from reasoningrec.records import Evidence, Fact, Item, Number, Query

Numbers = Mapping[str, float]

KINDS: Mapping[str, str] = {
    "history": "H1, H2, ...: an item the user reacted to, oldest first",
    "target": "T: the item that is asked about",
    "user-share": "U1: how many of the items so far the user liked",
    "recent": "U2: the last three reactions",
    "own-brand": "U3: the user's reactions to the target's brand",
    "own-category": "U4: the user's reactions to the target's most telling category",
    "own-price": "U5: the user's reactions to the target's price band",
    "same-item": "U6: the user's earlier reactions to this very item",
    "same-day": "U7: the user's reactions on the target's day, before it",
    "item-share": "C1: how many others liked the target",
    "co-liked": "C2: what those who shared one reaction of the history did with the target",
    "crowd-brand": "C3: how others like the target's brand",
}
TITLE_WORDS = 8
LIKENESS_NATS = 2.0
"""Weight of a history item as like the target as can be, for a reaction that tells all: a stated scale, not a fit."""


def short_title(title: str) -> str:
    """The first words of a title, without double quotes: what explanations quote."""
    words = title.replace('"', "'").split()
    return " ".join(words[:TITLE_WORDS]) + (" …" if len(words) > TITLE_WORDS else "")


def describe_item(item: Item) -> str:
    """Title with what is known of brand, price and categories."""
    known = [item.brand, f"${item.price:.2f}" if item.price is not None else "", ", ".join(item.categories[:4])]
    inside = ", ".join(part for part in known if part)
    return f'"{short_title(item.title)}" ({inside})' if inside else f'"{short_title(item.title)}"'


def facts(query: Query, target: Item, items: Mapping[str, Item], numbers: Numbers, attributes: Attributes) -> Evidence:
    """All lines of one query: history, target, user, crowd.

    Args:
        query: whose history gives the H lines.
        target: the item asked about.
        items: the history's items by id.
        numbers: the query's row of `evidence.numbers`, by name.
        attributes: names of categories and price bands.
    """
    lines = _history(query, target, items, numbers)
    lines += [Fact("T", "target", describe_item(target), 0.0, {"title": short_title(target.title)})]
    lines += _user(query, target, numbers, attributes)
    lines += _crowd(query, target, items, numbers)
    if round(100 * numbers["base"]) in (0, 100):
        lines = [replace(line, weight=_within(line.weight, numbers)) if line.id[0] in "UC" else line for line in lines]
    return Evidence(query.id, tuple(lines), numbers)


def _history(query: Query, target: Item, items: Mapping[str, Item], numbers: Numbers) -> list[Fact]:
    lines = []
    width = sum(1 for name in numbers if name.endswith("_alike") and name.startswith("h"))
    shown = len(query.history)
    for place, reaction in enumerate(query.history):
        item = items[reaction.item]
        alike = numbers.get(f"h{width - shown + place}_alike", 0.0)
        weight = LIKENESS_NATS * alike * (float(reaction.liked) - numbers["user_share"])
        said = "liked" if reaction.liked else "did not like"
        stars = f", rated {reaction.rating:g}" if reaction.rating is not None else ""
        values: dict[str, Number] = {
            "title": short_title(item.title),
            "liked": reaction.liked,
            "alike": round(alike, 3),
            "shared": _in_common(item, target),
        }
        lines.append(
            Fact(f"H{place + 1}", "history", f"{describe_item(item)}: {said}{stars}", weight, values, shared=True)
        )
    return lines


def _in_common(item: Item, target: Item) -> str:
    """What two items share, in words; "" when nothing."""
    if item.id == target.id:
        return "the very same item"
    if item.brand and item.brand == target.brand:
        return f"also by {item.brand}"
    both = [category for category in target.categories if category in item.categories]
    return f"also {', '.join(both[:2])}" if both else ""


def _user(query: Query, target: Item, numbers: Numbers, attributes: Attributes) -> list[Fact]:
    lines = []
    n, s = int(numbers["user_n"]), int(numbers["user_liked"])
    if n:
        text = f"liked {s} of {n} rated so far ({_percent(s, n)}; usual here: {round(100 * numbers['base'])} %)"
        usual = round(100 * numbers["base"])
        lines.append(Fact("U1", "user-share", text, numbers["user"], {"n": n, "liked": s, "usual": usual}, shared=True))
    if len(query.history) >= 2:
        last = [reaction.liked for reaction in query.history[-3:]]
        words = ", ".join("liked" if liked else "not" for liked in last)
        values: dict[str, Number] = {"n": len(last), "liked": sum(last), "words": words}
        lines.append(Fact("U2", "recent", f"the last {len(last)}: {words}", numbers["recent"], values, shared=True))
    for key, name, kind in (
        ("U3", "brand", "own-brand"),
        ("U4", "category", "own-category"),
        ("U5", "price", "own-price"),
    ):
        n, s = int(numbers[f"own_{name}_n"]), int(numbers[f"own_{name}_liked"])
        if n:
            which = attributes.labels[name][int(numbers[f"own_{name}_which"])]
            text = f"has liked {s} of {n} {_of(name, which)}"
            lines.append(Fact(key, kind, text, numbers[f"own_{name}_best"], {"n": n, "liked": s, "which": which}))
    n, s = int(numbers["same_n"]), int(numbers["same_liked"])
    if n:
        text = f"has rated this very item {n} time{'s' * (n > 1)} before, liked {s}"
        lines.append(Fact("U6", "same-item", text, 2.0 * numbers["same"], {"n": n, "liked": s}))
    n, s = int(numbers.get("day_n", 0)), int(numbers.get("day_liked", 0))
    if n:
        text = f"liked {s} of {n} rated on the same day, before this one"
        lines.append(Fact("U7", "same-day", text, numbers["day"], {"n": n, "liked": s}, shared=True))
    return lines


def _of(name: str, which: str) -> str:
    return {"brand": f"by {which}", "category": f"in {which}", "price": f"priced {which}"}[name]


def _crowd(query: Query, target: Item, items: Mapping[str, Item], numbers: Numbers) -> list[Fact]:
    n, s, usual = int(numbers["item_n"]), int(numbers["item_liked"]), round(100 * numbers["base"])
    text = (
        f"{s} of {n} others liked it ({_percent(s, n)}; usual here: {usual} %)" if n else "no one else has rated it yet"
    )
    lines = [Fact("C1", "item-share", text, numbers["item"] if n else 0.0, {"n": n, "liked": s, "usual": usual})]
    lines += _co_liked(query, items, numbers)
    n = int(numbers["crowd_brand_n"])
    if target.brand and n:
        weight = _within(numbers["crowd_brand"], numbers)
        as_usual = "as usual" if not weight else f"{'more' if weight > 0 else 'less'} than usual"
        text = f"others like items by {target.brand} {as_usual} ({n} ratings)"
        lines.append(Fact("C3", "crowd-brand", text, weight, {"n": n, "which": target.brand}))
    return lines


def _co_liked(query: Query, items: Mapping[str, Item], numbers: Numbers) -> list[Fact]:
    """The most telling place of the history, if at least two people share it."""
    width = sum(1 for name in numbers if name.endswith("_co"))
    offset = width - len(query.history)
    told = [place for place in range(len(query.history)) if numbers.get(f"h{offset + place}_co_n", 0) >= 2]
    if not told:
        return []
    place = max(told, key=lambda at: abs(numbers[f"h{offset + at}_co"]))
    at, reaction = offset + place, query.history[place]
    n, s = int(numbers[f"h{at}_co_n"]), int(numbers[f"h{at}_co_liked"])
    did = "liked" if reaction.liked else "did not like"
    values: dict[str, Number] = {
        "n": n,
        "liked": s,
        "with": f"H{place + 1}",
        "title": short_title(items[reaction.item].title),
        "did": did,
    }
    text = f"of {n} who also {did} [H{place + 1}], {s} liked this one"
    return [Fact("C2", "co-liked", text, numbers[f"h{at}_co"], values)]


def _within(weight: float, numbers: Numbers) -> float:
    """A weight that counts give; none where nothing is above the usual share, 100 %, or nothing below it, 0 %."""
    usual = round(100 * numbers["base"])
    return 0.0 if (weight > 0 and usual == 100) or (weight < 0 and usual == 0) else weight


def _percent(s: int, n: int) -> str:
    return f"{round(100 * s / n)} %"
