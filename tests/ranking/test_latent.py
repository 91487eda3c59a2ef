"""What a factorisation of as then expects: it finds a taste, knows nothing of later, and is kept whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from making import DAY, Row, corpus_of
from planted import ITEMS, rows
from reasoningrec.baselines.factors import Biased
from reasoningrec.config import Protocol, SplitConfig
from reasoningrec.data.evidence import FOLDS, Questions
from reasoningrec.data.split import split
from reasoningrec.data.timeline import Floats, Ints, Timeline
from reasoningrec.errors import RunError
from reasoningrec.ranking import latent as module
from reasoningrec.ranking.latent import answer, fit, load, of_windows, save

SPLIT = SplitConfig(history=4)
MADE, UNTIMED = rows(), rows(times=False)


def asked_of(made: Sequence[Row], protocol: Protocol = "honest") -> tuple[Timeline, pl.DataFrame]:
    line = Timeline.of(corpus_of(made, ITEMS))
    return line, split(line, SPLIT, protocol)


def number_of(made: Sequence[Row], row: int, protocol: Protocol = "honest") -> float:
    """Of the question whose target is this row of the file, asked as a train window."""
    line = Timeline.of(corpus_of(made, ITEMS))
    at = int(np.flatnonzero(line.row == row)[0])
    past = int(line.position[at])
    if protocol == "strict" and line.time is not None:
        user = line.user == line.user[at]
        past = int((user & (line.clock < line.clock[at])).sum())
    question = pl.DataFrame({"role": ["train"], "at": [at], "past": [past]})
    return float(of_windows(line, question)[0])


@pytest.mark.parametrize("made", [MADE, UNTIMED])
def test_a_planted_taste_is_found(made: list[Row]) -> None:
    line, windows = asked_of(made)
    found = of_windows(line, windows)
    for role in ("train", "valid", "test"):
        asked = (windows["role"] == role).to_numpy()
        assert roc_auc_score(windows["label"].to_numpy()[asked], found[asked]) > 0.75, role


@given(st.data())
def test_what_comes_later_changes_nothing(data: st.DataObject) -> None:
    """Not even a last bit, whether it is other ratings, or more rows, or none."""
    target = data.draw(st.sampled_from(MADE))
    protocol: Protocol = data.draw(st.sampled_from(["honest", "strict"]))

    def hidden(row: Row) -> bool:
        return (row.time or 0) >= (target.time or 0) and row.row != target.row

    plain = number_of(MADE, target.row, protocol)
    flipped = [dataclasses.replace(row, rating=6 - (row.rating or 3)) if row.row != target.row and hidden(row) else row
               for row in MADE]  # fmt: skip
    rated = [dataclasses.replace(row, rating=1.0) if row.row == target.row else row for row in MADE]
    more = [
        *MADE,
        *(Row(len(MADE) + n, f"u{n:03}", "i03", 1.0, target.time) for n in range(9) if f"u{n:03}" != target.user),
    ]
    for other in (flipped, rated, more, [row for row in MADE if not hidden(row)]):
        assert number_of(other, target.row, protocol) == plain


def test_what_came_before_does_change_it() -> None:
    target = max(MADE, key=lambda row: (row.time or 0, row.row))
    own = [dataclasses.replace(row, rating=6 - (row.rating or 3)) if row.user == target.user and row.row != target.row
           else row for row in MADE]  # fmt: skip
    others = [
        dataclasses.replace(row, rating=6 - (row.rating or 3)) if row.user != target.user else row for row in MADE
    ]
    plain = number_of(MADE, target.row)
    assert abs(number_of(own, target.row) - plain) > 0.1
    assert abs(number_of(others, target.row) - plain) > 0.1


def test_without_times_no_held_out_label_and_not_its_own_is_read() -> None:
    line, windows = asked_of(UNTIMED)
    plain, role = of_windows(line, windows), windows["role"].to_numpy()
    held = set(line.row[windows["at"].to_numpy()[role != "train"]].tolist())
    tests = set(line.row[windows["at"].to_numpy()[role == "test"]].tolist())

    def flipped(names: set[int]) -> Floats:
        made = [dataclasses.replace(row, rating=6 - (row.rating or 3)) if row.row in names else row for row in UNTIMED]
        return of_windows(*asked_of(made))

    assert (flipped(tests) == plain).all()
    assert (flipped(held) == plain)[role != "test"].all(), "a valid row is past to the test question of its user alone"
    one = int(windows["at"].to_numpy()[role == "train"][0])
    fold = line.user[windows["at"].to_numpy()] % FOLDS == line.user[one] % FOLDS
    after = flipped({int(line.row[one])})
    assert (after == plain)[fold & (role == "train")].all()
    assert (after != plain)[~fold & (role == "train")].any()


def test_where_nothing_is_earlier_nothing_is_expected() -> None:
    line = Timeline.of(corpus_of(MADE, ITEMS))
    first = np.flatnonzero(line.clock == 0)
    question = pl.DataFrame({"role": ["train"] * first.size, "at": first, "past": np.zeros(first.size, np.int64)})
    assert (of_windows(line, question) == 0).all()


def test_a_new_user_is_expected_to_think_as_all_do_of_the_item() -> None:
    line = Timeline.of(corpus_of(MADE, ITEMS))
    model = fit(line, np.arange(line.user.size))
    nobody = Questions(np.zeros(20, np.int64), np.arange(20), np.zeros(20, np.int64), np.zeros(20, np.int64), None)
    assert answer(line, model, nobody, np.arange(20)) == pytest.approx(model.items[:, 0])


def test_fits_are_few_and_of_earlier_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line, windows = asked_of(MADE)
    fitted: list[Ints] = []
    oldest: list[int] = []

    def noted_fit(timeline: Timeline, rows: Ints) -> Biased:
        fitted.append(rows)
        return fit(timeline, rows)

    def noted_answer(timeline: Timeline, model: Biased, asked: Questions, places: Ints) -> Floats:
        oldest.append(int(asked.clock[places].min()))
        return answer(timeline, model, asked, places)

    monkeypatch.setattr(module, "fit", noted_fit)
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
    monkeypatch.setattr(module, "ROWS", 7)
    assert of_windows(line, windows) == pytest.approx(whole, abs=1e-12)


def test_what_is_served_is_what_a_question_of_the_next_day_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Timeline.of(corpus_of(MADE, ITEMS))
    user, item = 5, 7
    asked = Questions(*(np.array([n]) for n in (user, item, line.clock.max() + 1, line.length[user])), None)
    now = answer(line, fit(line, np.arange(line.user.size)), asked, np.arange(1))
    assert line.time is not None
    target = Row(len(MADE), line.users[user], line.items[item], 5.0, int(line.time.max()) + DAY)
    monkeypatch.setattr(module, "GROWTH", 1.0001)
    assert number_of([*MADE, target], target.row) == pytest.approx(now[0])


def test_a_model_is_kept_whole(tmp_path: Path) -> None:
    line = Timeline.of(corpus_of(MADE, ITEMS))
    model, path = fit(line, np.arange(line.user.size)), tmp_path / "predict" / "latent.npz"
    save(model, path)
    first = path.read_bytes()
    held = load(path)
    assert (held.items == model.items).all()
    assert (held.mean, held.ridge) == (model.mean, model.ridge)
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
