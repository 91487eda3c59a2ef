"""The form in which a student is asked and answers, and any base's tokenizer made to speak it.

A prompt and what follows it are one text, in tokens as the tokenizer itself would make them:

- with a chat template, the user's turn is the prompt without its last line, and the assistant's begins "Prediction:";
- without one, the prompt is a plain text that ends in "Prediction:".

A student that reasons first begins "Why:" instead, and says "Prediction:" after its reasons. Where its decisions are,
and which tokens they are, is not looked up but found: both are written out, and the place is where they part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from reasoningrec.errors import ConfigError, StudentError
from reasoningrec.llm.forms import is_tag
from reasoningrec.llm.templates import Template
from reasoningrec.student.cites import Pieces
from reasoningrec.student.form import CUE, DECISIONS, PLAN, TASTE, WHY

FORMS: Final = (DECISIONS, ("No", "Yes"))
"""How the decisions may stand after "Prediction:"; the first that a tokenizer has single tokens for is taken."""
SAMPLE: Final = 'Will this person like [T]?\n[H1] "Mug": liked\n[T] "Lamp"\nFor: [H1]\nAgainst: nothing'
FOLLOWING: Final = (f"{PLAN} [H1]{WHY} You", f"{WHY} You", ".")
"""What may stand after a decision without changing its token."""
QUIET: Final = {"enable_thinking": False}
"""Variables for chat templates: a student decides at once."""


class Speech:
    """A tokenizer of transformers that speaks the form.

    Attributes:
        tokenizer: the tokenizer itself.
        reasons_first: whether reasons come before the decision.
        decisions: token ids of (No, Yes).
        end: id of the token that ends an answer.
    """

    def __init__(self, tokenizer: Any, order: str = "label-first") -> None:
        """See that the tokenizer can speak the form.

        Raises:
            StudentError: it has no single, distinct tokens for the decisions after "Prediction:", they change with what
                follows, it joins parts of the form, has no end token, or its chat template cannot render the form.
        """
        if not getattr(tokenizer, "is_fast", False):
            hint = "Store it as tokenizer.json, or name another base."
            raise StudentError(
                f"the tokenizer {type(tokenizer).__name__} is not one of the tokenizers library", hint=hint
            )
        self.tokenizer, self.reasons_first = tokenizer, order == "reason-first"
        self._template = Template(tokenizer, QUIET) if tokenizer.chat_template else None
        self._words, self.decisions = self._find_decisions()
        self.end = self._find_end()
        for opening in (f"{self.said(True)}{PLAN} [H1] but [U1]{WHY}", WHY[1:]):
            self.after(opening, f' You liked "Mug" [H1].{TASTE} Mugs.')

    def __len__(self) -> int:
        return len(self.tokenizer)

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return self._template is not None

    @property
    def opening(self) -> str:
        """How an answer begins."""
        return WHY[1:] if self.reasons_first else CUE[1:]

    def said(self, label: bool) -> str:
        """A decision with its cue, as "Prediction: Yes"."""
        return CUE[1:] + self._words[label]

    def prompt(self, asked: str) -> tuple[int, ...]:
        """Tokens of a prompt, up to where the decision stands, or the reasons where they come first.

        Raises StudentError where the tokenizer, or its template, writes this prompt in another way than the sample.
        """
        asked = asked.removesuffix(CUE)
        if self.reasons_first:
            return self._tokens(asked, self.opening)
        *before, last = self._tokens(asked, self.said(True))
        if last != self.decisions[True]:
            raise StudentError(f"the tokenizer writes {self.said(True)!r} in another way after {asked[-40:]!r}")
        return tuple(before)

    def shown(self, asked: str) -> str:
        """A prompt as text: what the tokenizer makes of it is the prompt, a beginning of text that it adds left out."""
        tokens = self.prompt(asked)
        return self._spoken(tokens[1:] if tokens[0] == self.tokenizer.bos_token_id else tokens)

    def after(self, before: str, text: str) -> tuple[int, ...]:
        """Tokens of `text` where it follows `before`. Raises StudentError where a token reaches over the seam."""
        first, whole = self._plain(before), self._plain(before + text)
        if whole[: len(first)] != first:
            raise StudentError(
                f"the tokenizer joins {before[-20:]!r} and {text[:20]!r}, so a text cannot be gone on with there"
            )
        return whole[len(first) :]

    def text(self, tokens: Sequence[int]) -> str:
        """What `tokens` say after "Why:"."""
        first = self._plain(WHY[1:])
        whole: str = self.tokenizer.decode([*first, *tokens], clean_up_tokenization_spaces=False)
        return whole[len(self._spoken(first)) :]

    @cached_property
    def pieces(self) -> Pieces:
        """What each token of the vocabulary adds to a text; "" for control tokens, which add nothing."""
        before = self._plain(CUE[1:])[-1]
        head = self._spoken([before])
        pairs = [[before, token] for token in range(len(self.tokenizer))]
        texts = self.tokenizer.backend_tokenizer.decode_batch(pairs, skip_special_tokens=False)
        silent = self._control
        return Pieces(["" if token in silent else text[len(head) :] for token, text in enumerate(texts)])

    @property
    def _control(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        marked = {id_ for id_, token in added if token.special or is_tag(token.content)}
        return frozenset(marked.union(self.tokenizer.all_special_ids))

    def _spoken(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    def _plain(self, text: str) -> tuple[int, ...]:
        """Tokens of a text that is no prompt; what reads like a control token in it is none."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _tokens(self, asked: str, said: str) -> tuple[int, ...]:
        """Tokens of a prompt and how its answer begins."""
        if self._template is None:
            return tuple(self.tokenizer(f"{asked}\n{said}", split_special_tokens=True)["input_ids"])
        try:
            return self._template.begun(_turns(asked, said))
        except ConfigError as error:
            raise StudentError(
                str(error), hint="Name a base whose template takes a user's and an assistant's turn."
            ) from None

    def _find_decisions(self) -> tuple[tuple[str, str], tuple[int, int]]:
        """The decisions' words and tokens, in the first form that the tokenizer has."""
        failures = []
        for words in FORMS:
            try:
                return words, self._decisions(words)
            except StudentError as error:
                failures.append(error)
        raise failures[0]

    def _decisions(self, words: tuple[str, str]) -> tuple[int, int]:
        both = [self._tokens(SAMPLE, CUE[1:] + word) for word in words]
        shared = _shared(*both)
        if both[0] == both[1]:
            raise _unfit("has the same token for Yes and No")
        for word, tokens in zip(words, both, strict=True):
            rest = len(tokens) - len(shared)
            if rest != 1:
                raise _unfit(f"writes {word!r} after {CUE[1:]!r} as {rest} tokens, not as a single token")
        if not self._spoken(shared).rstrip().endswith(CUE[1:]):
            raise _unfit(f"begins {words[0]!r} and {words[1]!r} after {CUE[1:]!r} with the same first token")
        no, yes = (tokens[-1] for tokens in both)
        if self.tokenizer.unk_token_id in (no, yes):
            raise _unfit("does not know Yes or No")
        for word, tokens in zip(words, both, strict=True):
            for text in FOLLOWING:
                if self._tokens(SAMPLE, CUE[1:] + word + text)[: len(tokens)] != tokens:
                    raise _unfit(f"writes {word!r} in another way where {text[:10]!r} follows")
        return no, yes

    def _find_end(self) -> int:
        """The token with which the assistant's turn ends; without a template, the end of the text."""
        if self._template is not None:
            turns = self._tokens(SAMPLE, self.said(True))
            whole = self._template.ended(_turns(SAMPLE, self.said(True)))
            control = self._control
            if whole[: len(turns)] == turns and (ends := [token for token in whole[len(turns) :] if token in control]):
                return ends[0]
        end = self.tokenizer.eos_token_id
        if end is None:
            raise StudentError("the tokenizer has no token that ends a text", hint="Set its eos_token.")
        return int(end)


def _turns(asked: str, said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def _shared(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """What two rows of tokens both begin with."""
    parted = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return tuple(first[:parted])


def _unfit(problem: str) -> StudentError:
    return StudentError(
        f"the tokenizer {problem}", hint="A base is needed whose tokenizer has one token for each decision."
    )
