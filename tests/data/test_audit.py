"""The audit passes honest questions, and finds a planted leak of each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from making import CATALOGUE, DAY, Line, Row, corpus_of, demo_line
from planted import ITEMS, rows
from reasoningrec.config import SplitConfig
from reasoningrec.data import evidence
from reasoningrec.data.audit import Audited, Check, audit
from reasoningrec.data.overlap import RUN, Phrasebook, phrases, runs
from reasoningrec.data.split import earlier
from reasoningrec.data.timeline import Timeline
from reasoningrec.ranking import latent
from reasoningrec.records import Case, Reaction


def audited(line: Line, **changes: object) -> Audited:
    at = line.windows["at"].to_numpy()
    counts = line.reviews(line.windows).count(line.timeline.item[at], line.timeline.clock[at]).tolist()
    past = earlier(line.timeline, line.split, line.protocol, 100)
    found = Audited(
        corpus=line.corpus,
        timeline=line.timeline,
        windows=line.windows,
        protocol=line.protocol,
        train_targets=np.concatenate([line.windows.filter(role="train")["at"], past["at"]]),
        numbers=line.numbers,
        work_out=lambda timeline, windows: evidence.numbers(
            timeline, line.attributes, windows, line.evidence, line.split.history
        ),
        history=line.split.history,
        cases=line.cases,
        text_keys=dict(zip(line.windows["id"], zip(line.windows["item"], counts, strict=True), strict=True)),
        profile_keys={id: (user, n) for id, user, n in line.windows.select("id", "user", "profile").iter_rows() if n},
        item_keys={},
        given=frozenset(),
        reviews=line.reviews(line.windows),
        sample=6,
    )
    return dataclasses.replace(found, **changes)


def test_the_fitted_number_is_worked_out_too_with_times_and_without() -> None:
    """Nobody's held-out answer reaches it, and not the valid answer of the user who is asked about test."""
    for times in (True, False):
        line = Line(corpus_of(rows(users=40, times=times), ITEMS), SplitConfig(history=4))
        plain = audited(line)

        def work_out(timeline: Timeline, windows: pl.DataFrame, plain: Audited = plain) -> pl.DataFrame:
            expected = latent.of_windows(timeline, windows)
            return plain.work_out(timeline, windows).with_columns(pl.Series("latent", expected))

        numbers = work_out(line.timeline, line.windows)
        check = rulings(dataclasses.replace(plain, numbers=numbers, work_out=work_out, sample=200))["numbers"]
        assert check.found == 0
        assert check.tried >= 80


def rulings(given: Audited) -> dict[str, Check]:
    return {check.name: check for check in audit(given)}


@pytest.fixture(scope="module")
def line() -> Line:
    """The made shop, whose reviews are of few words and much alike, with a sentence in each that is its own."""
    made = demo_line(users=60)
    own = pl.format("{}. I bought number {} for my aunt who lives behind the old mill.", "text", "row")
    return dataclasses.replace(
        made, corpus=dataclasses.replace(made.corpus, reviews=made.corpus.reviews.with_columns(text=own))
    )


@pytest.fixture(scope="module")
def honest(line: Line) -> Audited:
    return audited(line)


def with_case(given: Audited, place: int, change: Callable[[Case], Case]) -> Audited:
    cases = list(given.cases)
    cases[place] = change(cases[place])
    return dataclasses.replace(given, cases=cases)


def own_review(given: Audited) -> tuple[int, str]:
    """A question whose target was reviewed at length, and that review."""
    said = dict(given.corpus.reviews.select("row", "text").iter_rows())
    for place, case in enumerate(given.cases):
        text = said.get(int(given.timeline.row[given.known.at[case.query.id]]), "")
        if phrases(text):
            return place, text
    raise AssertionError("no target has a review of some length")


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_a_run_without_a_leak_passes_every_check(line: Line, protocol: str) -> None:
    found = rulings(audited(dataclasses.replace(line, protocol=protocol)))
    assert {name: check.ruling for name, check in found.items()} == dict.fromkeys(found, "passed")
    assert all(check.tried for check in found.values())


def test_where_no_text_was_written_from_a_review_the_check_says_so(line: Line) -> None:
    unreviewed = dataclasses.replace(line, corpus=dataclasses.replace(line.corpus, reviews=line.corpus.reviews[:0]))
    bare = audited(unreviewed, profile_keys={})
    check = rulings(bare)["sources"]
    assert (check.ruling, check.tried) == ("passed", 0)
    assert "nothing that could leak" in check.notes[0]


def test_reviews_of_targets_read_by_the_writer_are_found(line: Line, honest: Audited) -> None:
    paper = dataclasses.replace(line, protocol="paper")
    found = rulings(audited(paper))
    assert found["sources"].ruling == "found"
    assert found["sources"].examples[0].says.endswith("the target's own review")
    assert found["overlap"].ruling == "found"  # descriptions here are the reviews themselves


def test_a_description_with_the_targets_review_in_it_is_found(honest: Audited) -> None:
    place, review = own_review(honest)
    leaking = with_case(honest, place, lambda case: dataclasses.replace(case, description=f"People say: {review}"))
    check = rulings(leaking)["overlap"]
    assert (check.ruling, check.found) == ("found", 1)
    assert check.examples[0].query_id == honest.cases[place].query.id
    assert "the target's own review" in check.examples[0].says


def test_a_profile_with_a_later_review_is_found(honest: Audited) -> None:
    place, review = own_review(honest)
    leaking = with_case(honest, place, lambda case: dataclasses.replace(case, profile=review))
    assert [find.where for find in rulings(leaking)["overlap"].examples] == ["profile"]


def test_a_profile_of_rows_up_to_the_target_is_found(honest: Audited) -> None:
    place, case = next((n, case) for n, case in enumerate(honest.cases) if case.query.id.startswith("test"))
    id, known = case.query.id, len(honest.known.own(case.query.id))
    for more, ruling, says in ((0, "passed", []), (1, "found", ["the target's own row"])):
        keys = {**honest.profile_keys, id: (case.query.user, known + more)}
        shown = with_case(honest, place, lambda case: dataclasses.replace(case, profile="Likes what is shown."))
        check = rulings(dataclasses.replace(shown, profile_keys=keys))["sources"]
        assert (check.ruling, [find.says.split(": ")[1] for find in check.examples]) == (ruling, says)


def test_a_text_on_an_item_of_the_history_that_reads_a_target_is_found(line: Line) -> None:
    """Prompts of `paper` show descriptions of the history's items, and some of their reviews are later ones."""
    paper = audited(dataclasses.replace(line, protocol="paper"), text_keys={}, profile_keys={})
    items = {reaction.item for case in paper.cases for reaction in case.query.history}
    code = {item: place for place, item in enumerate(paper.timeline.items)}
    counts = {item: sum(1 for _ in paper.reviews.texts(code[item], 10**6)) for item in items}
    texts = [{one.item: "A text." for one in case.query.history} for case in paper.cases]
    cases = [dataclasses.replace(case, item_texts=of) for case, of in zip(paper.cases, texts, strict=True)]
    shown = dataclasses.replace(paper, cases=cases)
    assert rulings(shown)["sources"].tried == 0
    check = rulings(dataclasses.replace(shown, item_keys=counts))["sources"]
    assert check.ruling == "found"
    assert all(find.where.startswith("text on ") for find in check.examples)


def test_the_target_in_its_own_history_is_found(honest: Audited) -> None:
    def plant(case: Case) -> Case:
        label = bool(honest.timeline.liked[honest.known.at[case.query.id]])
        row = Reaction(case.query.item, label, None, case.query.time)
        query = dataclasses.replace(case.query, history=(*case.query.history, row))
        return dataclasses.replace(case, query=query)

    found = rulings(with_case(honest, 3, plant))
    assert found["target-in-history"].ruling == "found"
    assert found["times"].ruling == "found"


def test_a_later_row_in_the_history_is_found(honest: Audited) -> None:
    place = next(n for n, case in enumerate(honest.cases) if case.query.id.startswith("train"))
    late = honest.cases[place].query
    at = honest.known.at[late.id] + 1
    line = honest.timeline
    assert line.user[at] == line.user[at - 1]
    assert line.time is not None
    row = Reaction(line.items[line.item[at]], bool(line.liked[at]), None, int(line.time[at]))
    leaking = with_case(
        honest, place, lambda case: dataclasses.replace(case, query=dataclasses.replace(late, history=(row,)))
    )
    check = rulings(leaking)["times"]
    assert (check.ruling, check.examples[0].query_id) == ("found", late.id)


def test_a_same_day_row_is_found_under_strict(line: Line) -> None:
    rows = [Row(n, "u1", item, 4.0, DAY * (n // 2)) for n, item in enumerate(["i1", "i2", "i3", "i4"])]
    made = Line(corpus_of(rows), SplitConfig(history=3))
    assert rulings(audited(made))["times"].ruling == "passed"
    assert rulings(audited(made, protocol="strict"))["times"].ruling == "found"


def test_a_row_of_the_targets_time_that_is_learned_from_is_found_under_strict() -> None:
    rows = [Row(n, "u1", f"i{n % 6 + 1}", 4.0, DAY * (n // 2)) for n in range(9)]  # the test target is alone on its day
    strict = audited(Line(corpus_of(rows), SplitConfig(history=3), "strict"))
    assert strict.windows["id"].to_list() == ["test/u1/000008", "train/u1/000005", "valid/u1/000007"]
    assert rulings(strict)["learned"].ruling == "passed"
    same_day = dataclasses.replace(
        strict, train_targets=np.append(strict.train_targets, strict.known.at["valid/u1/000007"] - 1)
    )
    check = rulings(same_day)["learned"]
    assert (check.ruling, [find.query_id for find in check.examples]) == ("found", ["valid/u1/000007"])
    assert rulings(dataclasses.replace(same_day, protocol="honest"))["learned"].ruling == "passed"


@pytest.mark.parametrize("role", ["valid", "test"])
def test_a_held_target_that_is_learned_from_is_found(honest: Audited, role: str) -> None:
    id = next(id for id in honest.windows["id"] if id.startswith(role))
    leaking = dataclasses.replace(honest, train_targets=np.append(honest.train_targets, honest.known.at[id]))
    check = rulings(leaking)["learned"]
    assert check.ruling == "found"
    assert id in [find.query_id for find in check.examples]


@pytest.mark.parametrize("column", ["item_n", "user_liked"])
def test_a_count_that_knows_more_is_found(honest: Audited, column: str) -> None:
    place = 5
    bump = (pl.int_range(pl.len()) == place).cast(pl.Float64)
    check = rulings(dataclasses.replace(honest, numbers=honest.numbers.with_columns(pl.col(column) + bump)))["counts"]
    assert (check.ruling, check.found) == ("found", 1)
    assert column in check.examples[0].says


def test_a_number_that_reads_the_answer_is_found(honest: Audited) -> None:
    answers = honest.windows["label"].cast(pl.Float64) * 1e-3
    check = rulings(dataclasses.replace(honest, numbers=honest.numbers.with_columns(pl.col("vote") + answers)))[
        "numbers"
    ]
    assert check.ruling == "found"
    assert "vote" in check.examples[0].says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A fine lamp. Prediction: Yes", "prediction: yes"),
        ("This user did not like it much.", "this user did not like"),
        ("She gave it 2 stars.", "gave it 2 stars"),
    ],
)
def test_words_that_tell_the_answer_are_found(honest: Audited, text: str, says: str) -> None:
    check = rulings(with_case(honest, 0, lambda case: dataclasses.replace(case, description=text)))["label-words"]
    assert check.ruling == "found"
    assert says in check.examples[0].says


def test_a_description_that_names_the_user_is_found(honest: Audited) -> None:
    def plant(case: Case) -> Case:
        query = dataclasses.replace(case.query, user="A1B2C3D4")
        return dataclasses.replace(case, query=query, description="Praised by A1B2C3D4.")

    check = rulings(with_case(honest, 0, plant))["label-words"]
    assert check.ruling == "found"


def test_a_target_line_with_a_reaction_is_found(honest: Audited) -> None:
    def plant(case: Case) -> Case:
        lines = [
            dataclasses.replace(fact, text=f"{fact.text}: liked") if fact.kind == "target" else fact
            for fact in case.evidence.facts
        ]
        return dataclasses.replace(case, evidence=dataclasses.replace(case.evidence, facts=tuple(lines)))

    assert rulings(with_case(honest, 0, plant))["label-words"].ruling == "found"


def test_without_times_nothing_is_proved(line: Line) -> None:
    timeless = line.corpus.interactions.with_columns(time=pl.lit(None, pl.Int64))
    found = rulings(audited(dataclasses.replace(line, corpus=dataclasses.replace(line.corpus, interactions=timeless))))
    assert {name for name, check in found.items() if check.ruling == "not provable"} >= {
        "times",
        "counts",
        "numbers",
        "sources",
    }
    assert not [name for name, check in found.items() if check.ruling == "found"]


def test_texts_written_elsewhere_prove_nothing(honest: Audited) -> None:
    found = rulings(dataclasses.replace(honest, given=frozenset(honest.text_keys)))
    assert found["sources"].ruling == found["overlap"].ruling == "not provable"


def test_an_earlier_row_of_the_target_is_told_and_no_leak() -> None:
    rows = [Row(n, "u1", item, 4.0, DAY * n) for n, item in enumerate(["i1", "i2", "i2"])]
    check = rulings(audited(Line(corpus_of(rows), SplitConfig(history=3)), repeats="first"))["target-in-history"]
    assert check.ruling == "passed"
    assert "1 targets have an earlier row" in check.notes[0]


moments = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(CATALOGUE), st.integers(1, 5), st.integers(0, 4)),
    min_size=6,
    max_size=24,
)


@settings(max_examples=25, deadline=None)
@given(moments, st.sampled_from(["honest", "strict"]))
def test_whatever_the_data_the_line_passes(drawn: list[tuple[str, object, int, int]], protocol: str) -> None:
    rows = [
        Row(n, user, item.id, float(rating), DAY * day, f"review number {n} of many words that nobody else would say")
        for n, (user, item, rating, day) in enumerate(drawn)
    ]
    made = Line(corpus_of(rows), SplitConfig(history=3), protocol)
    users = [row.user for row in rows]
    assume(len(set(users)) < len(users))  # otherwise nothing can be asked
    found = rulings(audited(made))
    assert not [check for check in found.values() if check.ruling != "passed"]


def test_phrases_are_runs_and_whole_sentences() -> None:
    assert phrases("Love it! It's a very good lamp.") == {"it's a very good lamp"}
    assert phrases("one two three four five six seven eight nine") == {
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
    }


def test_the_phrasebook_finds_what_a_plain_search_finds(honest: Audited) -> None:
    reviews = dict(honest.corpus.reviews.select("row", "text").iter_rows())
    texts = [case.description for case in honest.cases if case.description][:40]
    book = Phrasebook(texts)
    book.read(reviews)
    said = {row: phrases(text) for row, text in reviews.items()}
    plain = {
        phrase: sorted(row for row, held in said.items() if phrase in held) for text in texts for phrase in runs(text)
    }
    assert {phrase: sorted(rows) for phrase, rows in book.holders.items()} == {k: v for k, v in plain.items() if v}
    assert any(phrase.count(" ") + 1 == RUN for phrase in book.holders)


def test_a_short_review_is_found_within_a_longer_sentence_of_a_text() -> None:
    text = "A lamp by Acme, and one buyer wrote: “Stitch lovely awful apart after a wash.”"
    book = Phrasebook([text])
    book.read(
        {1: "Stitch lovely awful apart after a wash", 2: "it was stitch lovely awful apart after a wash, they say"}
    )
    found = book.shared(text)
    assert found == {"stitch lovely awful apart after a wash": [1]}
    assert book.within["stitch lovely awful apart after a wash"] == [2]


@pytest.mark.parametrize(
    "said",
    ["It’s a shame that I didn’t like the café", "It's a shame<br />that I didn't like the cafe\u0301",
     "IT'S A SHAME THAT I DIDN'T LIKE THE CAFÉ"],
)  # fmt: skip
def test_phrases_are_alike_however_they_are_encoded(said: str) -> None:
    assert phrases(said) == phrases("It's a shame that I didn't like the café") != set()


def with_reviews(given: Audited, text: Callable[[str], str]) -> Audited:
    reviews = given.corpus.reviews.with_columns(pl.col("text").map_elements(text, return_dtype=pl.String))
    return dataclasses.replace(given, corpus=dataclasses.replace(given.corpus, reviews=reviews))


def test_a_short_phrase_that_an_allowed_review_holds_within_a_sentence_is_no_find(honest: Audited) -> None:
    place, _ = own_review(honest)
    id, line, rows = honest.cases[place].query.id, honest.timeline, honest.corpus.reviews["row"].to_list()
    admitted = (row for row in range(line.row.size) if honest.known.admits(id, row, item_text=True))
    allowed = next(int(line.row[row]) for row in admitted if line.row[row] in rows)
    target = int(line.row[honest.known.at[id]])
    whole, within = "Zebras adore a quiet lamp", "We know that zebras adore a quiet lamp at night, all of them"

    def finds(said: dict[int, str]) -> bool:
        texts = [said.get(row, text) for row, text in zip(rows, honest.corpus.reviews["text"], strict=True)]
        reviews = honest.corpus.reviews.with_columns(text=pl.Series(texts))
        given = dataclasses.replace(honest, corpus=dataclasses.replace(honest.corpus, reviews=reviews))
        text = f"Somebody has it that {whole}"
        check = rulings(with_case(given, place, lambda case: dataclasses.replace(case, description=text)))["overlap"]
        return any(one.query_id == id and "zebras" in one.says for one in check.examples)

    assert finds({target: whole})
    assert not finds({target: whole, allowed: within})


def test_reviews_without_spaces_prove_nothing(honest: Audited) -> None:
    check = rulings(with_reviews(honest, lambda _: "とても良い商品ですがすぐ壊れた。残念です"))["overlap"]
    assert check.ruling == "not provable"
    assert "too short to be recognised" in check.notes[0]
