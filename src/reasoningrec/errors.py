"""Every error this package raises on purpose: one root, each with a hint and whether trying again can help."""

from __future__ import annotations


class ReasoningRecError(Exception):
    """Root of all errors of the package.

    Attributes:
        hint: what the user can do about it, one sentence.
        retryable: whether the same call can succeed later without any change.
        exit_code: what the command line exits with (2: the user's input is wrong, 3: failed part-way).
    """

    retryable = False
    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  hint: {self.hint}" if self.hint else message


class InputError(ReasoningRecError, ValueError):
    """The user typed or supplied something that cannot be used: a flag, a path, an id."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file is missing, malformed, or has an unknown key or a value out of range."""


class DataError(InputError):
    """A data file is missing, unreadable, or holds rows that break a stated rule."""


class NotInRunError(InputError):
    """A user, item or artifact is asked for that the run does not hold."""


class RunError(InputError):
    """A run directory cannot be used as asked: locked, of another configuration, or damaged."""


class CacheError(ReasoningRecError):
    """The file of kept answers cannot be read or written any more: the disk is full, or was taken away."""


class TeacherError(ReasoningRecError):
    """A writer could not produce a text that parses."""


class StudentError(ReasoningRecError):
    """A student cannot be built, trained, loaded or asked as configured."""


class MissingExtraError(InputError):
    """An optional dependency is needed; the hint names the pip command."""
