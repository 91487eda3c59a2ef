"""A run's artifacts as arrays and records, read once when first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from pydantic import ValidationError

from reasoningrec.baselines.factors import Biased
from reasoningrec.config import Config
from reasoningrec.data.attributes import Attributes
from reasoningrec.data.cases import Texts, cases, items_of
from reasoningrec.data.corpus import Corpus
from reasoningrec.data.load import fingerprint
from reasoningrec.data.split import examples, past_rows
from reasoningrec.data.texts import AllowedReviews, text_key
from reasoningrec.data.timeline import Bools, Ints, Timeline
from reasoningrec.errors import InputError, RunError
from reasoningrec.pipeline import given
from reasoningrec.prompts import PromptSet
from reasoningrec.ranking import latent
from reasoningrec.ranking.fuse import Fused, with_latent
from reasoningrec.records import Case, Example, Item, Query, Rationale, Role
from reasoningrec.rows import Json, from_row, read_json, read_jsonl
from reasoningrec.runs import MANIFEST, Run
from reasoningrec.teacher.conversation import EXTRAS

PARTS: Final = {"describe": "descriptions", "profile": "profiles", "reason": "rationales"}
"""Stage -> what it writes, as `without` names it."""


class Workspace:
    """Everything stages read, by name; what a stage writes is read by later stages alone.

    Args:
        folder: the run's.
        config: the run's.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config
        self._supposing = False

    def supposing(self) -> Workspace:
        """The same, but descriptions and profiles that are not written yet are supposed as long as they may be."""
        other = Workspace(self.folder, self.config)
        other._supposing = True
        return other

    @cached_property
    def sources(self) -> dict[str, str]:
        """Digests of the files that the data are read from. Raises DataError where they are missing."""
        return fingerprint(self.config.data)

    @cached_property
    def corpus(self) -> Corpus:
        """The validated data."""
        return Corpus.load(self.folder / "data", self.config.name)

    @cached_property
    def timeline(self) -> Timeline:
        """The interactions in order."""
        return Timeline.of(self.corpus)

    @cached_property
    def attributes(self) -> Attributes:
        """What items have in common."""
        return Attributes.of(self.corpus.items)

    @cached_property
    def items(self) -> dict[str, Item]:
        """Items by id."""
        return items_of(self.corpus, titles_only="attributes" in self.config.without)

    @cached_property
    def windows(self) -> pl.DataFrame:
        """The split, sorted by id."""
        return pl.read_parquet(self.folder / "split.parquet", glob=False)

    @cached_property
    def numbers(self) -> pl.DataFrame:
        """The evidence's numbers, rows as in `windows`."""
        return pl.read_parquet(self.folder / "evidence.parquet", glob=False)

    @cached_property
    def past(self) -> pl.DataFrame:
        """Numbers, `label` and place (`at`) of the earlier rows to learn from."""
        return pl.read_parquet(self.folder / "evidence.past.parquet", glob=False)

    @cached_property
    def learning(self) -> tuple[pl.DataFrame, Bools, pl.Series]:
        """Numbers, labels and roles of the windows, and after them those of the earlier rows to learn from."""
        role = pl.concat([self.windows["role"], pl.Series("role", ["train"] * self.past.height, dtype=pl.String)])
        numbers = pl.concat([self.numbers, self.past.drop("label", "at")])
        return numbers, np.concatenate([self.labels, self.past["label"].to_numpy()]), role

    @cached_property
    def deciding(self) -> tuple[pl.DataFrame, Bools, pl.Series]:
        """As `learning`, and beside each row's numbers what a factorisation of as then expects."""
        numbers, labels, role = self.learning
        at = np.concatenate([self.windows["at"].to_numpy(), self.past["at"].to_numpy()])
        past = past_rows(self.timeline, at, self.config.protocol)
        asked = pl.DataFrame({"role": role, "at": at, "past": past})
        return with_latent(numbers, self.timeline, asked), labels, role

    @cached_property
    def train_targets(self) -> Ints:
        """Places in the timeline of all train targets: those of the windows, and the earlier ones."""
        return np.concatenate([self.windows.filter(role="train")["at"].to_numpy(), self.past["at"].to_numpy()])

    @cached_property
    def labels(self) -> Bools:
        """Labels, rows as in `windows`."""
        return self.windows["label"].to_numpy()

    @cached_property
    def examples(self) -> list[Example]:
        """The windows as records, in the same order."""
        return list(examples(self.timeline, self.windows, self.config.split.history))

    @cached_property
    def reviews(self) -> AllowedReviews:
        """The reviews each query may know."""
        config = self.config
        return AllowedReviews(self.corpus, self.timeline, self.windows, config.protocol, config.describe.max_reviews)

    @cached_property
    def shown_items(self) -> frozenset[str]:
        """Every item that some query asks about or shows in its history."""
        shown = {reaction.item for example in self.examples for reaction in example.query.history}
        return frozenset(shown.union(self.windows["item"]))

    @cached_property
    def description_keys(self) -> dict[str, tuple[str, int]]:
        """Query id -> (target, how many of its reviews the query may know)."""
        at = self.windows["at"].to_numpy()
        n = self.reviews.count(self.timeline.item[at], self.timeline.clock[at])
        return dict(zip(self.windows["id"], zip(self.windows["item"], n.tolist(), strict=True), strict=True))

    @cached_property
    def profile_keys(self) -> dict[str, tuple[str, int]]:
        """Query id -> (user, how many of its rows a profile may be written from); none where that is no row."""
        rows = self.windows.select("id", "user", "profile").iter_rows()
        return {id: (user, n) for id, user, n in rows if n}

    @cached_property
    def given_texts(self) -> dict[str, given.Texts]:
        """Stage -> the texts that were given, as its rows."""
        found = {
            "describe": given.given_descriptions(self.config, self.corpus, self.shown_items),
            "profile": given.given_profiles(self.config, self.corpus, self.windows),
            "reason": given.given_rationales(self.config, self.windows),
        }
        return {stage: {} if PARTS[stage] in self.config.without else texts for stage, texts in found.items()}

    @cached_property
    def texts(self) -> Texts:
        """The teacher's texts and which query shows which: a given one, where there is one."""
        descriptions = self._texts("describe", self.description_keys, self.config.describe.words)
        profiles = self._texts("profile", self.profile_keys, self.config.profile.words)
        of_target = {
            id: key if (key := f"{item}@{given.GIVEN}") in descriptions else text_key(item, n)
            for id, (item, n) in self.description_keys.items()
        }
        of_user = {id: text_key(*key) for id, key in self.profile_keys.items()}
        of_user |= {
            id: key
            for id, user in self.windows.select("id", "user").iter_rows()
            if (key := f"{user}@{given.GIVEN}") in profiles
        }
        of_item: dict[str, str] = {}
        if self.config.protocol == "paper":
            of_item = {item: text_key(item, n) for item, n in self.review_counts.items()}
            given_keys = {item: f"{item}@{given.GIVEN}" for item in of_item}
            of_item |= {item: key for item, key in given_keys.items() if key in descriptions}
        return Texts(descriptions, profiles, of_target, of_user, of_item)

    def _texts(self, stage: str, keys: Mapping[str, tuple[str, int]], words: int) -> dict[str, str]:
        if PARTS[stage] in self.config.without:
            return {}
        path = self.folder / f"{stage}.jsonl"
        if path.exists() or not self._supposing:
            return texts_of(path)
        supposed = {text_key(*key): "word " * words for key in keys.values()}
        return supposed | {row["key"]: row["text"] for row in self.given_texts[stage].values()}

    @cached_property
    def review_counts(self) -> dict[str, int]:
        """How many reviews of each item may be read when all may (`paper`)."""
        items = np.arange(len(self.timeline.items))
        counts = self.reviews.count(items, np.full(items.size, np.iinfo(np.int32).max))
        return dict(zip(self.timeline.items, counts.tolist(), strict=True))

    @cached_property
    def fused(self) -> Fused:
        """The fitted decision. Raises RunError where another version of the package wrote it."""
        path = self.folder / "predict" / "fuse.json"
        try:
            return Fused.of_json(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"{path}: is not in the form that this version reads ({error})",
                hint="Remove it, and the next run does stage predict again.",
            ) from None

    @cached_property
    def latent(self) -> tuple[Biased, ...]:
        """The factorisations that questions of now are answered by. Raises RunError where they are damaged."""
        return latent.load(self.folder / latent.FILE)

    def cases(self, wanted: Iterable[str]) -> list[Case]:
        """The cases of the queries with these ids, in order of id."""
        keep = self.windows["id"].is_in(list(wanted)).to_numpy()
        at = np.flatnonzero(keep)
        queries = [self.examples[index].query for index in at]
        return self.shown(queries, self.numbers[at], self.texts)

    def shown(self, queries: Sequence[Query], numbers: pl.DataFrame, texts: Texts) -> list[Case]:
        """What may be shown of each query; `numbers` has one row for each, in the same order."""
        found = cases(queries, numbers, self.items, self.attributes, texts, _left_out(self.config))
        return [replace(case, published=as_published(self.config)) for case in found]

    def ids(self, *roles: Role, main: bool = False) -> list[str]:
        """Query ids of these roles, sorted; `main`: the paper's windows only."""
        chosen = self.windows.filter(pl.col("role").is_in(roles))
        return (chosen.filter("main") if main else chosen)["id"].to_list()

    @cached_property
    def label_of(self) -> dict[str, bool]:
        """Label by query id."""
        return dict(zip(self.windows["id"], self.windows["label"], strict=True))


def without(config: Config) -> dict[str, Json]:
    """What the texts of a run are made without; nothing where that is nothing, so that runs from before stay done."""
    parts = sorted({*_left_out(config)} - {"fusion"})
    return {"without": parts} if parts else {}


def _left_out(config: Config) -> tuple[str, ...]:
    """What no text shows; the prompts of the paper show no facts on user and others."""
    return (*config.without, "evidence") if as_published(config) else config.without


def as_published(config: Config) -> bool:
    """Whether the student, too, is asked in the words of the paper."""
    return not PromptSet(config.texts.prompts).cites


def check_named_once(folders: Sequence[Path], flag: str = "") -> None:
    """Raises InputError where two of the folders are one, whatever they are called; `flag` starts what it says."""
    places = [os.path.realpath(folder) for folder in folders]  # Path.resolve fails at a link that leads to itself
    if twice := [folder for n, folder in enumerate(folders) if places[n] in places[:n]]:
        raise InputError(f"{flag}{twice[0]}: is named twice", hint="Name each run once.")


def config_of(run: Run) -> Config:
    """The configuration a run was made with. Raises RunError where this version of the package cannot read it."""
    try:
        return Config.model_validate(run.config, strict=False)
    except ValidationError as error:
        where = ", ".join(".".join(str(part) for part in detail["loc"]) for detail in error.errors())
        raise RunError(
            f"{run.folder / MANIFEST}: the configuration in it is not one of this version ({where})",
            hint=f"`reasoningrec run --run {run.folder} CONFIG.toml` with a configuration of this version renews it.",
        ) from None


def texts_of(path: Path) -> dict[str, str]:
    """Key -> text of the rows of a teacher's artifact that did not fail."""
    return {row["key"]: row["text"] for row in read_jsonl(path) if row["status"] == "done"}


def rationales_of(path: Path) -> dict[str, Rationale]:
    """Query id -> rationale, those that did not fail."""
    rows = (row for row in read_jsonl(path) if row["status"] == "done")
    texts = ({name: value for name, value in row.items() if name not in EXTRAS} for row in rows)
    return {row["query_id"]: from_row(Rationale, row) for row in texts}
