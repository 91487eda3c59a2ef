"""The command line: thin commands over the same functions Python users call."""

from reasoningrec.cli.app import main

__all__ = ["main"]
