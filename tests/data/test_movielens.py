"""MovieLens in its three layouts, and the facts of the real 100K."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoningrec.config import DataConfig
from reasoningrec.data.movielens import GENRES, files, read

LISTED = [("1", "Toy Story (1995)", ["Animation", "Comedy"]), ("2", "Été (1996)", [])]


def config(folder: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"source": "movielens", "path": str(folder), **values})


def write_100k(folder: Path) -> None:
    (folder / "u.data").write_text("7\t1\t5\t100\n7\t2\t3\t90\n", encoding="utf-8")
    marks = {"1": {"Animation", "Comedy"}, "2": {"unknown"}}
    lines = [
        "|".join([item, title, "01-Jan-1995", "", "", *("1" if genre in marks[item] else "0" for genre in GENRES)])
        for item, title, _ in LISTED
    ]
    (folder / "u.item").write_bytes("\n".join(lines).encode("latin-1"))


def write_1m(folder: Path) -> None:
    (folder / "ratings.dat").write_text("7::1::5::100\n7::2::3::90\n", encoding="utf-8")
    lines = "1::Toy Story (1995)::Animation|Comedy\n2::Été (1996)::\n"
    (folder / "movies.dat").write_bytes(lines.encode("latin-1"))


def write_latest(folder: Path) -> None:
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,1,5.0,100\n7,2,3.0,90\n", encoding="utf-8")
    lines = 'movieId,title,genres\n1,"Toy Story (1995)",Animation|Comedy\n2,Été (1996),(no genres listed)\n'
    (folder / "movies.csv").write_text(lines, encoding="utf-8")


@pytest.mark.parametrize("write", [write_100k, write_1m, write_latest])
def test_each_layout_is_recognised_by_its_files(tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path)
    made = read(config(tmp_path), "ml")
    assert made.interactions.rows() == [(0, "7", "1", 5.0, True, 100), (1, "7", "2", 3.0, False, 90)]
    assert made.items.select("item", "title", "categories").rows() == LISTED
    assert made.name == "ml"
    assert not made.notes
    assert len(files(config(tmp_path))) == 2


def test_half_stars_need_their_scale(tmp_path: Path) -> None:
    write_latest(tmp_path)
    with (tmp_path / "ratings.csv").open("a", encoding="utf-8") as stream:
        stream.write("8,1,0.5,100\n")
    made = read(config(tmp_path, scale=(0.5, 5.0)), "ml")
    assert made.interactions["rating"].to_list() == [5.0, 3.0, 0.5]


def test_the_real_100k(data_root: Path) -> None:
    made = read(config(data_root / "ml-100k"), "ml-100k")
    assert made.interactions.height == 100_000
    assert made.interactions["user"].n_unique() == 943
    assert made.items.height == made.interactions["item"].n_unique() == 1682
    assert files(config(data_root / "ml-100k"))["u.data"].stat().st_size == 1_979_173
    assert "Misérables, Les (1995)" in made.items["title"].to_list()
    assert made.items.filter(item="1")["categories"].to_list() == [["Animation", "Children's", "Comedy"]]
    assert made.has_times
