"""`report.md` and a self-contained `report.html`, both made from the content of `evaluate.json` and some samples.

The page fetches nothing: style and pictures stand inside it. Whatever comes from the data is escaped by the templates
(`report.html.j2`, `report.md.j2`). The same input gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from markupsafe import Markup

from reasoningrec.evaluation.evaluate import FUSED, NO_STUDENT, STUDENT, Answers, Evaluation, MethodResult, Reading
from reasoningrec.evaluation.explanations import Check, citation_spans, cited_ids
from reasoningrec.evaluation.learning import Studies
from reasoningrec.evaluation.pictures import draw_all
from reasoningrec.records import Evidence, Explanation, Fact, Prediction

METHODS: Final[Mapping[str, str]] = {
    FUSED: "the fused decision: student, numeric evidence and factors, calibrated",
    STUDENT: "the small language model alone",
    "user-share": "share of likes in the history shown",
    "item-share": "share of likes of the item among others",
    "user-item-share": "both shares together",
    "last": "the user’s last reaction",
    "logistic": "logistic regression on the numeric evidence",
    "boosting": "boosted trees on the numeric evidence",
    "popularity": "how many others reacted to the item",
    "no-student": "the fused decision refitted without the student, to see what the student adds",
}
PROTOCOLS: Final[Mapping[str, str]] = {
    "strict": "all that a prediction sees, or has learned of its user, is strictly earlier than its target",
    "honest": "no label, rating or review of a target can touch its prompt; same-day rows before it in the file may",
    "paper": "as published, leaks included: the texts may be written from reviews of the targets themselves",
}
SUBSETS: Final[Mapping[str, str]] = {
    "all": "every test user, to compare with published figures",
    "distinct": "one user per cluster of twins (users with the same items in the same order)",
}
NOTHING: Final = "–"
"""Stands where there is no figure."""
VIEWS: Final = (
    "Differences are paired: to the baseline chosen on valid, as in the table above; those of a decision with a part "
    "taken out are to the whole.",
    "DeLong: intervals by formula, which take queries for independent; given where a cluster of twins has one query.",
    "AUC within users: of one user’s like and dislike, how often the like is scored higher, ties half; over users who "
    "have both, with intervals over clusters. A later target’s past holds the answers to the earlier ones, so counts "
    "of the user’s own past fall below chance here, though not among items that are asked about at one moment.",
    "Legacy “AUC”: what the paper’s code prints, the area under the curve of hard answers (Yes from 0.5 on). It is the "
    "balanced accuracy at 0.5, not an AUC of scores, and is shown to compare with published figures only.",
    "Yes from: the lowest probability that counts as Yes, chosen on valid.",
)

MODES: Final[Mapping[str, str]] = {
    "predict-first": "decides, then says why",
    "reason-first": "says why, then decides",
    "predict-only": "only decides",
}
NO_STUDIES: Final = Studies()
TEXTS: Final[Mapping[str, str]] = {
    "describe": "item descriptions",
    "profile": "user profiles",
    "reason": "rationales",
}


@dataclass(frozen=True)
class Sample:
    """One explained prediction as the report shows it."""

    query_id: str
    user: str
    title: str
    """Of the item asked about."""
    probability: float | None
    student_probability: float | None
    label: bool
    explanation: Explanation
    facts: tuple[Fact, ...]

    @property
    def cited(self) -> tuple[Fact, ...]:
        """The lines of evidence the text cites, in the order of citation."""
        by_id = {fact.id: fact for fact in self.facts}
        return tuple(by_id[id_] for id_ in cited_ids(self.explanation) if id_ in by_id)

    @property
    def uncited(self) -> tuple[Fact, ...]:
        """The other lines, in their own order."""
        cited = set(cited_ids(self.explanation))
        return tuple(fact for fact in self.facts if fact.id not in cited)

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids cited though no line of evidence bears them."""
        known = {fact.id for fact in self.facts}
        return tuple(id_ for id_ in cited_ids(self.explanation) if id_ not in known)


def choose_samples(
    explanations: Iterable[Explanation],
    evidence: Mapping[str, Evidence],
    test: Answers,
    titles: Mapping[str, str],
    *,
    count: int,
    seed: int,
) -> tuple[Sample, ...]:
    """Draw explanations at random, half of them of decisions for a like and half against, as far as there are.

    Args:
        explanations: the whole set; drawn from in order of query id, so their own order does not matter.
        evidence: by query id.
        test: labels, and the predictions of the fused method and the student.
        titles: of the items, by item id; falls back to the id.
        count: how many samples at most.
        seed: of the draw.

    Returns:
        Samples in order of query id, yes and no alternating while both last.
    """
    fused, student = (_by_query(test.predictions.get(method, ())) for method in (FUSED, STUDENT))
    ready = sorted(
        (row for row in explanations if row.query_id in fused and row.query_id in test.labels),
        key=lambda row: row.query_id,
    )
    drawn = _draw([row for row in ready if row.decision], [row for row in ready if not row.decision], count, seed)
    return tuple(
        Sample(
            query_id=row.query_id,
            user=fused[row.query_id].user,
            title=titles.get(fused[row.query_id].item, fused[row.query_id].item),
            probability=fused[row.query_id].probability,
            student_probability=student[row.query_id].probability if row.query_id in student else None,
            label=test.labels[row.query_id],
            explanation=row,
            facts=evidence[row.query_id].facts if row.query_id in evidence else (),
        )
        for row in drawn
    )


def write_report(
    evaluation: Evaluation, samples: Sequence[Sample], folder: Path, studies: Studies = NO_STUDIES
) -> tuple[Path, Path]:
    """Write `report.md` and `report.html` into `folder` (made if need be); returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, text = folder / "report.html", folder / "report.md"
    page.write_text(render_html(evaluation, samples, studies), "utf-8")
    text.write_text(render_markdown(evaluation, samples, studies), "utf-8")
    return text, page


def render_html(evaluation: Evaluation, samples: Sequence[Sample], studies: Studies = NO_STUDIES) -> str:
    """The page as one self-contained text."""
    pictures = {name: (picture, Markup(picture.svg)) for name, picture in draw_all(evaluation, studies).items()}  # noqa: S704
    template = environment(html=True).get_template("report.html.j2")
    return template.render(**_shared(evaluation, samples, studies), pictures=pictures)


def render_markdown(evaluation: Evaluation, samples: Sequence[Sample], studies: Studies = NO_STUDIES) -> str:
    """The report without its pictures, for terminals and code review."""
    text = environment(html=False).get_template("report.md.j2").render(**_shared(evaluation, samples, studies))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def summary(reading: Reading, decider: str = "fused decision") -> str:
    """The main result of a reading in one or two sentences, under the name of what decided."""
    fused = next((result for result in reading.methods if result.method == FUSED), None)
    if fused is None or fused.measures.auc is None:
        one_kind = {0: ": no target is liked", reading.n: ": every target is liked"}.get(reading.positives, "")
        return f"The AUC of the {decider} is not defined here{one_kind}."
    said = f"The {decider} reaches AUC {with_interval(fused.measures.auc, fused.auc_low, fused.auc_high)}."
    other = next((result for result in reading.methods if result.method == fused.versus), None)
    if other is None or fused.diff is None:
        return said
    said += f" The best baseline, {other.method} (chosen on valid), reaches {figure(other.measures.auc)}."
    said += f" The paired difference is {with_interval(fused.diff, fused.diff_low, fused.diff_high, signed=True)}"
    return f"{said}, {_verdict(fused)}.{_added(reading)}"


def _added(reading: Reading) -> str:
    """What the student adds to the decision without it, where that was measured."""
    alone = next((result for result in reading.methods if result.method == NO_STUDENT), None)
    if alone is None or alone.versus != FUSED or alone.diff is None:
        return ""
    low, high = (None if end is None else -end for end in (alone.diff_high, alone.diff_low))
    # Four digits: what a student adds is often less than three can tell from nothing.
    added = with_interval(-alone.diff, low, high, signed=True, digits=4)
    return f" The student adds {added} to the decision without it."


def who_is_compared(reading: Reading) -> str:
    """What kind of question the AUC answers here: between users, or within them, too."""
    if reading.n <= reading.users:
        return (
            "Each user has one test target, so AUC compares one user’s target with another’s: it mostly measures who "
            "is generous. To see whether a method tells one user’s items apart, set split.tests_per_user above 1."
        )
    return (
        f"Users have {reading.n / reading.users:.1f} test targets on average; AUC still compares targets of different "
        "users for the most part. The AUC within users, under “Other views”, is free of who is generous."
    )


def other_views(reading: Reading) -> tuple[list[str], list[list[str]]]:
    """The heads of the table of other views, and each method's cells; views that no method has are left out."""
    rows, size = reading.methods, reading.n
    views: dict[str, list[str]] = {
        "AUC, DeLong": [_spread(row.measures.auc, row.more.delong_low, row.more.delong_high) for row in rows],
        "difference, DeLong": [
            _spread(row.diff, row.more.diff_delong_low, row.more.diff_delong_high, signed=True) for row in rows
        ],
        "AUC within users": [
            with_interval(row.more.within_auc, row.more.within_low, row.more.within_high) for row in rows
        ],
        "difference within users": [
            with_interval(row.more.within_diff, row.more.within_diff_low, row.more.within_diff_high, signed=True)
            for row in rows
        ],
        "Legacy “AUC”": [figure(row.more.legacy) for row in rows],
        "Yes from": [figure(row.threshold) for row in rows],
        "Invalid": [f"{row.measures.invalid / size:.1%}" for row in rows],
    }
    shown = {head: cells for head, cells in views.items() if any(cell != NOTHING for cell in cells)}
    return list(shown), [list(cells) for cells in zip(*shown.values(), strict=True)]


def _spread(value: float | None, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """As `with_interval`, of a figure that is shown for its interval alone."""
    return with_interval(None if low is None else value, low, high, signed=signed)


def _verdict(result: MethodResult) -> str:
    if result.diff_low is None or result.diff_high is None:
        return "of unknown spread"
    if result.diff_low > 0:
        return "wholly above zero: better than the baseline"
    if result.diff_high < 0:
        return "wholly below zero: worse than the baseline"
    return "which includes zero: no difference is shown"


def figure(value: float | None, digits: int = 3) -> str:
    """A figure of fixed digits with a true minus; a dash where it is undefined."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def with_interval(
    value: float | None, low: float | None, high: float | None, *, signed: bool = False, digits: int = 3
) -> str:
    """`value [low, high]`, without the brackets where there is no interval."""
    if value is None:
        return NOTHING
    sign = "+" if signed else ""
    # What rounds to zero is zero, not minus zero.
    given = [part for part in (value, low, high) if part is not None]
    parts = [f"{round(part, digits) + 0.0:{sign}.{digits}f}".replace("-", "−") for part in given]
    return parts[0] if len(parts) < 3 else f"{parts[0]} [{parts[1]}, {parts[2]}]"


def check_value(check: Check) -> str:
    """A check's value in its unit."""
    if check.value is None:
        return NOTHING
    return f"{check.value:.1%}" if check.unit == "share" else f"{check.value:.1f} {check.unit}"


def in_seconds(value: float) -> str:
    """A time with its unit, milliseconds below a second."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def in_words(writers: Sequence[tuple[str, int]]) -> str:
    """ "12 by offline, 3 by given"; "nobody" where there is no text."""
    return ", ".join(f"{texts:,} by {origin}" for origin, texts in writers) or "nobody"


def segments(text: str, known: Iterable[str]) -> list[tuple[str, str]]:
    """`text` cut at its citations into (piece, kind): "text", "cite" (an id of `known`) or "missing" (any other id)."""
    ids, found, last = set(known), [], 0
    for start, end in citation_spans(text):
        found.append((text[last:start], "text"))
        found.append((text[start:end], "cite" if text[start:end] in ids else "missing"))
        last = end
    return [(piece, kind) for piece, kind in [*found, (text[last:], "text")] if piece]


def markdown(value: Any) -> Any:
    """`value` safe inside a Markdown table or line: no mark-up, no HTML, no line breaks."""
    if not isinstance(value, str):
        return value
    plain = re.sub(r"\s+", " ", value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|#])", r"\\\1", plain)


def _shared(evaluation: Evaluation, samples: Sequence[Sample], studies: Studies) -> dict[str, Any]:
    shown = evaluation.readings[0].methods
    decider = "student alone" if {*evaluation.weights} == {"student"} else "fused decision"
    return {
        "evaluation": evaluation,
        "samples": samples,
        "studies": studies,
        "mode_says": MODES,
        "protocol_says": PROTOCOLS[evaluation.protocol],
        "subset_says": SUBSETS,
        "method_says": {row.method: METHODS[row.method] for row in shown if row.method in METHODS},
        "text_names": TEXTS,
        "view_says": VIEWS,
        "who_is_compared": who_is_compared(evaluation.readings[0]),
        "summaries": {reading.subset: summary(reading, decider) for reading in evaluation.readings},
    }


def environment(*, html: bool) -> jinja2.Environment:
    """Where the templates beside this file are rendered; HTML escapes what comes from the data, Markdown too."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        finalize=None if html else markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "figure": figure,
        "seconds": in_seconds,
        "interval": with_interval,
        "check_value": check_value,
        "views": other_views,
        "segments": segments,
        "writers": in_words,
    }
    environment.filters.update(filters)
    return environment


def _by_query(predictions: Iterable[Prediction]) -> dict[str, Prediction]:
    return {prediction.query_id: prediction for prediction in predictions}


def _draw(yes: Sequence[Explanation], no: Sequence[Explanation], count: int, seed: int) -> list[Explanation]:
    want_yes = min(len(yes), max(count - len(no), (count + 1) // 2))
    rng = np.random.default_rng(seed)
    taken = [
        [rows[n] for n in sorted(rng.choice(len(rows), min(want, len(rows)), replace=False))]
        for rows, want in ((yes, want_yes), (no, count - want_yes))
    ]
    pairs = max(map(len, taken))
    return [rows[n] for n in range(pairs) for rows in taken if n < len(rows)]
