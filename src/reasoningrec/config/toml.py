"""TOML -> one typed record, strictly: an unknown key is an error that names the nearest right one."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from reasoningrec.config.sections import NANO, Config, ModelConfig
from reasoningrec.errors import ConfigError
from reasoningrec.prompts import SETS

SECRET = re.compile(r"(?:^|[_-])(?:api[_-]?key|key|secret|password|authorization|token)$", re.IGNORECASE)
"""Names of request fields that look as if they held a secret."""
NO_SECRETS = ("prompt_cache_key",)
"""Names of fields that only look so."""
OWN_FIELDS = ("endpoint", "messages", "model", "stream", "n", "response_format")
"""Fields of a request that are ours to set."""
ZERO_SHOT: Final = "zero-shot"
"""How the methods begin that ask a model which was taught nothing."""
TOML_WORDS: Final = {"tuple_type": "Input should be a list, in square brackets"}
"""What an error of a check is called where its own words speak of Python."""
OF_PREDICT = ("temperature", "top_p", "max_new_tokens", "answer_form", "tokenizer", "batch_size")
"""Fields of a model that mean nothing for a served student: `[predict]` says how it writes."""
OF_SCORING = ("prompt", "max_tokens", "temperature", "seed", "stop", "echo", "logprobs")
"""Further fields of a request that are ours to set, where it goes to a served student."""
MODES = {
    "label-first": ("predict-first", "predict-only"),
    "reason-first": ("reason-first",),
    "decision-only": ("predict-only",),
}
"""How a student can be asked, by what it learned to say."""


def read(path: Path, **overrides: object) -> Config:
    """Read and check a TOML configuration.

    Args:
        path: the file.
        overrides: top-level values that stand in for the file's (`protocol`, `seed`), None = as in the file.

    Raises:
        ConfigError: the file is missing or malformed, a key is unknown, a value is out of range, or a path names an
            environment variable that is not set.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="`reasoningrec init` writes one to start from.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, not a configuration file") from None
    except PermissionError:
        raise ConfigError(f"{path}: may not be read", hint="Check the file's permissions.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or a number of thousands of digits
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    raw.update({key: value for key, value in overrides.items() if value is not None})
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> Config:
    """Check `raw` as the content of `path`, and make its data paths absolute. Raises ConfigError."""
    try:
        config = Config.model_validate(_tuples(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, detail) for detail in _own(error.errors()))) from None
    config = _placed(config, path)
    for check in (_check_data, _check_models, _check_texts, _check_student, _check_served, _check_shots):
        check(config, path)
    return config


def _placed(config: Config, path: Path) -> Config:
    """`config` with absolute paths."""
    data = {key: _place(getattr(config.data, key), f"data.{key}", path) for key in ("path", "items")}
    keys = ["descriptions", "profiles", "rationales"]
    if config.texts.prompts not in SETS:
        keys.append("prompts")
    texts = {key: _place(getattr(config.texts, key), f"texts.{key}", path) for key in keys}
    models = {name: _found_beside(getattr(config, name), path) for name in ("teacher", "judge")}
    base = config.train.base if config.train.base == NANO else _beside(config.train.base, path)
    return config.model_copy(
        update={
            **models,
            "train": config.train.model_copy(update={"base": base}),
            "data": config.data.model_copy(update=data),
            "texts": config.texts.model_copy(update=texts),
            "cache": _place(config.cache, "cache", path),
        }
    )


def _found_beside(model: ModelConfig, path: Path) -> ModelConfig:
    """With whole paths: of the tokenizer, and of a model that is a folder beside the configuration."""
    name = model.model if model.endpoint or not model.model else _beside(model.model, path)
    return model.model_copy(update={"model": name, "tokenizer": _place(model.tokenizer, "tokenizer", path)})


def _beside(model: str, path: Path) -> str:
    """The whole path of a model that is a folder beside the configuration; any other name as it is."""
    folder = path.parent / model
    return str(folder.resolve()) if folder.is_dir() else model


def _check_data(config: Config, path: Path) -> None:
    data = config.data
    if data.source != "demo" and not data.path:
        raise ConfigError(f'{path}: data.path: is needed for source = "{data.source}"')
    if data.given_texts and config.protocol != "paper":
        raise ConfigError(
            f'{path}: data.given_texts: the given texts leak, so protocol = "{config.protocol}" may not use them',
            hint='Set given_texts = false, or protocol = "paper".',
        )
    if data.given_texts and data.source != "release":
        raise ConfigError(f'{path}: data.given_texts: only source = "release" has given texts')
    if data.scale[0] >= data.scale[1]:
        raise ConfigError(f"{path}: data.scale: the first number must be below the second")
    if not data.scale[0] <= data.like_above < data.scale[1]:
        raise ConfigError(f"{path}: data.like_above: {data.like_above} leaves no rating of the scale on one side")


def _check_student(config: Config, path: Path) -> None:
    train, mode = config.train, config.predict.mode
    nano = train.base == NANO
    if nano and (train.hidden % train.heads or (train.hidden // train.heads) % 2):
        raise ConfigError(f"{path}: train.hidden: must be an even multiple of train.heads ({train.heads})")
    if nano and train.order == "reason-first":
        hint = "Name another base: nano's texts are planned from the decision."
        raise ConfigError(f'{path}: train.order: base = "nano" cannot learn to reason first', hint=hint)
    if train.order == "reason-first" and config.texts.prompts == "paper":
        hint = 'Set train.order = "label-first", or texts.prompts = "cited".'
        raise ConfigError(f"{path}: train.order: the student of the paper's prompts decides first", hint=hint)
    if train.order == "reason-first" and "rationales" in config.without:
        hint = 'Set train.order = "decision-only".'
        raise ConfigError(f"{path}: without: a student that has no rationales cannot learn to reason first", hint=hint)
    if train.precision == "4bit" and (nano or not train.lora_rank):
        hint = 'Set train.lora_rank, or precision = "bfloat16".'
        raise ConfigError(f'{path}: train.precision: "4bit" is for the frozen weights under an adapter', hint=hint)
    if mode not in (modes := MODES[train.order]):
        hint = f"It can be {' or '.join(modes)}."
        raise ConfigError(f'{path}: predict.mode: "{mode}" does not fit train.order = "{train.order}"', hint=hint)


def _check_shots(config: Config, path: Path) -> None:
    for field, shots in (("train", config.train.shots), ("baselines", config.baselines.shots)):
        if shots == 1:
            hint = "0 = all there are, or 2 and more."
            raise ConfigError(f"{path}: {field}.shots: one window holds one answer, like or dislike", hint=hint)


def _check_served(config: Config, path: Path) -> None:
    served = config.student
    if not served.endpoint and served != ModelConfig():
        hint = 'For example "http://127.0.0.1:8000/v1"; leave [student] out where the student answers on this machine.'
        raise ConfigError(f"{path}: student.endpoint: is needed: the server's address", hint=hint)
    if unused := [name for name in OF_PREDICT if name in served.model_fields_set]:
        hint = "Remove it; [predict] says how a student writes, and its tokenizer is the run's own."
        raise ConfigError(f"{path}: student.{unused[0]}: means nothing for a student on a server", hint=hint)
    if ours := [name for name in OF_SCORING if name in served.extra]:
        raise ConfigError(f"{path}: student.extra.{ours[0]}: is set by the package", hint="Remove it.")


def _check_models(config: Config, path: Path) -> None:
    for name, settings in (("teacher", config.teacher), ("judge", config.judge), ("student", config.student)):
        for field, problem, hint in _problems(settings):
            raise ConfigError(f"{path}: {name}.{field}: {problem}", hint=hint)
    if config.teacher.offline and (asking := [name for name in config.baselines.methods if name.startswith(ZERO_SHOT)]):
        hint = "Name it in [teacher]."
        raise ConfigError(f'{path}: baselines.methods: "{asking[0]}" asks a model, and there is none', hint=hint)
    if config.judge.offline and config.judge != ModelConfig():
        raise ConfigError(f"{path}: judge.model: is needed: the judge is a model", hint="Or leave [judge] out.")
    models = {settings.model for settings in (config.teacher, config.judge, config.student) if settings.endpoint}
    if config.budget.cost and (missing := sorted(models - config.prices.keys())):
        raise ConfigError(
            f"{path}: budget.cost: there is no price for {missing[0]}",
            hint=f'Add [prices."{missing[0]}"] with input and output, per million tokens.',
        )


def _problems(settings: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong, what to do); never repeats a value that may be a secret."""
    if settings.endpoint:
        try:
            parts = urlsplit(settings.endpoint)
            whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
            (parts.hostname or "").encode("idna")
        except ValueError:  # UnicodeError among them
            whole = False
        if not whole:
            yield "endpoint", "is no http(s) address", 'For example "http://127.0.0.1:8000/v1".'
        elif parts.username or parts.password or parts.query or parts.fragment:
            yield "endpoint", "may hold no name, password or query", "Keys come from the environment: `key_env`."
        if not settings.model:
            yield "model", "is needed: the name of the model on the server", "The server lists them under /models."
    if settings.key_env and not re.fullmatch(r"[A-Z][A-Z0-9_]*", settings.key_env):
        yield "key_env", "is no name of an environment variable (capitals, digits, _)", "Name it; do not write the key."
    yield from _problems_of_extra(settings.extra)


def _problems_of_extra(extra: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for field in extra:
        if field in OWN_FIELDS:
            yield f"extra.{field}", "is set by the package", "Remove it."
    for place, name in _names(extra, "extra"):
        if SECRET.search(name) and name not in NO_SECRETS:
            yield place, "looks like a secret, which a configuration may not hold", "See `key_env`."
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError):
        yield "extra", "holds what no request can: a date, or a number that is none", "Write texts and plain numbers."


def _names(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """(where it stands, name) of every name in a nested value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{place}.{name}", str(name)
            yield from _names(inner, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner, place)


def _check_texts(config: Config, path: Path) -> None:
    texts = config.texts
    given = [name for name in ("descriptions", "profiles", "rationales") if getattr(texts, name)]
    if given and config.protocol != "paper" and not texts.vouched:
        raise ConfigError(
            f'{path}: texts.{given[0]}: a text from elsewhere may know what protocol = "{config.protocol}" forbids',
            hint="Set texts.vouched = true where you know that none was written from a review or rating of a target, "
            'or protocol = "paper".',
        )
    if config.data.given_texts and any(name != "rationales" for name in given):
        raise ConfigError(f"{path}: texts.{given[0]}: data.given_texts gives these already", hint="Choose one.")


def _tuples(value: Any) -> Any:
    """TOML has no tuples: lists of numbers stand for them; strict checks would refuse the list."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _own(details: Sequence[Any]) -> list[Any]:
    """Without those that only follow from another: a list is told to be short by each value of it that is wrong."""
    wrong = {detail["loc"][:-1] for detail in details}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in wrong]


def _explain(path: Path, detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        value = detail["input"]  # lists are read as tuples
        got = "" if _may_be_secret(detail) else f" (got {list(value) if isinstance(value, tuple) else value!r})"
        says = TOML_WORDS.get(detail["type"], detail["msg"].replace("Tuple", "List"))
        return f"{path}: {where}: {says}{got}" if where else f"{path}: {says}"
    section: Any = Config
    for part in detail["loc"][:-1]:
        fields = getattr(section, "model_fields", {})
        section = fields[str(part)].annotation if part in fields else (get_args(section) or (BaseModel,))[-1]
    near = difflib.get_close_matches(str(detail["loc"][-1]), section.model_fields, n=1)
    known = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(section.model_fields)}"
    return f"{path}: {where}: unknown key; {known}"


def _may_be_secret(detail: Any) -> bool:
    """Whether what was given had better not be repeated: a text where a section or a name of a variable is wanted."""
    where = str(detail["loc"][-1]) if detail["loc"] else ""
    section = detail["type"] in ("model_type", "dict_type", "tuple_type")
    return (
        bool(SECRET.search(where)) or where == "key_env" or (section and not isinstance(detail["input"], int | float))
    )


def _place(value: str, field: str, path: Path) -> str:
    if not value:
        return ""
    if "\0" in value:
        raise ConfigError(f"{path}: {field}: {value!r} is no path: it holds a zero byte")

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{path}: {field}: the environment variable {match[1]} is not set",
                hint=f"export {match[1]}=FOLDER, or write the path out.",
            )
        return os.environ[match[1]]

    try:
        place = Path(re.sub(r"\$\{(\w+)\}", variable, value)).expanduser()
        return str(place if place.is_absolute() else (path.parent / place).resolve())
    except RuntimeError as error:  # "~somebody" who has no home
        raise ConfigError(f"{path}: {field}: {value!r} is no path: {error}") from None
