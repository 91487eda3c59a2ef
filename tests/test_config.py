"""A configuration is read strictly, and every mistake in it is told by file, field and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from reasoningrec.config import Config, Section, parse, read
from reasoningrec.errors import ConfigError

DEMO = 'name = "demo"\n[data]\nsource = "demo"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text, "utf-8")
    return path


def refused(folder: Path, text: str, **overrides: object) -> str:
    path = written(folder, text)
    with pytest.raises(ConfigError) as raised:
        read(path, **overrides)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert raised.value.exit_code == 2
    return message.replace(str(path), "FILE")


def with_data(lines: str, top: str = "") -> str:
    return f'name = "x"\n{top}\n[data]\n{lines}\n'


def test_the_least_configuration(tmp_path: Path) -> None:
    config = read(written(tmp_path, DEMO))
    assert (config.name, config.protocol, config.seed, config.data.source) == ("demo", "honest", 0, "demo")
    assert config.split.history == 10
    assert config.data.path == ""


def test_every_value_of_a_file_is_taken(tmp_path: Path) -> None:
    text = """
        name = "x"
        item_word = "film"
        protocol = "strict"
        seed = 3
        [data]
        source = "tables"
        path = "a.csv"
        scale = [0.5, 10]
        like_above = 7
        repeats = "first"
        [data.columns]
        user = "who"
        [split]
        history = 4
        train_windows = 0
        [train]
        heads = 2
        """
    config = read(written(tmp_path, text))
    assert (config.item_word, config.protocol, config.seed) == ("film", "strict", 3)
    assert (config.data.scale, config.data.like_above, config.data.repeats) == ((0.5, 10.0), 7.0, "first")
    assert (config.data.columns.user, config.split.history, config.split.train_windows) == ("who", 4, 0)
    assert config.train.heads == 2


def test_overrides_stand_in_for_the_files_values(tmp_path: Path) -> None:
    path = written(tmp_path, DEMO)
    assert read(path, protocol="strict", seed=5).protocol == "strict"
    assert read(path, protocol=None, seed=None) == read(path)
    assert "protocol" in refused(tmp_path, DEMO, protocol="generous")


def test_a_configuration_survives_json(tmp_path: Path) -> None:
    config = read(written(tmp_path, DEMO))
    assert Config.model_validate(config.model_dump(mode="json"), strict=False) == config


# Paths.


def test_a_relative_path_starts_at_the_files_folder(tmp_path: Path) -> None:
    config = read(written(tmp_path, with_data('source = "amazon"\npath = "r.json"\nitems = "../m.json"')))
    assert config.data.path == str((tmp_path / "r.json").resolve())
    assert config.data.items == str((tmp_path.parent / "m.json").resolve())


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    assert read(written(tmp_path, with_data('source = "amazon"\npath = "/r.json"'))).data.path == "/r.json"


def test_a_path_may_name_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = with_data('source = "amazon"\npath = "${SOME_PLACE}/r.json"')
    monkeypatch.setenv("SOME_PLACE", "/some/place")
    assert read(written(tmp_path, text)).data.path == "/some/place/r.json"
    monkeypatch.delenv("SOME_PLACE")
    message = refused(tmp_path, text)
    assert "data.path: the environment variable SOME_PLACE is not set" in message
    assert "export SOME_PLACE=FOLDER" in message


def test_a_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read(written(tmp_path, with_data('source = "amazon"\npath = "~/r.json"'))).data.path == "/home/me/r.json"


def test_the_home_of_nobody_is_an_error(tmp_path: Path) -> None:
    message = refused(tmp_path, with_data('source = "amazon"\npath = "~nobody-of-that-name/r.json"'))
    assert "data.path" in message


def test_a_path_with_a_zero_byte_is_an_error(tmp_path: Path) -> None:
    for value in ("a\\u0000b", "/a\\u0000b"):
        assert "data.path" in refused(tmp_path, with_data(f'source = "amazon"\npath = "{value}"'))


# Files that cannot be read.


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as raised:
        read(tmp_path / "none.toml")
    assert "init" in raised.value.hint


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        read(tmp_path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path, encoding: str) -> str:
        raise PermissionError(13, "no", str(path))

    path = written(tmp_path, DEMO)
    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(ConfigError, match="may not be read"):
        read(path)


def test_a_path_through_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        read(written(tmp_path, DEMO) / "c.toml")


def test_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes('name = "Müller"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 9\)"):
        read(path)


@pytest.mark.parametrize(
    "text", ["name = ", "[data", "name = demo", 'name = "a"\nname = "b"', '"a\\q"= 1', DEMO + "[data]\n", "= 3"]
)
def test_no_toml(text: str, tmp_path: Path) -> None:
    assert re.match(r"FILE: is not valid TOML: .*(?:line|end of)", refused(tmp_path, text))


@pytest.mark.parametrize("text", [f"seed = {'9' * 5000}", f"a = {'[' * 100_000}"])
def test_toml_that_no_reader_takes(text: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith("FILE: is not valid TOML: ")


# Keys.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam = 1\n" + DEMO, "nam: unknown key; did you mean `name`?"),
        ("protokol = 1\n" + DEMO, "protokol: unknown key; did you mean `protocol`?"),
        (DEMO + "user = 3\n", "data.user: unknown key; did you mean `users`?"),
        (DEMO + "[splits]\n", "splits: unknown key; did you mean `split`?"),
        (DEMO + "[split]\nhistroy = 3\n", "split.histroy: unknown key; did you mean `history`?"),
        (DEMO + "[train]\nlearningrate = 0.1\n", "train.learningrate: unknown key; did you mean `learning_rate`?"),
        (DEMO + "[data.columns]\nitm = 'x'\n", "data.columns.itm: unknown key; did you mean `item`?"),
        (DEMO + "[report]\nxyz = 3\n", "report.xyz: unknown key; known keys: samples"),
        (DEMO + "[split]\n'' = 3\n", "split.: unknown key; known keys: history, tests_per_user, train_windows"),
    ],
)
def test_an_unknown_key_names_the_nearest(text: str, message: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == f"FILE: {message}"


@pytest.mark.parametrize(
    ("text", "field"),
    [("[data]\nsource = 'demo'\n", "name"), ("name = 'x'\n", "data"), ("name = 'x'\n[data]\n", "data.source")],
)
def test_a_key_that_is_needed(text: str, field: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith(f"FILE: {field}: Field required")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    lines = refused(tmp_path, DEMO + "[split]\nhistory = 0\nhistroy = 3\n[report]\nsamples = 'x'\n").splitlines()
    assert len(lines) == 3
    assert all(line.startswith("FILE: ") for line in lines)


# Values.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEMO + "[split]\nhistory = '4'\n", "split.history: Input should be a valid integer (got '4')"),
        (DEMO + "[split]\nhistory = 4.0\n", "split.history: Input should be a valid integer (got 4.0)"),
        (DEMO + "[split]\nhistory = true\n", "split.history: Input should be a valid integer (got True)"),
        (DEMO + "[split]\nhistory = 0\n", "split.history: Input should be greater than or equal to 1 (got 0)"),
        (DEMO + "[split]\nhistory = 101\n", "split.history: Input should be less than or equal to 100 (got 101)"),
        (
            DEMO + "[split]\ntrain_windows = -1\n",
            "split.train_windows: Input should be greater than or equal to 0 (got -1)",
        ),
        (DEMO + "[evidence]\nsmoothing = 0\n", "evidence.smoothing: Input should be greater than 0 (got 0)"),
        (DEMO + "[evidence]\nsmoothing = inf\n", "evidence.smoothing: Input should be a finite number (got inf)"),
        (DEMO + "[evidence]\nneighbours = 1\n", "evidence.neighbours: Input should be a valid boolean (got 1)"),
        (DEMO + "[train]\nlearning_rate = 1\n", "train.learning_rate: Input should be less than 1 (got 1)"),
        (DEMO + "[train]\nlearning_rate = nan\n", "train.learning_rate: Input should be a finite number (got nan)"),
        (DEMO + "[train]\nbase = ''\n", "train.base: String should have at least 1 character (got '')"),
        (DEMO + "[evaluate]\nlevel = 0.5\n", "evaluate.level: Input should be greater than 0.5 (got 0.5)"),
        (DEMO + "users = 59\n", "data.users: Input should be greater than or equal to 60 (got 59)"),
        (DEMO + "seed = -1\n", "data.seed: Input should be greater than or equal to 0 (got -1)"),
        ("seed = -1\n" + DEMO, "seed: Input should be greater than or equal to 0 (got -1)"),
        ("seed = 4294967296\n" + DEMO, "seed: Input should be less than or equal to 4294967295 (got 4294967296)"),
        ("item_word = ''\n" + DEMO, "item_word: String should have at least 1 character (got '')"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range(text: str, message: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == f"FILE: {message}"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("name = 'a b'\n[data]\nsource = 'demo'\n", "name: String should match pattern"),
        ("name = '../up'\n[data]\nsource = 'demo'\n", "name: String should match pattern"),
        ("name = ''\n[data]\nsource = 'demo'\n", "name: String should match pattern"),
        (
            with_data("source = 'demon'"),
            "data.source: Input should be 'movielens', 'amazon', 'tables', 'release' or 'demo'",
        ),
        ("name = 'x'\ndata = 'demo'\n", "data: Input should be a valid dictionary or instance of DataConfig"),
        ("protocol = 'fair'\n" + DEMO, "protocol: Input should be 'honest', 'strict' or 'paper'"),
        (DEMO + "scale = 5\n", "data.scale: Input should be a list, in square brackets"),
        (DEMO + "scale = [1, 2, 3]\n", "data.scale: List should have at most 2 items"),
        (DEMO + "scale = ['a', 2]\n", "data.scale.0: Input should be a valid number"),
        (DEMO + "[baselines]\nveiled = []\n", "baselines.veiled: List should have at least 1 item"),
        (DEMO + "on_bad_rows = 'ignore'\n", "data.on_bad_rows: Input should be 'stop' or 'skip'"),
        (DEMO + "[[split]]\nhistory = 3\n", "split: Input should be a valid dictionary"),
    ],
)
def test_more_values_that_are_refused(text: str, start: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith(f"FILE: {start}")


# Rules across fields.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_data("source = 'amazon'"), 'data.path: is needed for source = "amazon"'),
        (
            with_data("source = 'release'\npath = 'p'\ngiven_texts = true"),
            'data.given_texts: the given texts leak, so protocol = "honest" may not use them\n'
            '  hint: Set given_texts = false, or protocol = "paper".',
        ),
        (
            with_data("source = 'release'\npath = 'p'\ngiven_texts = true", "protocol = 'strict'"),
            'data.given_texts: the given texts leak, so protocol = "strict" may not use them\n'
            '  hint: Set given_texts = false, or protocol = "paper".',
        ),
        (
            with_data("source = 'amazon'\npath = 'p'\ngiven_texts = true", "protocol = 'paper'"),
            'data.given_texts: only source = "release" has given texts',
        ),
        (DEMO + "scale = [5, 1]\n", "data.scale: the first number must be below the second"),
        (DEMO + "scale = [1, 1]\n", "data.scale: the first number must be below the second"),
        (DEMO + "like_above = 5\n", "data.like_above: 5.0 leaves no rating of the scale on one side"),
        (DEMO + "like_above = 0.5\n", "data.like_above: 0.5 leaves no rating of the scale on one side"),
        (
            DEMO + "[baselines]\nshots = 1\n",
            "baselines.shots: one window holds one answer, like or dislike\n  hint: 0 = all there are, or 2 and more.",
        ),
        (DEMO + "[train]\nheads = 3\n", "train.hidden: must be an even multiple of train.heads (3)"),
        (DEMO + "[train]\nhidden = 20\n", "train.hidden: must be an even multiple of train.heads (4)"),
    ],
)
def test_rules_across_fields(text: str, message: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == f"FILE: {message}"


def test_given_texts_are_for_paper(tmp_path: Path) -> None:
    text = with_data("source = 'release'\npath = 'p'\ngiven_texts = true", "protocol = 'paper'")
    assert read(written(tmp_path, text)).data.given_texts
    assert "leak" in refused(tmp_path, text, protocol="honest")


# The record.


def sections(section: type[Section]) -> list[type[Section]]:
    inner = [field.annotation for field in section.model_fields.values()]
    found = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Section)]
    return [section, *(deeper for kind in found for deeper in sections(kind))]


def test_every_section_is_frozen_strict_and_closed() -> None:
    assert len(sections(Config)) == 19
    for section in sections(Config):
        assert section.model_config["frozen"]
        assert section.model_config["extra"] == "forbid"
    config = parse({"name": "x", "data": {"source": "demo"}}, Path("c.toml"))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4  # type: ignore[misc]


def test_defaults_obey_their_own_rules() -> None:
    for section in sections(Config):
        values = {name: field.default for name, field in section.model_fields.items() if not field.is_required()}
        needed = {name: field for name, field in section.model_fields.items() if field.is_required()}
        known = {"name": "x", "source": "demo", "data": {"source": "demo"}}
        made = section.model_validate(values | {name: known[name] for name in needed})
        assert {name: getattr(made, name) for name in values} == values


def test_reading_a_configuration_imports_no_torch() -> None:
    heavy = "('torch', 'polars', 'sklearn')"
    code = f"import sys, reasoningrec.config; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Models, prices, given texts.

ASKED = DEMO + '[teacher]\nendpoint = "http://127.0.0.1:8000/v1"\nmodel = "m"\n'


def test_a_teacher_on_a_server(tmp_path: Path) -> None:
    text = ASKED + 'key_env = "SOME_KEY"\nextra = {reasoning_effort = "low"}\nleave_out = ["seed"]\n'
    config = read(written(tmp_path, text + '[prices."m"]\ninput = 0.5\noutput = 1\n[budget]\ncost = 2.5\n'))
    assert (config.teacher.endpoint, config.teacher.model) == ("http://127.0.0.1:8000/v1", "m")
    assert config.teacher.extra == {"reasoning_effort": "low"}
    assert (config.prices["m"].output, config.budget.cost) == (1.0, 2.5)
    assert Config.model_validate(config.model_dump(mode="json"), strict=False).teacher == config.teacher


def test_a_model_beside_the_configuration_is_found_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    model = read(written(tmp_path, DEMO + '[teacher]\nmodel = "small"\n')).teacher.model
    assert model == str((tmp_path / "small").resolve())
    assert read(written(tmp_path, DEMO + '[teacher]\nmodel = "some/hub-id"\n')).teacher.model == "some/hub-id"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ASKED.replace('model = "m"\n', ""), "teacher.model: is needed"),
        (ASKED.replace("http://", ""), "teacher.endpoint: is no http(s) address"),
        (ASKED.replace("8000", "eight"), "teacher.endpoint: is no http(s) address"),
        (ASKED.replace("127.0.0.1", ""), "teacher.endpoint: is no http(s) address"),
        (ASKED + "[judge]\ntemperature = 1.0\n", "judge.model: is needed"),
        (ASKED + "[budget]\ncost = 1.0\n", "budget.cost: there is no price for m"),
        (ASKED + '[prices."m"]\ninput = 0.5\n', "prices.m.output: Field required"),
        (ASKED + '[prices."m"]\ninput = 0.5\noutput = 1\noutptu = 1\n', "unknown key; did you mean `output`?"),
        (ASKED + "concurency = 3\n", "teacher.concurency: unknown key; did you mean `concurrency`?"),
        (ASKED + "extra = {messages = []}\n", "teacher.extra.messages: is set by the package"),
        (ASKED + "extra = {a = nan}\n", "teacher.extra: holds what no request can"),
        (ASKED + "extra = {a = 2026-01-01}\n", "teacher.extra: holds what no request can"),
        (ASKED.replace("127.0.0.1", "a..b"), "teacher.endpoint: is no http(s) address"),
        (ASKED + 'leave_out = ["model"]\n', "teacher.leave_out"),
        (DEMO + '[texts]\nprofiles = "p.csv"\n', "texts.profiles: a text from elsewhere may know"),
        (DEMO + '[verify]\ngates = ["stile"]\n', "verify.gates"),
    ],
)
def test_what_no_model_can_be_asked_with(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        ASKED.replace("http://", "http://me:sk-secret-77@"),
        ASKED.replace("/v1", "/v1?key=sk-secret-77"),
        ASKED + 'key_env = "sk-secret-77"\n',
        ASKED + 'extra = {api_key = "sk-secret-77"}\n',
        ASKED + 'api_key = "sk-secret-77"\n',
        ASKED + 'extra = {headers = {authorization = "sk-secret-77"}}\n',
        'teacher = "sk-secret-77"\n' + DEMO,
        ASKED + 'key_env = ["sk-secret-77"]\n',
    ],
)
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    assert "sk-secret-77" not in refused(tmp_path, text)
