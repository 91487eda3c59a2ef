"""In which words the teacher is asked: a set of prompts, and what one calls items and users."""

from __future__ import annotations

from dataclasses import dataclass

from reasoningrec.llm.client import Message
from reasoningrec.prompts import PromptSet


@dataclass(frozen=True)
class Wording:
    """The prompts, and the words of the domain that they are filled with."""

    prompts: PromptSet
    item_word: str = "item"
    items_word: str = "items"
    user_word: str = "person"

    def ask(self, name: str, **values: object) -> tuple[Message, ...]:
        """Prompt `name` as a chat. Raises ConfigError where a prompt of the user's cannot be filled in."""
        words = {"item_word": self.item_word, "items_word": self.items_word, "user_word": self.user_word}
        return (Message("user", self.prompts.render(name, **words, **values)),)
