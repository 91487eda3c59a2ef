"""`nano`: a Llama of a few million weights, started at random, with a byte-level BPE tokenizer trained on the spot.

Its citation ids and decision words are single tokens, so a citation can be allowed or barred by masking one logit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reasoningrec.config import TrainConfig
from reasoningrec.student.encode import CITATIONS
from reasoningrec.student.form import DECISIONS
from reasoningrec.student.shorthand import SLOTS

END: Final = "<|end|>"
PAD: Final = "<|pad|>"
ROOM_TO_WRITE: Final = 1024
"""Positions beyond `max_tokens`, so that a text may run on after the longest prompt."""
APART: Final = (
    r"\n(?:Why|Taste|Prediction):| \((?:(?:very |strongly |slightly )*(?:for|against)|neutral)\)|[.:;] |\d|\"|\n"
)
"""What no token of nano reaches across: the form's own words, strengths, ends of clauses, digits, quotes, lines."""
LEAST_SEEN: Final = 6
LONGEST_TOKEN: Final = 40
SAMPLE: Final = 2000
"""Texts at most that nano's tokenizer is trained on, evenly spread."""


def make(config: TrainConfig, texts: Sequence[str], seed: int) -> tuple[Any, PreTrainedTokenizerFast]:
    """An untrained model and its tokenizer, which is trained on `texts`."""
    tokenizer = _phrase_bpe(texts, config.vocabulary)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),  # text of few patterns gives fewer merges than asked for
        hidden_size=config.hidden,
        intermediate_size=-(-config.hidden * 8 // 3 // 32) * 32,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_tokens + ROOM_TO_WRITE,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return LlamaForCausalLM(shape), tokenizer


def _phrase_bpe(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `size` tokens whose merges may cross spaces; citations, slots and decisions are whole.

    Prompts and reasons repeat whole phrases, so merging past words (SuperBPE, Liu et al. 2025) cuts a prompt by a third
    and a text by half: few choices, which a small model can learn from a few hundred rows.
    """
    special = [tokenizers.AddedToken(token, special=True, normalized=False) for token in (END, PAD)]
    decisions = [tokenizers.AddedToken(word, single_word=True, normalized=False) for word in DECISIONS]
    words = [tokenizers.AddedToken(word, normalized=False) for word in (*(f"[{id_}]" for id_ in CITATIONS), *SLOTS)]
    tokenizer = tokenizers.Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(tokenizers.Regex(APART), "isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special) - len(decisions) - len(words),
        min_frequency=LEAST_SEEN,
        max_token_length=LONGEST_TOKEN,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    between = re.compile("|".join(re.escape(word.content) for word in words))
    sample = texts[:: -(-len(texts) // SAMPLE) or 1]
    tokenizer.train_from_iterator((part for text in sample for part in between.split(text) if part), trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([*decisions, *words])
    wrap: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerFast,
        wrap(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False),
    )
