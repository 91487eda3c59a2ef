"""Stages describe, profile, reason, verify: the teacher's texts, each asked for once and kept as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from reasoningrec import prompts
from reasoningrec.config import Config
from reasoningrec.data.texts import text_key
from reasoningrec.errors import TeacherError
from reasoningrec.llm.client import Client, ItemMaterial, Past, ReasonMaterial, Reply, Request, UserMaterial
from reasoningrec.llm.offline import OfflineWriter
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import GIVEN, Workspace, rationales_of
from reasoningrec.records import Case, Description, Profile, Rationale
from reasoningrec.rows import Json, to_row, write_jsonl
from reasoningrec.runs import Journal
from reasoningrec.teacher import describe, profile, reason, verify

Text = Description | Profile | Rationale
Parse = Callable[[Reply], Text]
"""A reply as a record. Raises TeacherError where it is not in the form asked for."""


def writer(config: Config) -> Client:
    """Who writes the teacher's texts."""
    del config  # the one writer so far has no settings
    return OfflineWriter()


def fields(section: str) -> Callable[[Workspace], dict[str, Json]]:
    """What the texts of a stage depend on: its settings, its prompt's wording, the words of the domain, the writer."""

    def of(space: Workspace) -> dict[str, Json]:
        settings: dict[str, Json] = getattr(space.config, section).model_dump(mode="json")
        asked = {"item_word": space.config.item_word, "prompt": prompts.digest(section)}
        return {**settings, **asked, "writer": writer(space.config).name, "seed": space.config.seed}

    return of


def _ask(desk: Desk, name: str, requests: Sequence[Request], parse: Parse) -> Outcome:
    """Put every request that has no row yet, and keep each answer or failure as it comes."""
    target = desk.folder / f"{name}.jsonl"
    if not target.exists():
        with Journal(desk.run.journal_path(name)) as journal:
            pending = [request for request in requests if request.id not in journal.done]
            asked = {request.id: request for request in pending}
            for reply in writer(desk.space.config).answer(pending):
                journal.append(reply.request_id, _row(asked[reply.request_id], reply, parse))
                desk.tell(len(journal.done), len(requests))
            journal.finish(target)
    return Outcome(_count(desk, name))


def _row(request: Request, reply: Reply, parse: Parse) -> dict[str, Any]:
    try:
        return {**to_row(parse(reply)), "status": "done"}
    except TeacherError as error:
        return {
            "key": request.id,
            "status": "failed",
            "error": str(error),
            "prompt": request.prompt,
            "answer": reply.text,
        }


def _count(desk: Desk, name: str) -> dict[str, int]:
    status = pl.read_ndjson(desk.folder / f"{name}.jsonl", schema={"status": pl.String})["status"].to_list() or []
    counted = Counter(status)
    return {"texts": len(status), **{state: counted[state] for state in ("done", "failed")}}


def write_descriptions(desk: Desk) -> Outcome:
    """One description for each (target, allowed reviews) that some query shows."""
    space = desk.space
    if space.config.data.given_texts:
        return _take_given(desk, "describe", space.corpus.given_descriptions, sorted(set(space.windows["item"])))
    wanted = {text_key(item, n): (item, n) for item, n in space.description_keys.values()}
    code = {item: index for index, item in enumerate(space.timeline.items)}
    details = dict(space.corpus.items.select("item", "details").iter_rows())

    def ask(key: str, item: str, n: int) -> Request:
        config, texts = space.config, tuple(space.reviews.texts(code[item], n))
        return describe.request(
            key, ItemMaterial(space.items[item], config.item_word, details[item], texts, config.describe.words)
        )

    requests = [ask(key, item, n) for key, (item, n) in sorted(wanted.items())]
    name = writer(space.config).name
    return _ask(desk, "describe", requests, lambda reply: describe.parse(reply, wanted[reply.request_id][0], name))


def write_profiles(desk: Desk) -> Outcome:
    """One profile for each (user, known rows) that some query shows; none for users with no row before the windows."""
    space = desk.space
    if space.config.data.given_texts:
        return _take_given(desk, "profile", space.corpus.given_profiles, sorted(set(space.windows["user"])))
    wanted = {text_key(user, n): (user, n) for user, n in space.profile_keys.values()}
    said = dict(space.corpus.reviews.select("row", "text").iter_rows())
    first = dict(zip(space.timeline.users, space.timeline.start.tolist(), strict=False))

    def past(user: str, n: int) -> tuple[Past, ...]:
        line = space.timeline
        return tuple(
            Past(space.items[line.items[line.item[at]]], bool(line.liked[at]), said.get(int(line.row[at]), ""))
            for at in range(first[user], first[user] + n)
        )

    config = space.config
    requests = [
        profile.request(key, UserMaterial(user, config.item_word, past(user, n), config.profile.words))
        for key, (user, n) in sorted(wanted.items())
    ]
    name = writer(config).name
    return _ask(desk, "profile", requests, lambda reply: profile.parse(reply, wanted[reply.request_id][0], name))


def _take_given(desk: Desk, name: str, given: pl.DataFrame, wanted: list[str]) -> Outcome:
    """The texts that came with the data, each with its origin; those missing are counted."""
    texts = {id: (text, origin) for id, text, origin in given.select("id", "text", "origin").iter_rows()}
    rows = [
        {"key": f"{id}@{GIVEN}", "text": texts[id][0], "origin": texts[id][1], "status": "done"}
        for id in wanted
        if id in texts
    ]
    write_jsonl(desk.folder / f"{name}.jsonl", rows)
    origins = ", ".join(sorted({origin for _, origin in texts.values()})) or "nobody"
    note = f"{name}: {len(rows)} of {len(wanted)} texts given, written by {origins}; {len(wanted) - len(rows)} missing"
    return Outcome({"texts": len(rows), "done": len(rows), "missing": len(wanted) - len(rows), "failed": 0}, (note,))


def material(config: Config, case: Case, label: bool) -> ReasonMaterial:
    """What a rationale for `label` may be written from."""
    limits = config.reason
    return ReasonMaterial(case, label, config.item_word, limits.taste_words, limits.why_words, limits.max_reasons)


def write_rationales(desk: Desk) -> Outcome:
    """Rationales for the train windows, or for `shots` of them."""
    space = desk.space
    examples = [example for example in space.examples if example.role == "train"]
    chosen = reason.shots(examples, space.config.reason.shots, space.config.seed)
    shown = {case.query.id: case for case in space.cases(example.query.id for example in chosen)}
    requests = [reason.request(material(space.config, shown[example.query.id], example.label)) for example in chosen]
    name = writer(space.config).name
    return _ask(desk, "reason", requests, lambda reply: reason.parse(reply, name))


def verify_fields(space: Workspace) -> dict[str, Json]:
    """The gates and their limits."""
    return {"gates": list(verify.GATES), **space.config.reason.model_dump(mode="json", include=verify.LIMITS)}


def verify_rationales(desk: Desk) -> Outcome:
    """Put every rationale through the gates; train reads those that pass all."""
    space = desk.space
    written = rationales_of(desk.folder / "reason.jsonl")
    shown = {case.query.id: case.evidence for case in space.cases(written)}
    verdicts = [
        verify.verify(rationale, space.label_of[id], shown[id], space.config.reason)
        for id, rationale in sorted(written.items())
    ]
    write_jsonl(desk.folder / "verify.jsonl", (to_row(verdict) for verdict in verdicts))
    failed = Counter(gate for verdict in verdicts for gate in verdict.failures)
    counts: Mapping[str, int] = {
        "texts": len(verdicts),
        "kept": sum(verdict.kept for verdict in verdicts),
        **{f"dropped_{gate}": failed[gate] for gate in verify.GATES},
    }
    return Outcome(counts)
