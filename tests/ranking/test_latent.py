"""What a factorisation of as then expects: it finds a taste, knows nothing of later, and is kept whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from making import DAY, Row, corpus_of
from planted import ITEMS, rows
from reasoningrec.baselines.factors import Biased
from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.evidence import FOLDS, Questions
from reasoningrec.data.split import past_rows, split
from reasoningrec.data.timeline import Floats, Ints, Timeline
from reasoningrec.errors import RunError
from reasoningrec.ranking import latent as module
from reasoningrec.ranking.latent import answer, load, now, of_windows, save
from reasoningrec.records import Item

SPLIT = SplitConfig(history=4)
MADE, UNTIMED = rows(), rows(times=False)
TIED = [dataclasses.replace(row, time=(row.time or 0) // (3 * DAY) * 3 * DAY) for row in MADE]
"""Three of a user's rows share a moment, as they share days in reviews."""


def asked_of(made: Sequence[Row], protocol: Protocol = "honest") -> tuple[Timeline, pl.DataFrame]:
    line = Timeline.of(corpus_of(made, ITEMS))
    return line, split(line, SPLIT, protocol)


def flipped(made: Sequence[Row], which: Callable[[Row], bool]) -> list[Row]:
    """`made` with the opposite rating in those rows."""
    return [dataclasses.replace(row, rating=6 - (row.rating or 3)) if which(row) else row for row in made]


def number_of(made: Sequence[Row], row: int, protocol: Protocol = "honest", items: Sequence[Item] = ITEMS) -> float:
    """Of the question whose target is this row of the file, asked as a train window."""
    line = Timeline.of(corpus_of(made, items))
    at = np.flatnonzero(line.row == row)
    return float(
        of_windows(line, pl.DataFrame({"role": ["train"], "at": at, "past": past_rows(line, at, protocol)}))[0]
    )


@pytest.mark.parametrize("made", [MADE, UNTIMED])
def test_a_planted_taste_is_found(made: list[Row]) -> None:
    line, windows = asked_of(made)
    found = of_windows(line, windows)
    for role in ("train", "valid", "test"):
        asked = (windows["role"] == role).to_numpy()
        assert roc_auc_score(windows["label"].to_numpy()[asked], found[asked]) > 0.75, role


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_comes_later_changes_nothing(data: st.DataObject) -> None:
    """Whether it is other ratings, more rows, a new item, or nothing; under `strict`, own rows of the moment, too."""
    target = data.draw(st.sampled_from(TIED))
    protocol: Protocol = data.draw(st.sampled_from(["honest", "strict"]))

    def hidden(row: Row) -> bool:
        assert row.time is not None
        mine = protocol == "honest" and row.user == target.user and row.row < target.row
        return row.row != target.row and row.time >= (target.time or 0) and not (mine and row.time == target.time)

    plain = number_of(TIED, target.row, protocol)
    rated = [dataclasses.replace(row, rating=1.0) if row.row == target.row else row for row in TIED]
    users = [name for n in range(9) if (name := f"u{n:03}") != target.user]
    new = Item("i005x", "Thing between", "", None, ())
    more = [*TIED, *(Row(len(TIED) + n, user, new.id, 1.0, target.time) for n, user in enumerate(users))]
    for other in (flipped(TIED, hidden), rated, [row for row in TIED if not hidden(row)]):
        assert number_of(other, target.row, protocol) == plain
    assert number_of(more, target.row, protocol, (*ITEMS, new)) == plain


def test_own_rows_of_the_same_moment_are_known_in_honest_alone() -> None:
    target = next(row for row in TIED if sum(one.time == row.time and one.user == row.user for one in TIED[: row.row]))
    other = flipped(TIED, lambda row: row.row < target.row and (row.time, row.user) == (target.time, target.user))
    for protocol, same in (("honest", False), ("strict", True)):
        assert (number_of(other, target.row, protocol) == number_of(TIED, target.row, protocol)) == same


def test_what_came_before_does_change_it() -> None:
    target = max(MADE, key=lambda row: (row.time or 0, row.row))
    plain = number_of(MADE, target.row)
    for mine in (True, False):
        other = flipped(MADE, lambda row, mine=mine: (row.user == target.user) == mine and row.row != target.row)
        assert abs(number_of(other, target.row) - plain) > 0.1


def test_without_times_no_held_out_label_and_not_its_own_is_read() -> None:
    line, windows = asked_of(UNTIMED)
    plain, role = of_windows(line, windows), windows["role"].to_numpy()
    user = line.user[windows["at"].to_numpy()]

    def after(at: Ints) -> Floats:
        names = set(line.row[at].tolist())
        return of_windows(*asked_of(flipped(UNTIMED, lambda row: row.row in names)))

    at = windows["at"].to_numpy()
    assert (after(at[role == "test"]) == plain).all()
    assert (after(at[role != "train"]) == plain)[role != "test"].all(), "valid is past to its own user's test alone"
    one = at[role == "train"][:1]
    same = (after(one) == plain)[role == "train"]
    fold = (user % FOLDS == line.user[one] % FOLDS)[role == "train"]
    assert same[fold].all()
    assert not same[~fold].all()


@pytest.mark.parametrize("made", [MADE, UNTIMED])
def test_rows_without_a_rating_are_not_read_as_ratings(made: list[Row]) -> None:
    """As in the release of the paper's authors, which tells of test targets whether they were liked, and no more."""
    line, windows = asked_of(made)
    test = windows.filter(role="test")["at"].to_numpy()
    names = set(line.row[test].tolist())
    part = [dataclasses.replace(row, rating=None, like=row.liked) if row.row in names else row for row in made]
    gone, windows_of = asked_of(part)
    assert roc_auc_score(windows_of["label"], of_windows(gone, windows_of)) > 0.75
    other = [dataclasses.replace(row, like=not row.like) if row.row in names else row for row in part]
    assert (of_windows(*asked_of(other)) == of_windows(gone, windows_of)).all()


def test_likes_do_where_there_are_no_ratings_at_all() -> None:
    likes = [dataclasses.replace(row, rating=None, like=row.liked) for row in MADE]
    line, windows = asked_of(likes)
    assert roc_auc_score(windows["label"], of_windows(line, windows)) > 0.75


def test_one_user_without_times_is_told_nothing() -> None:
    line, windows = asked_of([row for row in UNTIMED if row.user == "u000"])
    assert (of_windows(line, windows) == 0).all()
    assert all(np.isfinite(model.items).all() for model in now(line, windows))


def test_where_nothing_is_earlier_nothing_is_expected() -> None:
    line = Timeline.of(corpus_of(MADE, ITEMS))
    first = np.flatnonzero(line.clock == 0)
    question = pl.DataFrame({"role": ["train"] * first.size, "at": first, "past": np.zeros(first.size, np.int64)})
    assert (of_windows(line, question) == 0).all()


def test_a_new_user_is_expected_to_think_as_all_do_of_the_item() -> None:
    line, windows = asked_of(MADE)
    (model,) = now(line, windows)
    nobody = Questions(np.zeros(20, np.int64), np.arange(20), np.zeros(20, np.int64), np.zeros(20, np.int64), None)
    assert answer(line, model, nobody, np.arange(20)) == pytest.approx(model.items[:, 0])


def test_fits_are_few_and_of_earlier_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line, windows = asked_of(MADE)
    fitted: list[Ints] = []
    oldest: list[int] = []

    def noted_fit(timeline: Timeline, rows: Ints) -> Biased:
        fitted.append(rows)
        return real_fit(timeline, rows)

    def noted_answer(timeline: Timeline, model: Biased, asked: Questions, places: Ints) -> Floats:
        oldest.append(int(asked.clock[places].min()))
        return answer(timeline, model, asked, places)

    real_fit = module._fit
    monkeypatch.setattr(module, "_fit", noted_fit)
    monkeypatch.setattr(module, "answer", noted_answer)
    of_windows(line, windows)
    assert len(fitted) < 30 < windows.height
    for rows_, clock in zip(fitted, oldest, strict=True):
        assert line.clock[rows_].max() < clock
        known = (line.clock < clock).sum()
        assert rows_.size >= known / module.GROWTH - 1, "never more than a growth behind"


def test_pasts_are_read_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    line, windows = asked_of(MADE)
    whole = of_windows(line, windows)
    monkeypatch.setattr(module, "PART", 7)
    assert of_windows(line, windows) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("made", [MADE, UNTIMED])
def test_what_is_served_is_what_a_later_question_would_be_told(
    made: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without times, by all rows that held-out questions may know: the same windows are asked for both."""
    line, windows = asked_of(made)
    user, item = 5, 7
    models = now(line, windows)
    asked = Questions(*(np.array([n]) for n in (user, item, line.clock.max() + 1, line.length[user])), None)
    served = answer(line, models[user % len(models)], asked, np.arange(1))
    time = None if line.time is None else int(line.time.max()) + DAY
    longer = Timeline.of(corpus_of([*made, Row(len(made), line.users[user], line.items[item], 5.0, time)], ITEMS))
    at = np.flatnonzero(longer.row == len(made))
    later = pl.DataFrame({"role": ["test"], "at": at, "past": longer.position[at]})
    held = (
        windows.filter(pl.col("role") != "train")
        .select("role", "past")
        .with_columns(at=_places(longer, line.row[windows.filter(pl.col("role") != "train")["at"].to_numpy()]))
    )
    monkeypatch.setattr(module, "GROWTH", 1.0001)
    asked_then = pl.concat([later, held.select("role", "at", "past")])
    assert of_windows(longer, asked_then)[0] == pytest.approx(served[0])


def _places(line: Timeline, rows: Ints) -> Ints:
    where = {int(row): at for at, row in enumerate(line.row)}
    return np.array([where[int(row)] for row in rows])


def test_models_are_kept_whole(tmp_path: Path) -> None:
    line, windows = asked_of(UNTIMED)
    models, path = now(line, windows), tmp_path / "predict" / "latent.npz"
    assert len(models) == FOLDS
    save(models, path)
    first = path.read_bytes()
    held = load(path)
    for model, same in zip(models, held, strict=True):
        assert (same.items == model.items).all()
        assert (same.mean, same.ridge) == (model.mean, model.ridge)
    save(held, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "latent.npz"
    if content is None:
        np.savez(path, mean=1.0)
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"latent\.npz"):
        load(path)
