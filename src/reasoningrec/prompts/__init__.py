"""The prompts, one Markdown file per text, rendered with jinja2: a name not given is an error, never a blank.

A teacher's prompts come in sets: `cited/` (reasons that cite their evidence), `paper/` (the published method), or a
folder of the user's own, whose files stand in for those of `cited/`. What all sets share stands beside them, and so do
the student's: `recommend.md`, and `as-published.md` where the set is `paper`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

from reasoningrec.errors import ConfigError

_FOLDER: Final = Path(__file__).parent
NAMES: Final = ("describe", "profile", "reason", "reason-unhinted", "judge")
"""The files of a set."""
SETS: Final = ("cited", "paper")
"""The sets that come with the package."""


def _environment(folders: Sequence[Path]) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _shared() -> SandboxedEnvironment:
    return _environment([_FOLDER])


def render(name: str, **values: object) -> str:
    """The text of the shared prompt `name` ("recommend" for recommend.md) with `values` filled in.

    Raises:
        jinja2.UndefinedError: the file uses a name that is not among `values`.
    """
    return _shared().get_template(f"{name}.md").render(**values)


def digest(name: str) -> str:
    """SHA-256 of a shared prompt's file, in hex: changes whenever the wording does."""
    return hashlib.sha256((_FOLDER / f"{name}.md").read_bytes()).hexdigest()


@dataclass(frozen=True)
class PromptSet:
    """A teacher's prompts.

    Attributes:
        name: "cited", "paper", or the path of the user's folder.
    """

    name: str

    @functools.cached_property
    def folders(self) -> tuple[Path, ...]:
        """Where files are looked for, in order. Raises ConfigError where the user's folder holds no prompt."""
        if self.name in SETS:
            return (_FOLDER / self.name, _FOLDER / "cited")
        folder = Path(self.name)
        if not folder.is_dir():
            raise ConfigError(f"texts.prompts: {folder}: no such folder", hint=f"Or name a set: {', '.join(SETS)}.")
        if not any((folder / f"{name}.md").is_file() for name in NAMES):
            names = ", ".join(f"{name}.md" for name in NAMES)
            raise ConfigError(f"texts.prompts: {folder}: holds none of {names}", hint="Those not there are cited/'s.")
        return (folder, _FOLDER / "cited")

    @property
    def cites(self) -> bool:
        """Whether rationales are asked to cite their evidence."""
        return self.name != "paper"

    def render(self, name: str, **values: object) -> str:
        """The text of prompt `name`. Raises ConfigError, naming file and line, where the user's file is wrong."""
        try:
            return self._environment.get_template(f"{name}.md").render(**values).strip()
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
            if self.name in SETS:
                raise
            raise self._wrong(name, error, values) from None

    def _wrong(self, name: str, error: Exception, values: Iterable[str]) -> ConfigError:
        """The error to raise where a prompt of the user's cannot be used: by the file and line that it stopped in."""
        where, line = str(self._path(name)), getattr(error, "lineno", None)
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.endswith(".md"):
                where, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next
        if isinstance(error, jinja2.TemplateSyntaxError):
            where, line = error.filename or where, error.lineno
        said = getattr(error, "message", None) or str(error) or type(error).__name__
        hint = f"It may use: {', '.join(sorted(values))}." if values else ""
        return ConfigError(f"{where}{f':{line}' if line else ''}: cannot be filled in: {said}", hint=hint)

    def check(self) -> None:
        """See that every prompt can be read. Raises ConfigError, naming file and line."""
        for name in NAMES:
            try:
                self._environment.get_template(f"{name}.md")
            except (jinja2.TemplateError, UnicodeDecodeError) as error:
                raise self._wrong(name, error, ()) from None

    def digest(self, name: str) -> str:
        """SHA-256 of the prompt's file, of the files it includes, and of how its answer is asked for, in hex."""
        wording = [digest("answer"), digest("repair")]
        wording += [hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files(f"{name}.md")]
        return hashlib.sha256("".join(wording).encode()).hexdigest()

    def _files(self, file: str, above: tuple[str, ...] = ()) -> list[Path]:
        """Where `file` and the files it includes are."""
        path = next((path for folder in self.folders if (path := folder / file).is_file()), None)
        if path is None:
            return []
        try:
            included = meta.find_referenced_templates(self._environment.parse(path.read_text("utf-8")))
        except (jinja2.TemplateError, UnicodeDecodeError):
            return [path]  # told when it is read
        inner = (self._files(name, (*above, file)) for name in included if name and name not in (*above, file))
        return [path, *itertools.chain.from_iterable(inner)]

    def _path(self, name: str) -> Path:
        return self._files(f"{name}.md")[0]

    @functools.cached_property
    def _environment(self) -> SandboxedEnvironment:
        return _environment(self.folders)
