"""Stages describe, profile, reason, verify: the teacher's texts, each asked for once and kept as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from reasoningrec.config import Config, Gate, ModelConfig
from reasoningrec.data.texts import text_key
from reasoningrec.errors import TeacherError
from reasoningrec.journal import Journal
from reasoningrec.llm.client import ItemMaterial, Past, ReasonMaterial, Usage, UserMaterial
from reasoningrec.llm.limits import cost_of
from reasoningrec.pipeline.ask import Begun, counts_of, hold
from reasoningrec.pipeline.given import digest, notes
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.workspace import PARTS, Workspace, rationales_of, without
from reasoningrec.pipeline.writers import judge_of, name_of, opened, settings_of, wording
from reasoningrec.records import Case, Rationale, Verdict
from reasoningrec.rows import Json, Row, read_jsonl, to_row, write_jsonl
from reasoningrec.teacher import describe, judge, profile, reason, verify
from reasoningrec.teacher.conversation import Conversation, Result

PROMPTS: Mapping[str, Sequence[str]] = {
    "describe": ("describe",),
    "profile": ("profile",),
    "reason": ("reason", "reason-unhinted"),
    "verify": ("judge",),
}
"""Which prompts a stage asks with."""


def fields(section: str) -> Callable[[Workspace], dict[str, Json]]:
    """What the texts of a stage depend on: its settings, its prompts' wording, the words of the domain, the writer."""

    def of(space: Workspace) -> dict[str, Json]:
        config = space.config
        settings: dict[str, Json] = getattr(config, section).model_dump(mode="json")
        given = {"given": digest(config, section), "missing": config.texts.missing}
        return {
            **settings,
            **_asked(config, section),
            **settings_of(config.teacher),
            **given,
            **without(config),
            "seed": config.seed,
        }

    return of


def _asked(config: Config, stage: str) -> dict[str, Json]:
    words = wording(config)
    prompts: dict[str, Json] = {f"prompt {name}": words.prompts.digest(name) for name in PROMPTS[stage]}
    return {"item_word": words.item_word, "items_word": words.items_word, "user_word": words.user_word, **prompts}


def descriptions(space: Workspace) -> list[Begun]:
    """A conversation for each (target, allowed reviews) that some query shows, save those whose text is given."""
    config, words, origin = space.config, wording(space.config), name_of(space.config.teacher)
    given = space.given_texts["describe"]
    keys = {*space.description_keys.values()}
    if config.protocol == "paper" and config.texts.prompts == "paper":  # shows the history's items with descriptions
        keys |= {(item, space.review_counts[item]) for item in space.shown_items}
    wanted = {text_key(item, n): (item, n) for item, n in keys if item not in given}
    code = {item: index for index, item in enumerate(space.timeline.items)}
    details = dict(space.corpus.items.select("item", "details").iter_rows())

    def begin(key: str, item: str, n: int) -> Conversation[Any]:
        texts = tuple(space.reviews.texts(code[item], n))
        material = ItemMaterial(space.items[item], config.item_word, details[item], texts, config.describe.words)
        return describe.conversation(key, material, words, origin)

    return [(key, partial(begin, key, item, n)) for key, (item, n) in sorted(wanted.items())]


def profiles(space: Workspace) -> list[Begun]:
    """A conversation for each (user, known rows) that some query shows; none for users without such rows."""
    config, words, origin = space.config, wording(space.config), name_of(space.config.teacher)
    given = space.given_texts["profile"]
    wanted = {text_key(user, n): (user, n) for user, n in space.profile_keys.values() if user not in given}
    said = dict(space.corpus.reviews.select("row", "text").iter_rows())
    line = space.timeline
    first = dict(zip(line.users, line.start.tolist(), strict=False))

    def past(at: int) -> Past:
        return Past(space.items[line.items[line.item[at]]], bool(line.liked[at]), said.get(int(line.row[at]), ""))

    def begin(key: str, user: str, n: int) -> Conversation[Any]:
        rows = tuple(past(at) for at in range(first[user], first[user] + n))
        material = UserMaterial(user, config.item_word, rows, config.profile.words)
        return profile.conversation(key, material, words, origin)

    return [(key, partial(begin, key, user, n)) for key, (user, n) in sorted(wanted.items())]


def rationales(space: Workspace) -> list[Begun]:
    """A conversation for each train window, or for `shots` of them, save those whose rationale is given."""
    config = space.config
    given = space.given_texts["reason"]
    examples = [example for example in space.examples if example.role == "train"]
    chosen = reason.shots(examples, config.reason.shots, config.seed)
    chosen = [example for example in chosen if example.query.id not in given]
    shown = {case.query.id: case for case in space.cases(example.query.id for example in chosen)}
    gates = gates_of(config)

    def begin(id: str, label: bool) -> Conversation[Any]:
        case = shown[id]

        def problems(text: Rationale) -> list[str]:
            verdict = verify.verify(text, label, case.evidence, config.reason, gates)
            return [says for gate, says in verify.GATES.items() if gate in verdict.failures]

        how = reason.Asking(
            wording(config), name_of(config.teacher), config.reason.mode == "unhinted-first",
            1 if config.teacher.offline else config.reason.tries, problems, config.seed,
        )  # fmt: skip
        return reason.conversation(material(config, case, label), how)

    return [(example.query.id, partial(begin, example.query.id, example.label)) for example in chosen]


WORK: Mapping[str, Callable[[Workspace], list[Begun]]] = {
    "describe": descriptions,
    "profile": profiles,
    "reason": rationales,
}


def stays_blank(config: Config, stage: str) -> bool:
    """Whether the texts of a stage that are not given are left out, rather than written."""
    return PARTS[stage] in config.without or (bool(digest(config, stage)) and config.texts.missing == "leave")


def write_texts(desk: Desk) -> Outcome:
    """Take what is given, have the rest written, and keep each text or failure as it comes."""
    space, config, name = desk.space, desk.space.config, desk.stage
    target = desk.folder / f"{name}.jsonl"
    given = space.given_texts[name]
    left = WORK[name](space)
    asked = [] if stays_blank(config, name) else left
    if not target.exists():
        with Journal(desk.run.journal_path(name)) as journal:
            journal.extend((str(row.get("key") or row["query_id"]), row) for row in given.values())
            with opened(config, config.teacher, desk.folder) as client:
                hold(desk, journal, client, asked)
            _refuse_all_failed(journal)
            journal.finish(target)
    counts = with_cost(counts_of(read_jsonl(target)), config, config.teacher)
    if not digest(config, name):
        return Outcome(counts)
    wanted = {"describe": len(space.shown_items), "profile": space.windows["user"].n_unique()}
    whole = wanted.get(name, len(given) + len(left))
    missing = 0 if config.texts.missing == "write" else whole - len(given)
    told = notes(name, given, whole)
    if config.texts.vouched and not config.data.given_texts:
        told += (f"{name}: that given texts know no review or rating of a target is vouched for, not proved",)
    return Outcome({**counts, "missing": missing}, told)


def _refuse_all_failed(journal: Journal) -> None:
    """Raises TeacherError where no text could be had: the line makes no sense without."""
    if journal.done and all(row["status"] == "failed" for row in journal.done.values()):
        row = next(iter(journal.done.values()))
        said = " ".join(row["answer"].split())[:200] or "nothing"
        journal.discard()  # the answers are in the cache; whatever is changed, they are looked at anew
        raise TeacherError(
            f"none of the {len(journal.done)} texts could be used; {row['key']}: {row['error']}; it answered: {said}",
            hint="Every answer is kept. Try another model, seed, prompts, a larger max_new_tokens, or `cache prune`.",
        )


def with_cost(counts: dict[str, int], config: Config, model: ModelConfig) -> dict[str, int | float]:
    """`counts` with what the answers cost by the table of prices, where the model stands in it."""
    price = config.prices.get(model.model)
    if price is None or "input_tokens" not in counts:
        return dict(counts)
    usage = Usage(counts["calls"], counts["input_tokens"], counts["output_tokens"])
    return {**counts, "cost": round(cost_of(usage, price), 6)}


def material(config: Config, case: Case, label: bool) -> ReasonMaterial:
    """What a rationale for `label` may be written from."""
    limits = config.reason
    return ReasonMaterial(case, label, config.item_word, limits.taste_words, limits.why_words, limits.max_reasons)


def gates_of(config: Config) -> Sequence[Gate]:
    """The gates by rule that a rationale must pass: as configured, or those that fit the prompts."""
    if config.verify.gates:
        return config.verify.gates
    return tuple(verify.GATES) if wording(config).prompts.cites else verify.PLAIN


def verify_fields(space: Workspace) -> dict[str, Json]:
    """The gates, their limits, and the judge."""
    config = space.config
    limits = config.reason.model_dump(mode="json", include=verify.LIMITS)
    gates: dict[str, Json] = {f"gate {gate}": verify.GATES[gate] for gate in gates_of(config)}
    chosen = judge_of(config)
    asked = {} if chosen is None else {**_asked(config, "verify"), **settings_of(chosen)}
    return {**gates, **limits, **asked, **without(config)}


def verify_rationales(desk: Desk) -> Outcome:
    """Put every rationale through the gates, and those that pass before the judge; train reads those that pass all."""
    space, config = desk.space, desk.space.config
    verdicts, passed = by_rule(space)
    said = _judged(desk, passed)
    for id, row in said.items():
        if row["said"] is not space.label_of[id]:
            verdicts[id] = Verdict(id, (judge.GATE,))
    write_jsonl(desk.folder / "verify.jsonl", (to_row(verdict) for verdict in verdicts.values()))
    counts = _verdict_counts(verdicts, said, gates_of(config))
    return Outcome(with_cost(counts, config, judge_of(config) or config.teacher), _judge_notes(config, said))


def by_rule(space: Workspace) -> tuple[dict[str, Verdict], dict[str, Rationale]]:
    """What the gates by rule say of every rationale, and those that pass; by query id, sorted."""
    written = rationales_of(space.folder / "reason.jsonl")
    shown = {case.query.id: case.evidence for case in space.cases(written)}
    gates = gates_of(space.config)
    verdicts = {
        id: verify.verify(rationale, space.label_of[id], shown[id], space.config.reason, gates)
        for id, rationale in sorted(written.items())
    }
    return verdicts, {id: written[id] for id, verdict in verdicts.items() if verdict.kept}


def judgements(space: Workspace, passed: Mapping[str, Rationale]) -> list[Begun]:
    """A conversation with the judge for each rationale."""
    words = wording(space.config)
    return [(id, partial(judge.conversation, text, words)) for id, text in passed.items()]


def _judged(desk: Desk, passed: Mapping[str, Rationale]) -> dict[str, Row]:
    """What the judge says of each rationale, from the journal where it stands there; {} where there is none."""
    config, chosen = desk.space.config, judge_of(desk.space.config)
    if chosen is None:
        return {}
    with (
        Journal(desk.run.journal_path("verify")) as journal,
        opened(config, chosen, desk.folder) as client,
    ):
        hold(desk, journal, client, judgements(desk.space, passed), _judgement)
        write_jsonl(desk.folder / "verify" / "judge.jsonl", (journal.done[id] for id in sorted(passed)))
        return dict(journal.done)


def _judgement(result: Result[bool]) -> Row:
    """What the artifact keeps of a judgement: `said` is null where the judge gave none."""
    row = {"query_id": result.request.id, "said": result.text, **to_row(result.usage)}
    return row if result.text is not None else {**row, "error": result.error, "answer": result.answer}


def _verdict_counts(verdicts: Mapping[str, Verdict], said: Mapping[str, Row], gates: Sequence[Gate]) -> dict[str, int]:
    failed = Counter(gate for verdict in verdicts.values() for gate in verdict.failures)
    counts = {
        "texts": len(verdicts),
        "kept": sum(verdict.kept for verdict in verdicts.values()),
        **{f"dropped_{gate}": failed[gate] for gate in gates},
    }
    if said:
        counts |= {"judged": len(said), f"dropped_{judge.GATE}": failed[judge.GATE]}
        counts["judge_failed"] = sum(row["said"] is None for row in said.values())
        counts |= {name: sum(row[name] for row in said.values()) for name in ("calls", "input_tokens", "output_tokens")}
    return counts


def _judge_notes(config: Config, said: Mapping[str, Row]) -> tuple[str, ...]:
    chosen = judge_of(config)
    if chosen is not None:
        return (f"self-verification: {name_of(chosen)} judged {len(said)} rationales with the decision blanked out",)
    why = "no model writes or judges here" if config.verify.self_check else "it is switched off"
    return (f"self-verification: not done: {why}",)
