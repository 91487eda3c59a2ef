"""TOML -> one typed record, strictly: an unknown key is an error that names the nearest right one.

Each stage has its own small section and is handed only that. `protocol` and `seed` stand at the top because several
stages obey them.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoningrec.errors import ConfigError

Protocol = Literal["honest", "strict", "paper"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrOff = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Section(BaseModel):
    """Frozen, no unknown keys, and no silent conversion between types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Columns(Section):
    """Which column of the user's own tables holds what; used by `source = "tables"` only."""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    """"" = there is none: every row counts as a like."""
    time: str = ""
    """Unix seconds, an ISO date or date-time; "" = there is none, and time is unknown."""
    review: str = ""
    summary: str = ""
    item_id: str = "item"
    """In the items table."""
    title: str = "title"
    brand: str = ""
    price: str = ""
    categories: str = ""
    """A list, or text parted by "|"."""
    details: str = ""


class DataConfig(Section):
    """Where the data are and by which rules they are read."""

    source: Literal["movielens", "amazon", "tables", "release", "demo"]
    path: str = ""
    """A folder or file; `${NAME}` is taken from the environment. A relative path starts at the config file's folder."""
    items: str = ""
    """`amazon`: metadata file; `tables`: items table. "" = none: titles fall back to the item's id (and style)."""
    like_above: float = 3.0
    """Like = rating above this."""
    scale: tuple[float, float] = (1.0, 5.0)
    """Ratings outside are bad rows. `release` windows and tables without ratings ignore it."""
    repeats: Literal["keep", "first"] = "keep"
    """A (user, item) seen again: "keep" each row's own rating, or give each the "first" one (the paper's way)."""
    on_bad_rows: Literal["stop", "skip"] = "stop"
    given_texts: bool = False
    """`release`: read the authors' LLM-written descriptions and profiles. Needs protocol = "paper": they leak."""
    columns: Columns = Columns()
    seed: Seed = 7
    """`demo` only: seed of the made shop."""
    users: Annotated[int, Field(ge=60, le=20000)] = 400
    """`demo` only."""


class SplitConfig(Section):
    """Which interactions are asked about, and how much of the past a prompt shows."""

    history: Annotated[int, Field(ge=1, le=100)] = 10
    """k: reactions before the target (paper: Fashion 4, Beauty 5, MovieLens 20)."""
    tests_per_user: Count = 1
    train_windows: CountOrOff = 1
    """Train targets per user, latest first; 0 = every earlier row that has a past. The paper uses 1."""


class EvidenceConfig(Section):
    """How counts become facts."""

    smoothing: Annotated[float, Field(gt=0)] = 5.0
    """Pseudo-reactions with which a share is drawn towards its base rate."""
    neighbours: bool = True
    """Whether to count what those who liked [Hj] did with the target."""


class DescribeConfig(Section):
    """Item texts."""

    words: Annotated[int, Field(ge=5, le=400)] = 25
    """At most (paper: 25)."""
    max_reviews: Annotated[int, Field(ge=1, le=512)] = 32
    """At most this many earliest allowed reviews of an item are read."""


class ProfileConfig(Section):
    """User texts."""

    words: Annotated[int, Field(ge=10, le=800)] = 100
    """At most (paper: 100)."""


class ReasonConfig(Section):
    """Rationales for train examples, whose label the writer is told (paper: label-conditioned)."""

    shots: CountOrOff = 0
    """Rationales to write, balanced over labels; 0 = one for every train window."""
    taste_words: Annotated[int, Field(ge=5, le=400)] = 60
    why_words: Annotated[int, Field(ge=5, le=400)] = 80
    max_reasons: Annotated[int, Field(ge=1, le=9)] = 3


class TrainConfig(Section):
    """The student."""

    base: Literal["nano"] = "nano"
    hidden: Annotated[int, Field(ge=16, le=2048)] = 128
    layers: Annotated[int, Field(ge=1, le=48)] = 4
    heads: Annotated[int, Field(ge=1, le=32)] = 4
    vocabulary: Annotated[int, Field(ge=600, le=65536)] = 4096
    max_tokens: Annotated[int, Field(ge=64, le=8192)] = 320
    """Prompt and completion together; history and descriptions are shortened to fit, never the target or label."""
    epochs: Count = 6
    batch_tokens: Annotated[int, Field(ge=64)] = 2048
    """Tokens in a batch, padding included."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    warmup: Share = 0.1
    """Share of the steps."""
    decision_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the decision token's loss beside the mean loss over the text's tokens."""
    text_weight: Annotated[float, Field(ge=0)] = 1.0
    patience: CountOrOff = 2
    """Epochs without a better valid AUC before training stops; 0 = never."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20.0
    """Least time between checkpoints; 0 = after every step."""


class PredictConfig(Section):
    """Scores, the fused decision and its explanation."""

    batch_tokens: Annotated[int, Field(ge=64)] = 16384
    explain: CountOrOff = 0
    """Test queries to explain, in id order; 0 = all."""
    max_new_tokens: Annotated[int, Field(ge=16, le=1024)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.6
    """How freely the student chooses words; 0 = always the likeliest. Draws are seeded by the query's id."""
    tries: Annotated[int, Field(ge=1, le=20)] = 6
    """Texts the student may write until one passes every gate; then the rule writer stands in."""


class EvaluateConfig(Section):
    """Measures and intervals."""

    resamples: Annotated[int, Field(ge=100, le=100000)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bins: Annotated[int, Field(ge=2, le=100)] = 10


class ReportConfig(Section):
    """What the report shows."""

    samples: Annotated[int, Field(ge=1, le=500)] = 20


class Config(Section):
    """One run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The dataset's name in results: fashion, ml-100k, ..."""
    item_word: Annotated[str, Field(min_length=1, max_length=30)] = "item"
    """What one calls an item: movie, product, book."""
    protocol: Protocol = "honest"
    seed: Seed = 0
    threads: CountOrOff = 0
    """CPU threads of the student; 0 = all cores."""
    data: DataConfig
    split: SplitConfig = SplitConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    describe: DescribeConfig = DescribeConfig()
    profile: ProfileConfig = ProfileConfig()
    reason: ReasonConfig = ReasonConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()


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
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    raw.update({key: value for key, value in overrides.items() if value is not None})
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> Config:
    """Check `raw` as the content of `path`, and make its data paths absolute. Raises ConfigError."""
    try:
        config = Config.model_validate(_tuples(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, detail) for detail in error.errors())) from None
    data = config.data
    places = {key: _place(getattr(data, key), key, path) for key in ("path", "items")}
    config = config.model_copy(update={"data": data.model_copy(update=places)})
    _check_across(config, path)
    return config


def _check_across(config: Config, path: Path) -> None:
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
    if config.train.hidden % config.train.heads or (config.train.hidden // config.train.heads) % 2:
        raise ConfigError(f"{path}: train.hidden: must be an even multiple of train.heads ({config.train.heads})")


def _tuples(value: Any) -> Any:
    """TOML has no tuples: lists of numbers stand for them; strict checks would refuse the list."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _explain(path: Path, detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return f"{path}: {where}: {detail['msg']} (got {detail['input']!r})" if where else f"{path}: {detail['msg']}"
    section: type[BaseModel] = Config
    for part in detail["loc"][:-1]:
        section = cast(type[BaseModel], section.model_fields[str(part)].annotation)
    near = difflib.get_close_matches(str(detail["loc"][-1]), section.model_fields, n=1)
    known = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(section.model_fields)}"
    return f"{path}: {where}: unknown key; {known}"


def _place(value: str, key: str, path: Path) -> str:
    if not value:
        return ""
    if "\0" in value:
        raise ConfigError(f"{path}: data.{key}: {value!r} is no path: it holds a zero byte")

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{path}: data.{key}: the environment variable {match[1]} is not set",
                hint=f"export {match[1]}=FOLDER, or write the path out.",
            )
        return os.environ[match[1]]

    try:
        place = Path(re.sub(r"\$\{(\w+)\}", variable, value)).expanduser()
        return str(place if place.is_absolute() else (path.parent / place).resolve())
    except RuntimeError as error:  # "~somebody" who has no home
        raise ConfigError(f"{path}: data.{key}: {value!r} is no path: {error}") from None
