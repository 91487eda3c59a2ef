"""Stages evaluate and report: figures with intervals, and pages to read them on."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from reasoningrec.config import NANO
from reasoningrec.data.demo import accepted
from reasoningrec.errors import RunError
from reasoningrec.evaluation.evaluate import EvaluateInputs, Evaluation, evaluate
from reasoningrec.evaluation.explanations import TrueReasons
from reasoningrec.evaluation.report import choose_samples, write_report
from reasoningrec.evaluation.teacher import TeacherAccount, account_of_gates, account_of_texts
from reasoningrec.pipeline import looks
from reasoningrec.pipeline.explain import writes
from reasoningrec.pipeline.predictions import answers
from reasoningrec.pipeline.stage import Desk, Outcome
from reasoningrec.pipeline.studies import digests, studies
from reasoningrec.pipeline.workspace import Workspace, rationales_of
from reasoningrec.records import Case, Explanation, Verdict
from reasoningrec.rows import Json, from_row, read_json, read_jsonl, read_records, to_row, write_json
from reasoningrec.teacher import judge, verify


def evaluate_fields(space: Workspace) -> dict[str, Json]:
    """How the measures are taken."""
    return {**space.config.evaluate.model_dump(mode="json"), "seed": space.config.seed}


def measure(desk: Desk) -> Outcome:
    """Every measure of every method, and the checks of the explanations."""
    space, config = desk.space, desk.space.config
    texts = read_records(Explanation, desk.folder / "predict" / "explanations.jsonl")
    shown = space.cases(text.query_id for text in texts)
    line = space.timeline
    bands = set(space.attributes.labels["price"])
    test = answers(space, "test")
    found = evaluate(
        EvaluateInputs(
            dataset=config.name,
            protocol=config.protocol,
            like_rule=like_rule(space),
            time="known" if line.time is not None else "unknown",
            test=test,
            valid=answers(space, "valid"),
            sequences=sequences(space),
            thresholds={"reasoningrec": space.fused.threshold},
            weights=space.fused.weights(),
            explanations=texts,
            evidence={case.query.id: case.evidence for case in shown},
            names={case.query.id: _names(case) | bands for case in shown},
            truth=_truth(space, texts, shown),
            teacher=_teacher(desk),
            notes=_notes(desk),
            settings=config.evaluate,
            seed=config.seed,
        )
    )
    looks.note(space, "evaluate", test.labels, len(found.readings[0].methods))
    write_json(desk.folder / "evaluate.json", to_row(found))
    return Outcome({"methods": len(found.readings[0].methods), "queries": found.readings[0].n})


def sequences(space: Workspace) -> dict[str, list[str]]:
    """The items of each user in order; users with the same ones are twins."""
    line = space.timeline
    return {
        user: [line.items[item] for item in line.item[line.start[code] : line.start[code + 1]]]
        for code, user in enumerate(line.users)
    }


def like_rule(space: Workspace) -> str:
    """What counts as a like, in words."""
    if space.corpus.interactions["rating"].is_null().all():
        return "as given in the data (no ratings)"
    return f"rating > {space.config.data.like_above:g}"


def _names(case: Case) -> set[str]:
    """What a sentence frame leaves out: titles, brands and categories."""
    names = {case.target.title, case.target.brand, *case.target.categories}
    for item in case.items.values():
        names |= {item.title, item.brand, *item.categories}
    return names - {""}


def _truth(space: Workspace, texts: list[Explanation], shown: list[Case]) -> dict[str, TrueReasons]:
    """True reasons of the liked test items that were also predicted to be liked (demo only)."""
    reasons = space.corpus.true_reasons.sort("share", "kind", descending=[True, False])
    kinds = dict(reasons.group_by("row", maintain_order=True).agg("kind").iter_rows())
    rows = dict(zip(space.windows["id"], space.timeline.row[space.windows["at"].to_numpy()].tolist(), strict=True))
    said_yes = {text.query_id for text in texts if text.decision}
    return {
        case.query.id: TrueReasons(tuple(kinds[rows[case.query.id]]), accepted(case))
        for case in shown
        if case.query.id in said_yes and rows[case.query.id] in kinds
    }


def _teacher(desk: Desk) -> TeacherAccount:
    """Who wrote the texts, and what the gates dropped."""
    stages = desk.run.stages
    counts = stages["verify"].counts
    written = rationales_of(desk.folder / "reason.jsonl")
    kept = [row["query_id"] for row in read_jsonl(desk.folder / "verify.jsonl") if from_row(Verdict, row).kept]
    return TeacherAccount(
        texts=tuple(
            account_of_texts(stage, read_jsonl(desk.folder / f"{stage}.jsonl"), stages[stage].counts)
            for stage in ("describe", "profile", "reason")
        ),
        rationales=int(counts["texts"]),
        kept=int(counts["kept"]),
        unhinted=sum(not written[id].hinted for id in kept),
        gates=account_of_gates(
            counts, {**{str(gate): says for gate, says in verify.GATES.items()}, judge.GATE: judge.SAYS}
        ),
    )


def _notes(desk: Desk) -> tuple[str, ...]:
    """What was decided on the way: rules applied to the data, texts that were given, who judged."""
    stages = desk.run.stages
    wrote, config = stages["predict"].counts, desk.space.config
    others = "the others failed a gate and were written by rule"
    if config.predict.mode == "predict-only":
        others = "all by rule: it only decides"
    elif config.predict.mode == "predict-first" and not writes(config):
        others = "all by rule: it was taught no reasons that could be checked"
    return (
        *_student(desk),
        *(f"made without {part}" for part in sorted(desk.space.config.without)),
        *stages["data"].notes,
        *(note for stage in ("describe", "profile", "reason", "verify") for note in stages[stage].notes),
        f"explanations: {wrote['explained_by_student']} of {wrote['explained']} written by the student; {others}",
    )  # fmt: skip


def _student(desk: Desk) -> tuple[str, ...]:
    """What the student grew from; nothing where that is nano."""
    fields = desk.run.stages["train"].fields
    if fields["base"] == NANO:
        return ()
    how = f"an adapter of rank {fields['lora_rank']}" if fields["lora_rank"] else "all weights trained"
    return (f"student: {fields['base']}, {how}",)


def report_fields(space: Workspace) -> dict[str, Json]:
    """What the report shows; studies that were made beside the line, by their content."""
    fields = {**space.config.report.model_dump(mode="json"), "seed": space.config.seed}
    return {**fields, **digests(space.folder)}


def read_evaluation(folder: Path) -> Evaluation:
    """What stage evaluate of a run found. Raises RunError where its file is not in the form that this version reads."""
    path = folder / "evaluate.json"
    row = read_json(path)
    try:
        return from_row(Evaluation, row)
    except RunError as error:
        raise RunError(
            f"{path}: is not in the form that this version reads ({error})",
            hint="Remove it, and the next run does stage evaluate again.",
        ) from None


def write_reports(desk: Desk) -> Outcome:
    """`report.md` and the self-contained `report.html`."""
    space = desk.space
    found = read_evaluation(desk.folder)
    texts = read_records(Explanation, desk.folder / "predict" / "explanations.jsonl")
    evidence = {case.query.id: case.evidence for case in space.cases(text.query_id for text in texts)}
    titles = dict(space.corpus.items.select(pl.col("item"), pl.col("title")).iter_rows())
    samples = choose_samples(
        texts, evidence, answers(space, "test"), titles, count=space.config.report.samples, seed=space.config.seed
    )
    write_report(found, samples, desk.folder, studies(desk.run, space))
    return Outcome({"samples": len(samples)})
