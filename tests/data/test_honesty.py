"""Nothing a prediction may not know can change what is shown of it: by property, on made corpora full of ties.

A question is held (its user, item, moment, and which rows are targets at all); the data that the protocol hides from it
are changed, dropped and added to at will; then every number, fact, text and prompt must stay the same to the last bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from making import CATALOGUE, DAY, WORDING, Line, Row, corpus_of, demo_line, place_of
from reasoningrec.config import Config, Protocol, SplitConfig
from reasoningrec.data import evidence as evidence_module
from reasoningrec.data import split as split_module
from reasoningrec.data.corpus import Corpus, replace
from reasoningrec.data.neighbours import Crowd, Neighbours
from reasoningrec.data.texts import AllowedReviews
from reasoningrec.data.timeline import Bools, CountsBefore, Ints
from reasoningrec.llm.client import ReasonMaterial
from reasoningrec.pipeline import prepare, teach
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.records import Case
from reasoningrec.runs import Run
from reasoningrec.student.encode import TrainingRow, row_text
from reasoningrec.teacher import reason

START = 1_600_000_000 // DAY * DAY
USERS = ("u1", "u2", "u3", "u4")
ITEMS = tuple(item.id for item in CATALOGUE)
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
HUNT = settings(QUICK, max_examples=300, phases=(Phase.generate,), database=None, derandomize=True)

users = st.sampled_from(USERS)
items = st.sampled_from(ITEMS)
ratings = st.integers(1, 5).map(float)
reviews = st.sampled_from(("", "I love the quiet lamp", "the kettle broke", "poor foldable clock", "great kettle"))
moments = st.builds(lambda day, second: START + day * DAY + second, st.integers(0, 4), st.sampled_from((0, 7200)))


@dataclass(frozen=True)
class Asked:
    """A question, and every window of the split it comes from with its row in the file."""

    line: Line
    windows: pl.DataFrame
    id: str
    target: Row

    @classmethod
    def of(
        cls, rows: Sequence[Row], config: SplitConfig, protocol: Protocol, choose: Callable[[list[str]], str]
    ) -> Asked:
        line = Line(corpus_of(rows), config, protocol)
        windows = line.windows.with_columns(pl.Series("row", line.timeline.row[line.windows["at"].to_numpy()]))
        id_ = choose(windows["id"].to_list())
        row = windows.filter(id=id_)["row"].item()
        return cls(line, windows, id_, next(one for one in rows if one.row == row))

    def shown(self, rows: Sequence[Row]) -> str:
        """All that any prompt shows of the question on `rows`."""
        line = dataclasses.replace(self.line, corpus=corpus_of(rows))
        at = pl.Series("at", place_of(line.timeline, self.windows["row"].to_list()), dtype=pl.Int64)
        windows = self.windows.with_columns(at).filter(pl.col("at") >= 0)
        one = windows.filter(id=self.id)
        every = dataclasses.replace(line, split=SplitConfig(history=line.split.history, train_windows=0)).windows
        past = every.filter(pl.col("at") == one["at"].item())["past"]
        one = one.with_columns(past=past.item() if len(past) else one["past"].item())
        numbers = line.numbers_of(one) if line.timeline.time is not None else self._told_of_train_windows(line, windows)
        return as_text(line.cases_of(one, numbers, line.reviews(windows))[0])

    def _told_of_train_windows(self, line: Line, windows: pl.DataFrame) -> pl.DataFrame:
        return line.numbers_of(windows).filter(windows["id"] == self.id)


def as_text(case: Case) -> str:
    """The case with all its numbers, and the prompts made of it."""
    material = ReasonMaterial(case, True, "item", 60, 80, 3)
    asked = reason.request(material, WORDING).messages[0].text
    return "\n".join([repr(case), row_text(TrainingRow(case, True)), asked])


def is_hidden(row: Row, target: Row, protocol: Protocol) -> bool:
    """Whether the protocol hides another row from the question about `target`, where times are known."""
    assert row.time is not None
    assert target.time is not None
    if protocol == "strict" or row.user != target.user:
        return row.time >= target.time
    return (row.time, row.row) > (target.time, target.row)


@st.composite
def histories(draw: st.DrawFn, times: bool = True) -> list[Row]:
    """Rows with even names; the first user has at least four."""
    owners = draw(st.lists(users, min_size=2, max_size=20)) + ["u1"] * 4
    owners = draw(st.permutations(owners))
    return [
        Row(2 * n, user, draw(items), draw(ratings), draw(moments) if times else None, draw(reviews))
        for n, user in enumerate(owners)
    ]


def spoiled(draw: st.DrawFn, row: Row, item: bool = True) -> Row:
    """`row` with another item, rating, label and review."""
    changed = draw(items) if item else row.item
    return dataclasses.replace(row, item=changed, rating=draw(ratings), review=draw(reviews))


def changed(draw: st.DrawFn, rows: Sequence[Row], target: Row, protocol: Protocol) -> list[Row]:
    """`rows` with everything that is hidden kept, spoiled or dropped, and hidden rows added."""
    found = []
    for row in rows:
        if row.row == target.row:
            found.append(spoiled(draw, row, item=False))
        elif is_hidden(row, target, protocol):
            fate = draw(st.sampled_from(("keep", "spoil", "drop")))
            found += [] if fate == "drop" else [spoiled(draw, row)] if fate == "spoil" else [row]
        else:
            found.append(row)
    more = st.builds(
        Row,
        st.integers(-10, 30).map(lambda n: 2 * n + 1),
        st.sampled_from((*USERS, "a new one", "z new one")),
        items,
        ratings,
        moments,
        reviews,
    )
    added = draw(st.lists(more, max_size=6, unique_by=lambda row: row.row))
    return found + [row for row in added if is_hidden(row, target, protocol)]


def hidden_data_change_nothing(protocol: Protocol) -> Callable[[], None]:
    """The property, ready to run."""

    @given(st.data())
    def check(data: st.DataObject) -> None:
        rows = data.draw(histories())
        config = SplitConfig(
            history=data.draw(st.integers(1, 4)),
            tests_per_user=data.draw(st.integers(1, 2)),
            train_windows=data.draw(st.integers(0, 2)),
        )
        asked = Asked.of(rows, config, protocol, lambda ids: data.draw(st.sampled_from(ids)))
        other = changed(data.draw, rows, asked.target, protocol)
        assert asked.shown(other) == asked.shown(rows)

    return check


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_hidden_data_change_nothing(protocol: Protocol) -> None:
    QUICK(hidden_data_change_nothing(protocol))()


LEAKS = ("own label", "same moment", "all times", "own review", "later raters", "last bit")


def plant(leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the code in one place, as a mistake would."""
    past, of_windows, count = split_module.past_rows, evidence_module.Questions.of_windows, CountsBefore.__call__
    if leak == "own label":
        monkeypatch.setattr(split_module, "past_rows", lambda line, at, protocol: past(line, at, "honest") + 1)
    elif leak == "same moment":
        monkeypatch.setattr(CountsBefore, "__call__", lambda self, group, moment: count(self, group, moment + 1))
    elif leak == "all times":

        def late(cls: type, timeline: object, windows: pl.DataFrame) -> evidence_module.Questions:
            asked = of_windows(timeline, windows)  # type: ignore[arg-type]
            return dataclasses.replace(asked, clock=asked.clock + 1000)

        monkeypatch.setattr(evidence_module.Questions, "of_windows", classmethod(late))
    elif leak == "own review":

        def all_reviews(line: Line, windows: pl.DataFrame) -> AllowedReviews:
            return AllowedReviews(line.corpus, line.timeline, windows, "paper", line.most_reviews)

        monkeypatch.setattr(Line, "reviews", all_reviews)
    elif leak == "later raters":
        found = evidence_module.neighbours

        def all_raters(crowd: Crowd, user: Ints, item: Ints, clock: Ints, history: tuple[Ints, Bools]) -> Neighbours:
            raters = (crowd.item[None, :] == item[:, None]).sum(1)
            told = found(crowd, user, item, clock, history)
            return dataclasses.replace(told, vote=told.vote / np.maximum(raters, 1))

        monkeypatch.setattr(evidence_module, "neighbours", all_raters)
    else:
        table = evidence_module.EvidenceTable
        numbers = table.numbers

        def tinged(self: evidence_module.EvidenceTable, asked: evidence_module.Questions) -> pl.DataFrame:
            tinge = 1e-12 * float(self.timeline.liked[-1])
            return numbers(self, asked).with_columns(pl.col("base") + tinge)

        monkeypatch.setattr(table, "numbers", tinged)


@pytest.mark.parametrize("protocol", ["honest", "strict"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_found(leak: str, protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(leak, monkeypatch)
    with pytest.raises(AssertionError):
        HUNT(hidden_data_change_nothing(protocol))()


# Single clauses, in words, on one corpus.

TARGET = Row(8, "u1", "i2", 5, START + 3 * DAY + 60, "splendid lamp")
KNOWN = (
    Row(0, "u1", "i1", 5, START, "good kettle"),
    Row(1, "u2", "i1", 4, START, "nice kettle"),
    Row(2, "u2", "i2", 2, START + DAY, "poor lamp"),
    Row(3, "u1", "i3", 1, START + DAY, "bad kettle"),
    Row(4, "u3", "i1", 5, START + DAY, "great kettle"),
    Row(5, "u3", "i2", 4, START + 2 * DAY, "lovely lamp"),
    Row(6, "u1", "i4", 4, START + 2 * DAY, "fine"),
)
AT_ONCE = (
    Row(7, "u1", "i6", 2, START + 3 * DAY + 60, "noisy"),
    Row(9, "u2", "i2", 5, START + 3 * DAY + 60, "now good"),
)
LATER = (Row(10, "u3", "i2", 1, START + 4 * DAY, "broke"), Row(11, "u1", "i2", 1, START + 4 * DAY, "broke too"))


def ask(protocol: Protocol = "honest", row: int = TARGET.row) -> tuple[list[Row], Asked]:
    rows = [*KNOWN, *AT_ONCE, TARGET, *LATER]
    config = SplitConfig(history=3, train_windows=0)
    id_of = {8: "valid/u1/000004", 11: "test/u1/000005"}
    return rows, Asked.of(rows, config, protocol, lambda ids: next(id_ for id_ in ids if id_ == id_of[row]))


def without(rows: Sequence[Row], *gone: int) -> list[Row]:
    return [row for row in rows if row.row not in gone]


def with_changes(rows: Sequence[Row], name: int, **changes: object) -> list[Row]:
    return [dataclasses.replace(row, **changes) if row.row == name else row for row in rows]  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["honest", "strict"])
@pytest.mark.parametrize(
    "change", [{"rating": 1.0}, {"rating": 5.0, "like": False}, {"review": "dreadful lamp"}, {"review": ""}]
)
def test_the_targets_own_answer_changes_nothing(protocol: Protocol, change: dict[str, object]) -> None:
    rows, asked = ask(protocol)
    assert asked.shown(with_changes(rows, 8, **change)) == asked.shown(rows)


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_what_comes_later_changes_nothing(protocol: Protocol) -> None:
    rows, asked = ask(protocol)
    plain = asked.shown(rows)
    assert asked.shown(without(rows, 11)) == plain
    assert asked.shown(without(rows, 10, 11)) == plain
    assert (
        asked.shown([*rows, Row(12, "u1", "i1", 1, START + 9 * DAY, "x"), Row(13, "w", "i2", 5, START + 9 * DAY)])
        == plain
    )


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_what_others_do_at_the_same_moment_changes_nothing(protocol: Protocol) -> None:
    rows, asked = ask(protocol)
    assert asked.shown(without(rows, 9)) == asked.shown(rows)
    assert asked.shown([Row(-1, "u4", "i2", 1, TARGET.time, "awful"), *rows]) == asked.shown(rows)


def test_own_rows_of_the_same_moment_are_known_in_honest_and_hidden_in_strict() -> None:
    rows, asked = ask("honest")
    assert asked.shown(with_changes(rows, 7, rating=5.0)) != asked.shown(rows)
    rows, asked = ask("strict")
    assert asked.shown(with_changes(rows, 7, rating=5.0, item="i1", review="other")) == asked.shown(rows)
    assert asked.shown(without(rows, 7)) == asked.shown(rows)


@pytest.mark.parametrize("protocol", ["honest", "strict"])
@pytest.mark.parametrize("row", [0, 2, 3, 5])
def test_what_is_known_does_change_what_is_shown(protocol: Protocol, row: int) -> None:
    rows, asked = ask(protocol)
    flipped = 5.0 if next(one for one in rows if one.row == row).rating in {1, 2} else 1.0
    assert asked.shown(with_changes(rows, row, rating=flipped)) != asked.shown(rows)


def test_what_is_shown_equals_what_the_known_rows_alone_show() -> None:
    for protocol in ("honest", "strict"):
        rows, asked = ask(protocol)
        known = [row for row in rows if row.row == 8 or not is_hidden(row, TARGET, protocol)]
        assert len(known) < len(rows)
        assert asked.shown(known) == asked.shown(rows)


# Without times: no label of a held-out row of anybody, and nothing later of one's own.


@QUICK
@given(st.data())
def test_without_times_held_out_rows_change_nothing(data: st.DataObject) -> None:
    rows = data.draw(histories(times=False))
    config = SplitConfig(history=data.draw(st.integers(1, 4)), train_windows=data.draw(st.integers(0, 2)))
    asked = Asked.of(rows, config, "honest", lambda ids: data.draw(st.sampled_from(ids)))
    target = asked.target
    held = set(asked.windows.filter(pl.col("role") != "train")["row"])

    def may_change(row: Row) -> bool:
        return row.row > target.row if row.user == target.user else row.row in held

    other = [
        spoiled(data.draw, row, item=row.row != target.row) if row.row == target.row or may_change(row) else row
        for row in rows
    ]
    assume(other != rows)
    assert asked.shown(other) == asked.shown(rows)


def test_without_times_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [dataclasses.replace(row, time=None) for row in (*KNOWN, TARGET, *LATER)]
    asked = Asked.of(rows, SplitConfig(history=3), "honest", lambda ids: "test/u3/000002")
    other = with_changes(rows, 11, rating=5.0)  # another user's test row
    assert asked.shown(other) == asked.shown(rows)
    monkeypatch.setattr(evidence_module, "train_rows", lambda line, windows: all_rows(line.user))
    assert asked.shown(other) != asked.shown(rows)


def all_rows(user: Ints) -> Ints:
    return (user >= 0).nonzero()[0]


# The stages themselves, from stored data to the prompts that a run would make.


def cases_of_run(folder: Path, corpus: Corpus, config: Config) -> dict[str, str]:
    """Query id -> all that is shown of it by a run over `corpus`."""
    with Run.open(folder, create=True) as run:
        corpus.save(folder / "data")
        space = Workspace(folder, config)
        work = {"split": prepare.make_split, "evidence": prepare.make_evidence}
        work |= {"describe": teach.write_texts, "profile": teach.write_texts}
        for name, stage in work.items():
            stage(Desk(run, space, lambda done, total: None, name))
        return {case.query.id: as_text(case) for case in space.cases(space.windows["id"])}


@pytest.mark.parametrize("protocol", ["honest", "strict"])
def test_a_run_shows_the_same_whatever_the_answers_were(protocol: Protocol, tmp_path: Path) -> None:
    """The later half of the test targets get the opposite label and another review: earlier queries stay the same."""
    line = demo_line(60)
    config = Config.model_validate({"name": "demo", "protocol": protocol, "data": {"source": "demo"}})
    row = line.timeline.row[line.windows.filter(role="test")["at"].to_numpy()]
    time = dict(line.corpus.interactions.select("row", "time").iter_rows())
    late = sorted(row.tolist(), key=lambda name: time[name])[len(row) // 2 :]
    chosen = pl.col("row").is_in(late)
    other = replace(
        line.corpus,
        interactions=line.corpus.interactions.with_columns(
            rating=pl.when(chosen).then(6 - pl.col("rating")).otherwise("rating"), liked=pl.col("liked") ^ chosen
        ),
        reviews=line.corpus.reviews.with_columns(text=pl.when(chosen).then(pl.lit("awful lamp")).otherwise("text")),
    )
    before = cases_of_run(tmp_path / "a", line.corpus, config)
    after = cases_of_run(tmp_path / "b", other, config)
    changed_at = min(time[name] for name in late)
    of_row = dict(zip(line.windows["id"], line.windows["time"], strict=True))
    early = [id_ for id_ in before if of_row[id_] <= changed_at]
    assert len(early) > 60
    assert {id_: before[id_] for id_ in early} == {id_: after[id_] for id_ in early}
    assert before != after  # queries that come later may and do know
