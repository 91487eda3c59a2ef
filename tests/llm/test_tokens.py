"""Tokens are counted by the model's own tokenizer, or estimated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from reasoningrec.errors import ConfigError, MissingExtraError
from reasoningrec.llm.tokens import PER_MESSAGE, Counter, estimate, of_words


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """One token to a word; the file cuts texts at 4 tokens, fills them to 8, and puts a token before each."""
    words = Tokenizer(models.WordLevel({"[?]": 0, "a": 1, "[B]": 2}, unk_token="[?]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.enable_truncation(4)
    words.enable_padding(length=8)
    words.post_processor = processors.TemplateProcessing(single="[B] $A", special_tokens=[("[B]", 2)])
    words.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_tokenizer_counts_whole_texts(tokenizer: Path) -> None:
    for place in (tokenizer, tokenizer / "tokenizer.json"):
        counter = Counter(str(place))
        assert counter.exact
        assert counter.count(["a " * 100, "a"]) == 101 + 2 * PER_MESSAGE
        assert counter.count(["a \ud83d b"]) == 3 + PER_MESSAGE
        assert counter.count([]) == 0


def test_without_one_it_is_estimated() -> None:
    counter = Counter("")
    assert not counter.exact
    assert counter.count(["x" * 400]) == 100 + PER_MESSAGE == estimate(["x" * 400])
    assert of_words(100) == 150


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", "utf-8")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"tokenizer: .* cannot be read") as error:
            Counter(str(place))
        assert error.value.hint == "Name a tokenizer.json."


def test_without_the_package_it_says_what_to_do(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError) as error:
        Counter(str(tokenizer))
    assert "pip install" in error.value.hint
