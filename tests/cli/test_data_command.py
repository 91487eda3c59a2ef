"""`reasoningrec data check`: what it prints on a configuration, a folder, a file."""

from __future__ import annotations

from pathlib import Path

from running import Cli

CSV = "user,item,rating,time\n" + "".join(
    f"u{n},i{m},{1 + (n * m) % 5},{1_600_000_000 + 86_400 * m}\n" for n in range(8) for m in range(5)
)


def test_a_configuration_is_checked(cli: Cli, small_config: Path) -> None:
    shown = cli("data", "check", small_config)
    assert shown.code == 0
    for word in ("demo (source: demo)", "found", "odd", "would happen", "users", "twins", "cold test target"):
        assert word in shown.out


def test_a_bare_file_is_recognised(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(CSV, "utf-8")
    shown = cli("data", "check", tmp_path / "shop.csv", "--history", 2)
    assert shown.code == 0
    assert "shop (source: tables)" in shown.out
    assert "test histories shorter than 2" in shown.out
    assert "2020-09-13 to 2020-09-17 (UTC)" in shown.out


def test_bad_rows_can_be_left_out(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(CSV + "u1,i9,many,5\n", "utf-8")
    assert cli("data", "check", path).code == 2
    shown = cli("data", "check", path, "--skip-bad-rows")
    assert shown.code == 0
    assert "shop.csv:42" in shown.out


def test_it_changes_nothing(cli: Cli, small_config: Path) -> None:
    before = sorted(small_config.parent.rglob("*"))
    cli("data", "check", small_config)
    assert sorted(small_config.parent.rglob("*")) == before
