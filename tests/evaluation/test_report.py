from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reasoningrec.evaluation.evaluate import Answers, EvaluateInputs, Evaluation, evaluate
from reasoningrec.evaluation.report import (
    Sample,
    choose_samples,
    figure,
    render_html,
    render_markdown,
    segments,
    summary,
    with_interval,
    write_report,
)
from reasoningrec.rows import from_row, read_json, to_row, write_json

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags, and fails on any that is closed out of order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"


@pytest.fixture(scope="module")
def evaluation(inputs: EvaluateInputs) -> Evaluation:
    return evaluate(inputs)


@pytest.fixture(scope="module")
def samples(inputs: EvaluateInputs, titles: dict[str, str]) -> tuple[Sample, ...]:
    return choose_samples(inputs.explanations, inputs.evidence, inputs.test, titles, count=20, seed=5)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, samples: tuple[Sample, ...]) -> str:
    return render_html(evaluation, samples)


def test_page_is_well_formed_with_unique_ids_and_working_links(page: str) -> None:
    tags = Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    # Markers and clip paths of pictures are named by content: the same id means the same shape.
    own = [id_ for id_ in ids if id_ and not re.fullmatch(r"[pm][0-9a-f]{10}", id_)]
    assert len(own) == len(set(own))
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert len(links) >= 20
    assert all(link and link.startswith("#") and link[1:] in ids for link in links)


def test_page_fetches_nothing(page: str) -> None:
    tags = Page(page).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", page)


def test_page_escapes_what_comes_from_the_data(page: str, samples: tuple[Sample, ...]) -> None:
    assert any("<script>" in sample.title for sample in samples)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>co-liked" not in page
    assert "<skipped>" not in page


def test_page_has_headings_in_order_and_named_pictures(page: str) -> None:
    tags = Page(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    pictures = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(pictures) == 5
    assert all(picture["role"] == "img" and picture["aria-labelledby"] for picture in pictures)
    assert page.count("<desc ") == 5


def test_page_shows_methods_in_order_and_twenty_samples(page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", page[page.index("<tbody>") :])
    places = [text.index(f" {method} ") for method in ("reasoningrec", "student", "user-share", "item-share", "last")]
    assert places == sorted(places)
    assert page.count("<article") == 20


def test_report_is_the_same_bytes_again(inputs: EvaluateInputs, samples: tuple[Sample, ...], tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(evaluate(inputs), samples, tmp_path / name)
    for file in ("report.html", "report.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_markdown_tables_are_whole_and_hold_no_html(evaluation: Evaluation, samples: tuple[Sample, ...]) -> None:
    text = render_markdown(evaluation, samples)
    assert "<script" not in text
    assert {max(widths) for widths in table_widths(text)} == {11, 3, 4, 5, 7}
    assert all(len(set(widths)) == 1 for widths in table_widths(text))
    assert sum(map(len, table_widths(text))) > 2 * 7


def table_widths(text: str) -> list[list[int]]:
    """Of each Markdown table, how many bars each line has."""
    lines = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in text.splitlines()]
    return [list(table) for is_table, table in itertools.groupby(lines, key=bool) if is_table]


def test_rows_of_every_table_of_the_page_are_as_wide_as_its_head(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    widths = [[len(re.findall(r"<t[hd][ >]", row)) for row in table.split("<tr")[1:]] for table in tables]
    assert len(widths) > 4
    assert all(len(set(rows)) == 1 for rows in widths), widths


def test_each_method_s_threshold_is_printed(evaluation: Evaluation, samples: tuple[Sample, ...], page: str) -> None:
    markdown = render_markdown(evaluation, samples)
    for row in evaluation.readings[0].methods:
        said, beside = figure(row.threshold), figure(row.more.legacy)
        assert re.search(rf"^\| {row.method} \| .* \| {beside} \| {said} \|", markdown, re.MULTILINE)
        assert f'<td class="n">{beside}</td><td class="n">{said}</td>' in page
        if row.kind == "fused":
            assert all(f"from a fused probability of {said} on" in text for text in (markdown, page))


def test_weights_are_shown_by_magnitude_when_read_from_a_file(evaluation: Evaluation, tmp_path: Path) -> None:
    write_json(tmp_path / "evaluate.json", to_row(evaluation))
    read = from_row(Evaluation, read_json(tmp_path / "evaluate.json"))
    names = ["user_share", "student_logit", "item_share", "price_gap"]
    assert [name for name, _ in read.largest_first][:4] == names
    for shown in (render_html(read, ()), render_markdown(read, ()).replace("\\", "")):
        places = [shown.rindex(name) for name in names]
        assert places == sorted(places)


def test_report_of_almost_nothing(inputs: EvaluateInputs) -> None:
    one_class = Answers(
        dict.fromkeys(inputs.test.labels, True), {"reasoningrec": inputs.test.predictions["reasoningrec"]}
    )
    bare = dataclasses.replace(
        inputs, test=one_class, valid=Answers({}, {}), weights={}, explanations=(), notes=(), protocol="honest"
    )
    evaluation = evaluate(bare)
    page = render_html(evaluation, ())
    Page(page)
    assert "is not defined here" in page
    assert "nan" not in page.lower().replace("finance", "")
    assert render_markdown(evaluation, ()).startswith("# made-shop")


def test_samples_are_half_yes_and_do_not_depend_on_order(inputs: EvaluateInputs, titles: dict[str, str]) -> None:
    def draw(count: int, seed: int, reverse: bool = False) -> list[str]:
        given = list(inputs.explanations)[:: -1 if reverse else 1]
        drawn = choose_samples(given, inputs.evidence, inputs.test, titles, count=count, seed=seed)
        return [sample.query_id for sample in drawn]

    decisions = {row.query_id: row.decision for row in inputs.explanations}
    assert draw(10, 1) == draw(10, 1, reverse=True)
    assert draw(10, 1) != draw(10, 2)
    assert sum(decisions[query] for query in draw(10, 1)) == 5
    assert len(draw(10, 1)) == len(set(draw(10, 1))) == 10
    assert sorted(draw(1000, 1)) == sorted(decisions)


def test_samples_fill_up_from_the_other_side(inputs: EvaluateInputs, titles: dict[str, str]) -> None:
    yes = [row for row in inputs.explanations if row.decision][:9]
    no = [row for row in inputs.explanations if not row.decision][:2]
    drawn = choose_samples([*yes, *no], inputs.evidence, inputs.test, titles, count=8, seed=1)
    assert sorted(sample.explanation.decision for sample in drawn) == [False] * 2 + [True] * 6


def test_segments_rebuild_the_text_and_tell_known_from_missing() -> None:
    text = 'It fits [H2, C1]; see "Vitamin [C] Cream" [H9].'
    parts = segments(text, ["H2", "C1"])
    assert "".join(piece for piece, _ in parts) == text
    assert [(piece, kind) for piece, kind in parts if kind != "text"] == [
        ("H2", "cite"),
        ("C1", "cite"),
        ("H9", "missing"),
    ]


def test_summary_says_which_side_of_zero_the_difference_lies(evaluation: Evaluation) -> None:
    reading = evaluation.readings[0]
    fused = reading.methods[0]

    def said(low: float, high: float) -> str:
        changed = dataclasses.replace(fused, diff=(low + high) / 2, diff_low=low, diff_high=high)
        return summary(dataclasses.replace(reading, methods=(changed, *reading.methods[1:])))

    assert "better than" in said(0.01, 0.03)
    assert "worse than" in said(-0.03, -0.01)
    assert "includes zero" in said(-0.01, 0.03)


def test_summary_says_why_there_is_no_area(evaluation: Evaluation) -> None:
    reading = dataclasses.replace(evaluation.readings[0], methods=(), positives=0)
    assert summary(reading) == "The AUC of the fused decision is not defined here: no target is liked."
    assert "every target is liked" in summary(dataclasses.replace(reading, positives=reading.n))


def test_without_fusion_the_report_names_the_student(evaluation: Evaluation) -> None:
    assert "The fused decision reaches AUC" in render_markdown(evaluation, ())
    alone = dataclasses.replace(evaluation, weights={"student": 1.0})
    assert "The student alone reaches AUC" in render_markdown(alone, ())


def test_summary_says_what_the_student_adds(evaluation: Evaluation) -> None:
    reading = evaluation.readings[0]
    alone = dataclasses.replace(
        reading.methods[0], method="no-student", versus="reasoningrec", diff=-0.01, diff_low=-0.02, diff_high=0.005
    )
    said = summary(dataclasses.replace(reading, methods=(*reading.methods, alone)))
    assert "The student adds +0.0100 [−0.0050, +0.0200] to the decision without it." in said
    assert "student adds" not in summary(reading)
    assert "student adds" not in summary(
        dataclasses.replace(reading, methods=(*reading.methods, dataclasses.replace(alone, versus="logistic")))
    )


def test_figures() -> None:
    assert figure(None) == "–"
    assert figure(-0.12345) == "−0.123"
    assert with_interval(0.5, None, None) == "0.500"
    assert with_interval(0.01, -0.02, 0.04, signed=True) == "+0.010 [−0.020, +0.040]"
    assert with_interval(-0.0001, -0.0004, 0.0, signed=True) == "+0.000 [+0.000, +0.000]"
