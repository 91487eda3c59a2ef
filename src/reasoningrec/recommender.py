"""A finished run that answers questions about now: what to recommend, whether an item fits, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl

from reasoningrec.data.cases import Texts
from reasoningrec.data.evidence import DAY, EvidenceTable, Questions, crowd_now
from reasoningrec.data.split import reactions
from reasoningrec.data.texts import text_key
from reasoningrec.data.timeline import Ints
from reasoningrec.errors import InputError, NotInRunError
from reasoningrec.pipeline.explain import Answer, answer, explain
from reasoningrec.pipeline.given import GIVEN
from reasoningrec.pipeline.line import check_finished
from reasoningrec.pipeline.served import student_of
from reasoningrec.pipeline.workspace import Workspace, config_of
from reasoningrec.ranking import latent
from reasoningrec.ranking.fuse import LATENT
from reasoningrec.ranking.retrieve import unseen
from reasoningrec.records import Case, Query, Recommendation
from reasoningrec.runs import Run
from reasoningrec.student.score import use_threads

SHORTLIST: Final = 40
"""Candidates that the student scores: those that the evidence puts first."""


class Recommender:
    """Answers from a run's artifacts, and a server where the student is served; writes nothing to the run.

    "Now" is after the last interaction of the data: everything in them may be known.
    """

    def __init__(self, space: Workspace) -> None:
        """Use `Recommender.open`."""
        self.config = space.config
        self._space, self._fused = space, space.fused
        self._student = student_of(space.folder, space.config)
        use_threads(self.config.threads)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open the run in `folder`.

        Raises:
            RunError: there is no run, or it is damaged.
            NotInRunError: the run has not got as far as `predict` with its present configuration.
        """
        run = Run.read(Path(folder))
        run.require("predict")
        space = Workspace(run.folder, config_of(run))
        check_finished(run, space, "predict")
        return cls(space)

    @property
    def users(self) -> tuple[str, ...]:
        """Everybody the run knows, sorted."""
        return self._space.timeline.users

    @property
    def threshold(self) -> float:
        """Probability from which the prediction is Yes."""
        return self._fused.threshold

    def recommend(self, user: str, top: int = 5) -> list[Recommendation]:
        """The `top` items, likeliest first, that the user has no reaction to yet, each with its reasons.

        Raises:
            NotInRunError: the run does not know the user.
            InputError: `top` is not positive, or larger than the shortlist.
        """
        if not 1 <= top <= SHORTLIST:
            raise InputError(f"top: must be from 1 to {SHORTLIST}, not {top}")
        at = self._user(user)
        candidates = unseen(self._space.timeline, at)
        if not candidates.size:
            raise NotInRunError(f"user {user!r} has a reaction to every item: there is nothing left to recommend")
        numbers = self._numbers(at, candidates)
        short = np.argsort(-self._fused.evidence(numbers), kind="stable")[:SHORTLIST]
        shown = self._cases(at, candidates[short], numbers[short])
        return self._answer(shown, numbers[short], top)

    def explain(self, user: str, item: str) -> Recommendation:
        """Whether `user` will like `item`, how sure that is, and why.

        Raises:
            NotInRunError: the run does not know the user or the item.
        """
        at = self._user(user)
        if item not in self._space.items:
            raise NotInRunError(f"the run knows no item {item!r}", hint=_near(item, self._space.timeline.items))
        code = np.array([self._space.timeline.items.index(item)])
        numbers = self._numbers(at, code)
        return self._answer(self._cases(at, code, numbers), numbers, 1)[0]

    def _answer(self, shown: Sequence[Case], numbers: pl.DataFrame, top: int) -> list[Recommendation]:
        """Score all, explain the `top` only."""
        said = answer(self._student, shown, self.config)
        fused = self._fused(numbers, np.array([one.p for one in said], dtype=np.float64))  # None becomes nan
        order = np.argsort(-fused, kind="stable")[:top]
        best = [shown[place] for place in order]
        return self._explained(best, [said[place] for place in order], fused[order])

    def _explained(self, shown: Sequence[Case], said: Sequence[Answer], fused: np.ndarray) -> list[Recommendation]:
        decisions = [bool(p >= self.threshold) for p in fused]
        texts = explain(self._student, shown, decisions, self.config, said)
        return [
            Recommendation(
                user=case.query.user,
                item=case.query.item,
                title=case.target.title,
                prediction="Yes" if decision else "No",
                probability=float(p),
                student_probability=own.p,
                explanation=text.why,
                citations=text.citations,
                evidence={fact.id: fact.text for fact in case.evidence.facts},
            )
            for case, decision, text, own, p in zip(shown, decisions, texts, said, fused, strict=True)
        ]

    def _user(self, user: str) -> int:
        line = self._space.timeline
        if user not in line.users:
            raise NotInRunError(f"the run knows no user {user!r}", hint=_near(user, line.users))
        return line.users.index(user)

    @cached_property
    def _table(self) -> EvidenceTable:
        space, line = self._space, self._space.timeline
        crowd = crowd_now(line, space.windows)
        return EvidenceTable(line, space.attributes, self.config.evidence, self.config.split.history, crowd)

    @cached_property
    def _now(self) -> tuple[int, int | None]:
        """(clock, time) after everything."""
        line = self._space.timeline
        return int(line.clock.max()) + 1, None if line.time is None else int(line.time.max()) + DAY

    def _numbers(self, user: int, items: Ints) -> pl.DataFrame:
        """What the decision reads: the numbers of the evidence, and `LATENT`."""
        line, (clock, time) = self._space.timeline, self._now
        n = items.size
        asked = Questions(
            user=np.full(n, user),
            item=items,
            clock=np.full(n, clock),
            past=np.full(n, line.length[user]),
            time=None if time is None else np.full(n, time),
        )
        models = self._space.latent
        expected = latent.answer(line, models[user % len(models)], asked, np.arange(n))
        return self._table.numbers(asked).with_columns(pl.Series(LATENT, expected))

    def _cases(self, user: int, items: Ints, numbers: pl.DataFrame) -> list[Case]:
        space, line = self._space, self._space.timeline
        history = reactions(line, int(line.start[user]), int(line.length[user]), self.config.split.history)
        name = line.users[user]
        queries = [Query(f"now/{name}/{line.items[c]}", name, line.items[c], self._now[1], history) for c in items]
        texts, counted = self._texts(queries, items), numbers.drop(LATENT)  # what is fitted is told to nobody
        return space.shown(queries, counted, texts)

    def _texts(self, queries: Sequence[Query], items: Ints) -> Texts:
        """The newest texts that were written and may be known now."""
        known = self._space.texts
        n = self._space.reviews.count(items, np.full(items.size, self._now[0]))
        of_target = {q.id: _newest(known.descriptions, q.item, int(count)) for q, count in zip(queries, n, strict=True)}
        profile = _newest(known.profiles, queries[0].user, int(self._space.timeline.length.max()))
        of_user = {query.id: profile for query in queries}
        return Texts(known.descriptions, known.profiles, of_target, of_user, known.of_item)


def _newest(texts: Mapping[str, str], name: str, most: int) -> str:
    """The key of the text on `name` written from the most reviews or rows, at most `most`; "" where there is none."""
    if f"{name}@{GIVEN}" in texts:
        return f"{name}@{GIVEN}"
    return next((key for n in range(most, -1, -1) if (key := text_key(name, n)) in texts), "")


def _near(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=3) or list(names[:3])
    return f"It knows, for example: {', '.join(close)}."
