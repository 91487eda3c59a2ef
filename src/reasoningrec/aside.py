"""What a stage has left, kept while it is done again, so that it can be had back whatever ends the second time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from reasoningrec.errors import NotInRunError, RunError
from reasoningrec.rows import Row, read_json, write_json

ASIDE: Final = ".before-"
"""And a stage's name: the folder beside the stage's files."""
_NOTE: Final = "note.json"


class Aside:
    """The folder of one stage: its files, and a note of what was known of it. Killed at any moment, nothing is lost."""

    def __init__(self, run: Path, name: str) -> None:
        """Of the stage `name` of the run in folder `run`."""
        self._run, self._folder = run, run / f"{ASIDE}{name}"

    def note(self) -> Row | None:
        """What `keep` was told; None where nothing is kept."""
        try:
            note: Row | None = read_json(self._folder / _NOTE)
        except (NotInRunError, RunError):
            return None
        return note

    def keep(self, files: Iterable[Path], note: Row) -> None:
        """Move a stage's files here, in place of what is kept; where a kill came in between, go on."""
        if self.note() != note:
            self.drop()
            self._folder.mkdir()
            write_json(self._folder / _NOTE, note)
        for path in sorted({self._run / file.relative_to(self._run).parts[0] for file in files}):
            self._move(path, self._folder / path.name)

    def give_back(self) -> None:
        """Move the files to where they were, in place of what is there; the note stays until `drop`."""
        for path in sorted(self._folder.iterdir()):
            if path.name != _NOTE:
                self._move(path, self._run / path.name)

    def drop(self) -> None:
        """Remove what is kept, if anything is."""
        if self._folder.exists():
            (self._folder / _NOTE).unlink(missing_ok=True)
            shutil.rmtree(self._folder)

    @staticmethod
    def _move(path: Path, place: Path) -> None:
        if place.is_dir():
            shutil.rmtree(place)
        path.rename(place)
