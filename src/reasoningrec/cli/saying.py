"""Plain lines on the terminal, and counts in words."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it stands: no markup, no colours of its own, lines as long as they are."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def many(count: int, what: str) -> str:
    """A count in words: 1 answer, 2 answers."""
    return f"{count:,} {what}{'s' * (count != 1)}"
