"""The baselines that ask the teacher about every query, in stage predict: what they are asked, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from reasoningrec.baselines import prompted
from reasoningrec.config import Config
from reasoningrec.errors import TeacherError
from reasoningrec.llm.cache import Cache
from reasoningrec.llm.client import Model, Request
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.writers import chooser_of, model_of, opened, opened_chooser, settings_of, wording
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row
from reasoningrec.teacher.answers import decision, read


def prompted_fields(config: Config) -> dict[str, Json]:
    """What the answers of the prompted ones depend on; nothing where there are none."""
    if not (methods := prompted_of(config)):
        return {}
    written = {"read": "word"} if _by_word(config) else {}
    return {"prompted": {**settings_of(config.teacher), "methods": methods, "prompt": prompted.digest(), **written}}


def prompted_of(config: Config) -> list[str]:
    """The methods that ask the teacher."""
    return [method for method in dict.fromkeys(config.baselines.methods) if method in prompted.METHODS]


def ask_model(desk: Desk, method: str, cases: Sequence[Case]) -> list[Row]:
    """What one of the prompted methods says to each case. Raises TeacherError where the model cannot go on."""
    config, word = desk.space.config, _word if _by_word(desk.space.config) else None
    with opened(config, config.teacher, desk.folder) if word else opened_chooser(config, desk.folder) as client:
        said = prompted.ask(client, cases, method, words_of(config), word)
    return [{"p": one.p, **({"note": one.note} if one.note else {})} for one in said]


def question_of(config: Config, case: Case, method: str) -> Request:
    """What one of the prompted methods asks of a case."""
    fields = prompted.WORD if _by_word(config) else ()
    return prompted.question(case, prompted.METHODS[method], words_of(config), fields)


def asked_of(config: Config, cache: Cache, folder: Path, *, asks: bool = True) -> Model:
    """The model that the prompted methods ask; otherwise as `writers.model_of`."""
    if _by_word(config):
        return model_of(config, config.teacher, cache, folder, asks=asks)
    return chooser_of(config, cache, folder, asks=asks)


def _by_word(config: Config) -> bool:
    return config.baselines.zero_shot == "word"


def _word(text: str) -> bool:
    """Yes or No, in the form asked for or alone. Raises TeacherError for anything else."""
    try:
        return decision(read(text, prompted.WORD)["Prediction"])
    except TeacherError:
        return decision(text)


def words_of(config: Config) -> prompted.Words:
    """What a prompted method calls things."""
    words = wording(config)
    return prompted.Words(words.item_word, words.items_word, words.user_word)


def check_said(method: str, rows: Collection[Row]) -> None:
    """Raises TeacherError where a model said Yes or No to nothing it was asked."""
    if rows and all(row["p"] is None for row in rows):
        notes = Counter(str(row["note"]) for row in rows)
        told = ", ".join(f"{note} {count:,}" for note, count in sorted(notes.items()))
        raise TeacherError(
            f"baselines.methods: {method}: not one of {len(rows):,} answers is Yes or No ({told})",
            hint='A model that thinks before it answers is asked with zero_shot = "word" under [baselines]. '
            "Answers are kept: `reasoningrec cache prune` forgets them, the model's texts among them.",
        )


def step_of(method: str) -> str:
    """Under what a method's answers stand in the journal of stage predict."""
    return f"asked/{method}"
