"""Work on queries in chunks of fixed members, so that a resume works on the same batches as a straight run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from reasoningrec.errors import ReasoningRecError
from reasoningrec.journal import Journal
from reasoningrec.pipeline.stage import Desk
from reasoningrec.records import Case
from reasoningrec.rows import Row

CHUNK: Final = 256
"""Queries worked on as one unit: the same batches, so the same figures, after a resume as without one."""


@dataclass(frozen=True)
class Chunks:
    """A stage's work on queries, each chunk kept in the journal whole."""

    desk: Desk
    journal: Journal
    total: int
    """Rows that the journal holds when all is done, for whoever watches."""

    def do(self, step: str, ids: Sequence[str], work: Callable[[list[Case]], list[Row]]) -> dict[str, Row]:
        """Query id -> what `work` found, from the journal where it stands there."""
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            if any(f"{step}/{id}" not in self.journal.done for id in chunk):
                found = work(self.desk.space.cases(chunk))
                self.journal.extend((f"{step}/{id}", row) for id, row in zip(chunk, found, strict=True))
            self.desk.tell(len(self.journal.done), self.total)
        return {id: self.journal.done[f"{step}/{id}"] for id in ids}


@contextlib.contextmanager
def refusing(journal: Journal) -> Iterator[None]:
    """Where what stands in the journal is refused, it goes, so that the same command looks at the answers anew."""
    try:
        yield
    except ReasoningRecError:
        journal.discard()
        raise
