"""The report's pictures as inline SVG: the same evaluation gives the same bytes, and nothing is fetched.

Every picture has a light ground of its own, so that it reads on a dark page too, and a title and description for those
who do not see it. Colours are those of Okabe and Ito (2008), told apart by most colour-blind readers; line styles and
markers repeat what colour says.
"""

from __future__ import annotations

import html
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

from reasoningrec.evaluation.compare import Comparison, Line
from reasoningrec.evaluation.evaluate import Curve, Evaluation, MethodResult, Reading
from reasoningrec.evaluation.learning import Point, Studies
from reasoningrec.evaluation.teacher import TeacherAccount

INK: Final = "#1f2933"
QUIET: Final = "#6b7684"
RULE: Final = "#d5dae0"
COLOURS: Final = {"fused": "#0072b2", "student": "#b04a00", "ablation": "#8a6d00", "baseline": "#52606d"}
STYLES: Final = {"fused": "-", "student": (0, (5, 2)), "ablation": "-.", "baseline": (0, (1, 1.2))}
MARKERS: Final = {"fused": "o", "student": "D", "ablation": "^", "baseline": "s"}
MOST_WEIGHTS: Final = 20

_STYLE: Final[dict[Any, Any]] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An inline SVG with its caption; `svg` is markup that holds nothing unescaped from the data."""

    name: str
    caption: str
    svg: str


def draw_all(evaluation: Evaluation, studies: Studies) -> dict[str, Picture]:
    """Every picture for which there are figures, by name: auc-<subset>, roc, calibration, weights, gates, learning."""
    reading = evaluation.readings[0]
    shown = _shown(evaluation.curves, reading)
    pictures = [comparison(reading, evaluation.level) for reading in evaluation.readings]
    if any(curve.roc for curve in evaluation.curves):
        pictures.append(roc(evaluation.curves, shown, reading))
    if shown:
        pictures.append(calibration(evaluation.curves, shown))
    if evaluation.weights:
        pictures.append(weights(evaluation.largest_first))
    if evaluation.teacher.gates:
        pictures.append(gates(evaluation.teacher))
    if studies.curve:
        pictures.append(learning(studies.curve, evaluation.reading("all")))
    return {picture.name: picture for picture in pictures}


def comparison(reading: Reading, level: float) -> Picture:
    """AUC of every method with its interval, one line each."""
    results = [result for result in reading.methods if result.measures.auc is not None]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, result in enumerate(results):
            _interval(axes, row, result)
        axes.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(results)), [_starred(result.method, reading) for result in results])
        axes.set_ylim(len(results) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("AUC (0.5 is chance)")

    said = "; ".join(f"{result.method} {_with_interval(result)}" for result in results)
    caption = f"AUC with {level * 100:g} % intervals over clusters of twins, reading “{reading.subset}”"
    caption += f"; * is the plain baseline chosen on valid ({reading.baseline})." if reading.baseline else "."
    return drawn(f"auc-{reading.subset}", caption, said, draw, (5.2, 1.1 + 0.36 * max(len(results), 1)))


def roc(curves: Sequence[Curve], shown: Mapping[str, str], reading: Reading) -> Picture:
    """ROC curves; those of `shown` (method -> kind) named, the others thin and grey behind them."""
    area = {result.method: result.measures.auc for result in reading.methods}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        for curve in sorted(curves, key=lambda curve: curve.method in shown):
            x, y = np.array(curve.roc or [(np.nan, np.nan)]).T
            if curve.method not in shown:
                axes.plot(x, y, color="#b8c0c9", linewidth=0.9)
        for curve in (curve for curve in curves if curve.method in shown and curve.roc):
            kind = shown[curve.method]
            x, y = np.array(curve.roc).T
            label = f"{curve.method} {area[curve.method]:.3f}"
            axes.plot(x, y, color=COLOURS[kind], linestyle=STYLES[kind], linewidth=2, label=label)
        axes.legend(loc="lower right", title="AUC", alignment="left")
        _unit_square(axes, "dislikes called likes", "likes called likes")

    said = "; ".join(f"{method} AUC {value:.3f}" for method, value in area.items() if value is not None)
    caption = f"ROC, reading “{reading.subset}”. Thin lines: the other methods. Dashed: chance."
    return drawn("roc", caption, said, draw, (4.6, 4.5))


def calibration(curves: Sequence[Curve], shown: Mapping[str, str]) -> Picture:
    """Share of likes against mean probability, per bin of equal mass, with the range that chance alone would give."""
    chosen = [curve for curve in curves if curve.method in shown]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        for curve in chosen:
            kind = shown[curve.method]
            p = np.array([bin_.predicted for bin_ in curve.bins])
            share = np.array([bin_.share for bin_ in curve.bins])
            n = np.array([bin_.n for bin_ in curve.bins])
            if kind == "fused":
                spread = 1.96 * np.sqrt(p * (1 - p) / n)
                axes.fill_between(
                    p,
                    np.clip(p - spread, 0, 1),
                    np.clip(p + spread, 0, 1),
                    color=COLOURS[kind],
                    alpha=0.12,
                    linewidth=0,
                )
            axes.plot(
                p, share, color=COLOURS[kind], linestyle=STYLES[kind], marker=MARKERS[kind], markersize=5,
                linewidth=1.4, label=curve.method,
            )  # fmt: skip
        axes.legend(loc="upper left")
        _unit_square(axes, "probability said", "share liked")

    said = "; ".join(
        f"{curve.method}: " + ", ".join(f"{bin_.predicted:.2f} said, {bin_.share:.2f} liked" for bin_ in curve.bins)
        for curve in chosen
    )
    caption = "Calibration, bins of equal mass. On the dashed line what is said comes true as often as said; "
    caption += "the band is where 95 % of a perfectly calibrated fused model’s bins would lie."
    return drawn("calibration", caption, said, draw, (4.6, 4.5))


def weights(values: Sequence[tuple[str, float]]) -> Picture:
    """Weight of each input of the fused model, the first `MOST_WEIGHTS` of them."""
    top = values[:MOST_WEIGHTS]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sizes = [value for _, value in top]
        colours = [COLOURS["fused"] if value >= 0 else COLOURS["student"] for value in sizes]
        axes.barh(range(len(top)), sizes, color=colours, height=0.62)
        for row, size in enumerate(sizes):
            axes.annotate(
                f"{size:+.2f}".replace("-", "−"), (size, row), xytext=(4 if size >= 0 else -4, 0),
                textcoords="offset points", va="center", ha="left" if size >= 0 else "right", fontsize=9.5,
            )  # fmt: skip
        axes.axvline(0, color=QUIET, linewidth=0.8)
        axes.set_yticks(range(len(top)), [_short(name) for name, _ in top])
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.margins(x=0.16)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("log-odds of a like, for one standard deviation")

    said = "; ".join(f"{name} {value:+.3f}" for name, value in top)
    left = len(values) - len(top)
    caption = (
        "Weight of each input of the fused model: how far one standard deviation of it moves the log-odds of a like."
    )
    caption += f" The {left} smallest are in the table only." if left else ""
    return drawn("weights", caption, said, draw, (6.4, 0.9 + 0.3 * len(top)))


def gates(account: TeacherAccount) -> Picture:
    """How many rationales failed each gate, beside how many passed them all."""
    rows = [(gate.gate, gate.dropped) for gate in account.gates if gate.dropped]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        names = ["kept", *(gate for gate, _ in rows)]
        sizes = [account.kept, *(dropped for _, dropped in rows)]
        axes.barh(range(len(names)), sizes, color=[COLOURS["fused"], *[COLOURS["student"]] * len(rows)], height=0.62)
        for row, size in enumerate(sizes):
            axes.annotate(
                f"{size:,}", (size, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, max(account.rationales, 1) * 1.1)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("rationales")

    said = "; ".join(f"{gate} {dropped}" for gate, dropped in rows)
    caption = f"Of {account.rationales:,} rationales {account.kept:,} were kept"
    caption += "; below, how many failed each gate that dropped any." if rows else "."
    return drawn("gates", caption, f"kept {account.kept}; {said}", draw, (6.4, 0.9 + 0.3 * (len(rows) + 1)))


def learning(curve: Sequence[Point], reading: Reading) -> Picture:
    """AUC of the student by the number of rows it learned from, between the fused decision and the best baseline.

    Of students that were asked in several ways, those of the way with most numbers of rows are drawn.
    """
    most, _ = Counter((point.order, point.n) for point in curve).most_common(1)[0]
    known = [point for point in curve if point.auc is not None and (point.order, point.n) == most]
    lines = [result for result in reading.methods if result.kind == "fused" or result.method == reading.baseline]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = range(len(known))
        means = np.array([point.auc for point in known])
        spreads = np.array([point.spread or 0.0 for point in known])
        axes.fill_between(places, means - spreads, means + spreads, color=COLOURS["student"], alpha=0.15, linewidth=0)
        axes.plot(places, means, color=COLOURS["student"], marker=MARKERS["student"], linewidth=1.8, label="student")
        for result in lines:
            if result.measures.auc is not None:
                axes.axhline(
                    result.measures.auc, color=COLOURS[result.kind], linestyle=STYLES[result.kind], linewidth=1.4,
                    label=result.method,
                )  # fmt: skip
        axes.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(places, [_rows_of(point) for point in known])
        axes.set(xlabel="rows learned from", ylabel="AUC (0.5 is chance)")
        axes.grid(axis="y")
        axes.legend(loc="lower right")

    said = "; ".join(f"{_rows_of(point)}: {point.auc:.3f}" for point in known)
    caption = "Learning curve of the student: mean over seeds, with a band of one standard deviation. "
    caption += "Lines: the fused decision and the plain baseline chosen on valid, both from all rows."
    return drawn("learning", caption, said, draw, (6.0, 3.8))


def _rows_of(point: Point) -> str:
    return point.shots if point.shots == "untrained" else f"{point.rows:,}"


def systems(comparison: Comparison) -> Picture:
    """AUC of every method of every run compared, in each protocol's headline reading, a panel for each dataset."""
    panels: dict[str, list[Line]] = {}
    for line in comparison.headline():
        if line.auc is not None:
            panels.setdefault(f"{line.dataset}, {line.protocol} / {line.subset}", []).append(line)
    rows = {title: list(dict.fromkeys(line.method for line in lines)) for title, lines in panels.items()}
    shades = [*COLOURS.values(), "#7a3e9d", "#00795c"]
    colour = {name: shades[n % len(shades)] for n, name in enumerate(comparison.systems)}
    heights = [1.0 + 0.34 * len(methods) for methods in rows.values()] or [1.0]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(
            max(len(panels), 1), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, (title, lines) in zip(grid[:, 0], panels.items(), strict=False):
            _panel(axes, title, lines, colour)

    said = "; ".join(
        f"{title}: " + ", ".join(f"{line.system} {line.method} {line.auc:.3f}" for line in lines)
        for title, lines in panels.items()
    )
    caption = (
        f"AUC with {comparison.level * 100:g} % intervals over clusters of twins, headline readings. Dashed: chance."
    )
    return drawn("runs", caption, said, draw, (7.6, sum(heights) + 0.3))


def _panel(axes: Any, title: str, lines: Sequence[Line], colour: Mapping[str, str]) -> None:
    methods = list(dict.fromkeys(line.method for line in lines))
    names = list(dict.fromkeys(line.system for line in lines))
    for line in lines:
        shift = (names.index(line.system) + 0.5) / len(names) - 0.5
        at = methods.index(line.method) + 0.7 * shift
        shade, marker = colour[line.system], list(MARKERS.values())[names.index(line.system) % len(MARKERS)]
        if line.low is not None and line.high is not None:
            axes.plot([line.low, line.high], [at, at], color=shade, linewidth=1.8, solid_capstyle="butt")
        label = _short(line.system) if line.method == methods[0] else None
        axes.plot([line.auc], [at], color=shade, marker=marker, markersize=5, linestyle="none", label=label)
    axes.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(methods)), [_short(method) for method in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_title(title, loc="left", fontsize=11)
    if len(names) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _shown(curves: Sequence[Curve], reading: Reading) -> dict[str, str]:
    """The methods a picture names, with their kind: fused, student, and the chosen baseline."""
    kinds = {result.method: result.kind for result in reading.methods}
    return {
        curve.method: kinds[curve.method]
        for curve in curves
        if kinds[curve.method] in ("fused", "student") or curve.method == reading.baseline
    }


def _interval(axes: Any, row: int, result: MethodResult) -> None:
    colour = COLOURS[result.kind]
    if result.auc_low is not None and result.auc_high is not None:
        axes.plot([result.auc_low, result.auc_high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([result.measures.auc], [row], color=colour, marker=MARKERS[result.kind], markersize=7)


def _with_interval(result: MethodResult) -> str:
    auc = "undefined" if result.measures.auc is None else f"{result.measures.auc:.3f}"
    if result.auc_low is None or result.auc_high is None:
        return auc
    return f"{auc} ({result.auc_low:.3f} to {result.auc_high:.3f})"


def _starred(method: str, reading: Reading) -> str:
    return _short(f"{method} *" if method == reading.baseline else method)


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:33]}…"


def _unit_square(axes: Any, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks(ticks, ["0", ".25", ".5", ".75", "1"])
    axes.grid()


def drawn(name: str, caption: str, said: str, draw: Callable[[Figure], None], inches: tuple[float, float]) -> Picture:
    """What `draw` makes of a figure of so many inches, in the report's style; `said` is for those who do not see it."""
    # The defaults first, so that a reader's own matplotlibrc changes nothing.
    with style.context("default"), mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=inches, layout="constrained", facecolor="white")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Picture(name, caption, _inline(out.getvalue(), name, caption, said))


def _inline(svg: str, name: str, caption: str, said: str) -> str:
    """What a page needs of a stand-alone SVG file: no prologue, no metadata, scalable, named for screen readers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = body.replace("<g id=", "<g data-part=")  # ids must be unique on a page, and nothing refers to a group
    head_end = body.index(">") + 1
    box = re.search(r'viewBox="([^"]*)"', body[:head_end])
    assert box, "matplotlib always writes a viewBox"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box[1]}" '
        f'role="img" aria-labelledby="{name}-title {name}-said"><title id="{name}-title">{html.escape(caption)}</title>'
        f'<desc id="{name}-said">{html.escape(said)}</desc>'
    )
    return re.sub(r"[ \t]+\n", "\n", head + body[head_end:]).strip()
