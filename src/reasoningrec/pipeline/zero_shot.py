"""The baselines that ask the teacher about every query, in stage predict: what they are asked, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from reasoningrec.baselines import prompted
from reasoningrec.config import Config
from reasoningrec.errors import TeacherError
from reasoningrec.pipeline.stage import Desk
from reasoningrec.pipeline.writers import opened_chooser, settings_of, wording
from reasoningrec.records import Case
from reasoningrec.rows import Json, Row


def prompted_fields(config: Config) -> dict[str, Json]:
    """What the answers of the prompted ones depend on; nothing where there are none."""
    if not (methods := prompted_of(config)):
        return {}
    return {"prompted": {**settings_of(config.teacher), "methods": methods, "prompt": prompted.digest()}}


def prompted_of(config: Config) -> list[str]:
    """The methods that ask the teacher."""
    return [method for method in dict.fromkeys(config.baselines.methods) if method in prompted.METHODS]


def ask_model(desk: Desk, method: str, cases: Sequence[Case]) -> list[Row]:
    """What one of the prompted methods says to each case. Raises TeacherError where the model cannot go on."""
    config = desk.space.config
    with opened_chooser(config, desk.folder) as client:
        said = prompted.ask(client, cases, method, words_of(config))
    return [{"p": one.p, **({"note": one.note} if one.note else {})} for one in said]


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
            hint="A model that thinks before it answers cannot be asked so; some servers have it switched off in "
            "[teacher] extra. Answers are kept: `reasoningrec cache prune` forgets them, the model's texts among them.",
        )


def step_of(method: str) -> str:
    """Under what a method's answers stand in the journal of stage predict."""
    return f"asked/{method}"
