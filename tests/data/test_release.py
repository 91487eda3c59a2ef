"""The authors' folders: made small ones for each rule, and the facts of the real ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from reasoningrec.config import DataConfig
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.release import MIXTRAL, read, windows
from reasoningrec.data.release_windows import ROLES

HEADER = "user,history_item_id,history_rating,item_id,rating,timestamp\r\n"


def window(user: str, history: str, marks: str, item: int, label: int) -> str:
    return f'{user},"{history}","{marks}",{item},{label},0\r\n'


def write_windows(folder: Path, train: str, valid: str, test: str) -> None:
    (folder / "ctr").mkdir(exist_ok=True)
    for role, text in zip(ROLES, (train, valid, test), strict=True):
        (folder / "ctr" / f"{role}.csv").write_bytes((HEADER + text).encode())


def write_ratings(
    folder: Path, items: tuple[int, ...] = (1, 2, 3, 4), ratings: tuple[float, ...] = (5, 2, 4, 3)
) -> None:
    rows = [f"{item},u,{rating},{1000 + n}" for n, (item, rating) in enumerate(zip(items, ratings, strict=True))]
    (folder / "ratings.csv").write_text("\n".join(["item,user,rating,timestamp", *rows, ""]), encoding="utf-8")
    known: dict[str, Any] = {str(item): {"title": f"Thing &amp; {item}"} for item in items}
    known["1"] = {"brand": "Unknown", "price": "$10.00 - $20.00", "description": "\n\nNice."}
    known[str(items[-1])]["brand"] = "half \ud83d"
    known["2"] |= {"brand": "B&#39;s", "price": "$27.19", "description": "  "}
    (folder / "processed_item_information.json").write_text(json.dumps(known), encoding="utf-8")
    (folder / "user_profile_summary.json").write_text(json.dumps({"u": "\n Likes things."}), encoding="utf-8")


def write_movies(folder: Path) -> None:
    movies = ',movie_id,name,cleaned_genre,year\n0,1,Toy Story ,"Animation,Comedy",1995\n'
    movies += '1,2,"Contender, The ",Drama,2000\n2,,,,\n'
    (folder / "movies.csv").write_text(movies, encoding="utf-8")
    summaries = 'movie_id,name,cleaned_genre,year,summary\n1,Toy Story ,Comedy,1995,"""A ""good"" film."\n'
    summaries += '2,C,D,2000,"""Fine."""\n'
    (folder / "movie_summary_25_words.csv").write_text(summaries, encoding="utf-8")
    (folder / "users.csv").write_text("user_id,user_profile\n7,female artist\n", encoding="utf-8")


def config(folder: Path, **values: Any) -> DataConfig:
    return DataConfig(source="release", path=str(folder), **values)


def items_of(corpus: Corpus, user: str) -> list[str]:
    return corpus.interactions.filter(user=user)["item"].to_list()


def test_ratings_items_and_the_order_of_the_file(tmp_path: Path) -> None:
    write_ratings(tmp_path)
    made = read(config(tmp_path), "r")
    assert made.interactions.rows()[:2] == [(0, "u", "1", 5.0, True, 1000), (1, "u", "2", 2.0, False, 1001)]
    assert made.items.select("item", "title", "brand", "price").rows() == [
        ("1", "1", "", 15.0),
        ("2", "Thing & 2", "B's", 27.19),
        ("3", "Thing & 3", "", None),
        ("4", "Thing & 4", "half \ufffd", None),
    ]
    assert made.notes == ("items without a title, whose id stands for it: 1",)
    assert made.given_descriptions.height == made.given_profiles.height == 0


def test_given_texts_are_read_only_when_asked_for_and_blanks_are_counted(tmp_path: Path) -> None:
    write_ratings(tmp_path)
    made = read(config(tmp_path, given_texts=True), "r")
    assert made.given_descriptions.rows() == [("1", "Nice.", MIXTRAL)]
    assert made.given_profiles.rows() == [("u", "Likes things.", MIXTRAL)]
    assert "given descriptions read from processed_item_information.json: 1 (blank ones left out: 3)" in made.notes


def test_repeats_stay_and_take_the_first_rating(tmp_path: Path) -> None:
    write_ratings(tmp_path, (1, 1, 2, 1, 1), (2, 2, 5, 5, 4))
    kept = read(config(tmp_path), "r")
    assert kept.interactions["rating"].to_list() == [2, 2, 5, 5, 4]
    first = read(config(tmp_path, repeats="first"), "r")
    assert first.interactions["rating"].to_list() == [2, 2, 5, 2, 2]
    assert first.interactions["liked"].to_list() == [False, False, True, False, False]


def test_a_test_target_that_the_rows_lack_is_appended(tmp_path: Path) -> None:
    write_ratings(tmp_path)
    with (tmp_path / "ratings.csv").open("a", encoding="utf-8") as stream:
        stream.write("1,v,5,1\n2,v,5,2\n")
    write_windows(
        tmp_path,
        window("u", "[1]", "[1]", 2, 0),
        window("u", "[1, 2]", "[1, 0]", 3, 1),
        window("u", "[2, 3, 99]", "[0, 1]", 77, 1) + window("w", "[1]", "[1]", 2, 1),
    )
    made = read(config(tmp_path), "r")
    assert items_of(made, "u") == ["1", "2", "3", "4", "77"]
    assert made.interactions.filter(item="77").rows() == [(4, "u", "77", None, True, 1003)]
    assert made.interactions["row"].to_list() == list(range(7))
    assert made.items.filter(item="77")["title"].to_list() == ["77"]
    assert made.items["item"].to_list() == sorted(made.items["item"].to_list())
    assert "w" not in made.interactions["user"].to_list()
    notes = " / ".join(made.notes)
    assert "appended: 77 of user u" in notes
    assert "misaligned test windows (not one label per history item): 1" in notes
    assert "left out: 1, 2, 99 (users u, w)" in notes
    assert re.search(r"of 1 train windows of the files 0 have the target", notes)


def test_agreement_with_the_window_files_is_counted(tmp_path: Path) -> None:
    write_ratings(tmp_path)
    windows_of = (
        window("u", "[1]", "[1]", 2, 1),
        window("u", "[1, 2]", "[1, 0]", 3, 1),
        window("u", "[3]", "[1]", 4, 0),
    )
    write_windows(tmp_path, *windows_of)
    notes = [note for note in read(config(tmp_path), "r").notes if "windows" in note]
    counts = [tuple(map(int, re.findall(r"\d+", note.replace("ratings.csv", "")))) for note in notes[:3]]
    assert counts == [(1, 1, 0, 1), (1, 1, 1, 1), (1, 1, 1, 1)]


def test_interactions_are_rebuilt_from_windows(tmp_path: Path) -> None:
    write_movies(tmp_path)
    train = window("7", "[1, 2]", "[0, 1]", 3, 1) + window("6", "[5]", "[1]", 6, 0)
    valid = window("7", "[2, 3]", "[1, 1]", 4, 0) + window("6", "[5]", "[1]", 7, 1)
    write_windows(tmp_path, train, valid, window("7", "[2, 3, 4]", "[1, 1, 0]", 1, 1))
    made = read(config(tmp_path, given_texts=True), "ml")
    rows = [("7", "1", False), ("7", "2", True), ("7", "3", True), ("7", "4", False), ("7", "1", True)]
    rows += [("6", "5", True), ("6", "6", False), ("6", "7", True)]
    assert made.interactions.select("user", "item", "liked").rows() == rows
    assert made.interactions["rating"].null_count() == made.interactions["time"].null_count() == 8
    assert made.items.rows()[:2] == [
        ("1", "Toy Story (1995)", "", None, ["Animation", "Comedy"], ""),
        ("2", "Contender, The (2000)", "", None, ["Drama"], ""),
    ]
    assert "valid histories that do not end with the window before: 1" in made.notes
    assert "blank rows of movies.csv, left out: 1" in made.notes
    assert made.given_descriptions["text"].to_list() == ['A "good" film.', "Fine."]
    assert made.given_profiles.rows() == [("7", "female artist", "paper release")]


def test_windows_are_read_as_lists(tmp_path: Path) -> None:
    write_windows(tmp_path, window("7", "[1, 'x']".replace("'", '""'), "[0, 1]", 3, 1), "", "")
    assert windows(tmp_path).rows() == [("train", 2, "7", ["1", "x"], [0, 1], "3", True)]


# What follows counts the real folders.


def own_windows(corpus: Corpus) -> dict[tuple[str, str], tuple[list[str], str, bool]]:
    """(role, user) -> (all items before the target, target, label), computed from the rows alone."""
    rows = corpus.interactions.sort("user", "time", "row").group_by("user").agg("item", "liked")
    return {
        (role, user): (items[: -3 + place], items[-3 + place], liked[-3 + place])
        for user, items, liked in rows.iter_rows()
        for place, role in enumerate(ROLES)
    }


def agreement(corpus: Corpus, folder: Path) -> Counter[str]:
    own, counts = own_windows(corpus), Counter[str]()
    for role, _, user, history, marks, item, label in windows(folder).iter_rows():
        before, target, liked = own[role, user]
        whole = target == item and before[len(before) - len(history) :] == history
        counts.update({f"{role} items": whole, f"{role} label": target == item and liked == label})
        counts.update({f"{role} misaligned": len(history) != len(marks)})
    return counts


def test_the_real_fashion(data_root: Path) -> None:
    folder = data_root / "paper-release" / "fashion"
    made = read(config(folder, repeats="first", given_texts=True), "fashion")
    assert made.interactions.height == 11_136
    assert made.interactions["user"].n_unique() == 1273
    assert made.items.height == made.interactions["item"].n_unique() == 6089
    counts = agreement(made, folder)
    assert all(counts[f"{role} {what}"] == 1273 for role in ROLES for what in ("items", "label"))
    assert made.given_profiles.height == 848
    assert made.given_descriptions.height == 6089 - 233
    assert made.items.filter(pl.col("item") == pl.col("title"))["item"].to_list() == ["2565"]
    by_row = own_windows(read(config(folder), "fashion"))
    files = windows(folder)
    odd = {user for role, _, user, *_, label in files.iter_rows() if by_row[role, user][2] != label}
    assert 1273 - len(odd) == 1268


def test_the_real_beauty(data_root: Path) -> None:
    folder = data_root / "paper-release" / "beauty"
    made = read(config(folder, repeats="first", given_texts=True), "beauty")
    assert made.interactions["user"].n_unique() == 624
    assert made.items.height == 1216 + 2
    appended = made.interactions.filter(pl.col("rating").is_null())
    assert appended.select("user", "item", "liked").rows() == [("273", "682", True), ("421", "399", True)]
    counts = agreement(made, folder)
    assert [counts[f"{role} label"] for role in ROLES] == [624, 624, 624]
    appended_agree = (2, 2, 2)  # users 273 and 421, whose targets the rows lack
    assert [counts[f"{role} items"] for role in ROLES] == [
        raw + more for raw, more in zip((617, 618, 618), appended_agree, strict=True)
    ]
    assert [counts[f"{role} misaligned"] for role in ROLES] == [5, 4, 6]
    assert made.given_profiles.height == 160
    assert made.given_descriptions.height == 1216 - 48
    notes = " / ".join(made.notes)
    assert "appended: 682 of user 273, 399 of user 421" in notes
    assert "left out: 229, 399, 880 (users 64, 215, 274, 401, 427)" in notes
    lengths = windows(folder).filter(role="train")["history"].list.len()
    assert (lengths.min(), lengths.max()) == (3, 5)


def test_the_real_ml_1m(data_root: Path) -> None:
    folder = data_root / "paper-release" / "ml-1m"
    made = read(config(folder, given_texts=True), "ml-1m")
    assert made.interactions["user"].n_unique() == 6040
    assert made.items.height == made.given_descriptions.height == 3883
    assert "blank rows of movies.csv, left out: 1" in made.notes
    assert made.given_profiles.height == 6040
    assert not made.has_times
    assert not any("do not end" in note for note in made.notes)
    counts = agreement(made, folder)
    assert all(counts[f"{role} {what}"] == 6040 for role in ROLES for what in ("items", "label"))
    lengths = windows(folder).filter(role="train")["history"].list.len()
    assert (lengths.min(), lengths.max()) == (2, 20)
