"""A comparison as Markdown and as a self-contained page with one picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from reasoningrec.evaluation.compare import Comparison, Difference, Line
from reasoningrec.evaluation.pictures import systems
from reasoningrec.evaluation.report import PROTOCOLS, SUBSETS, environment, figure, markdown, with_interval

Table = tuple[tuple[str, str, str], list[Line]]
"""(dataset, protocol, subset) and its lines."""


def tables(comparison: Comparison) -> list[Table]:
    """The lines by dataset, protocol and reading, in their order."""
    found: dict[tuple[str, str, str], list[Line]] = {}
    for line in comparison.lines:
        found.setdefault((line.dataset, line.protocol, line.subset), []).append(line)
    return list(found.items())


def auc_cell(line: Line) -> str:
    """AUC with its interval, and the spread over seeds."""
    said = with_interval(line.auc, line.low, line.high)
    return said if line.spread is None else f"{said} ± {figure(line.spread)}"


def difference_cell(difference: Difference) -> str:
    """A difference with its interval, or why there is none."""
    if difference.reason:
        return f"({difference.reason})"
    return with_interval(difference.value, difference.low, difference.high, signed=True)


def render_markdown(comparison: Comparison) -> str:
    """One table per dataset, protocol and reading."""
    parts = ["# Runs compared", says(comparison)]
    for (dataset, protocol, subset), lines in tables(comparison):
        parts += [f"## {markdown(dataset)}: {protocol}, {subset}", _table(lines)]
    if comparison.notes:
        parts.append("\n".join(f"- {markdown(note)}" for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def says(comparison: Comparison) -> str:
    """How to read the figures."""
    return (
        f"AUC with {comparison.level * 100:g} % intervals that resample clusters of twins "
        f"{comparison.resamples} times; ± is the standard deviation over seeds. Differences are paired by query."
    )


def _table(lines: Sequence[Line]) -> str:
    head = "| Run | Method | Seeds | n | Likes | Invalid | AUC | minus its best baseline | minus the first run |"
    rows = [head, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for line in lines:
        cells = [
            markdown(line.system), markdown(line.method), line.seeds, line.n, line.positives, f"{line.invalid:.1%}",
            auc_cell(line), difference_cell(line.to_baseline), difference_cell(line.to_first),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(rows)


def render_html(comparison: Comparison) -> str:
    """The page as one text; it fetches nothing."""
    picture = systems(comparison)
    shared: dict[str, Any] = {
        "says": says(comparison),
        "tables": [(key, [list(rows) for _, rows in groupby(lines, key=lambda line: line.system)])
                   for key, lines in tables(comparison)],
        "protocol_says": PROTOCOLS,
        "subset_says": SUBSETS,
        "notes": comparison.notes,
        "auc": auc_cell,
        "difference": difference_cell,
        "picture": (picture, Markup(picture.svg)),  # noqa: S704
    }  # fmt: skip
    return environment(html=True).get_template("compare.html.j2").render(**shared)
