"""One run in several processes: the first does the work, the others come in to train the student with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reasoningrec.config import Config
from reasoningrec.pipeline.learn import train_together
from reasoningrec.pipeline.workspace import Workspace
from reasoningrec.student.ranks import Ranks


def together(folder: Path, config: Config, work: Callable[[], None]) -> None:
    """Do `work` in the first process that a launcher has started, and wait in the others for its student to be trained.

    Where the first one fails it ends at once, and the launcher ends the others.

    Args:
        folder: the run's, on a disk that all processes see.
        config: of the run.
        work: what is to be done, of which the stage train may be a part.

    Raises:
        StudentError: the processes cannot reach each other, or train different things.
    """
    ranks = Ranks.gathered()
    if ranks.first:
        work()
        ranks.tell(False)
    else:
        while ranks.tell(False):
            train_together(Workspace(folder, config), ranks)
    ranks.part()
