"""Learning a tokenizer from texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer as Library
from tokenizers import pre_tokenizers, trainers

from model.errors import ConfigurationError
from model.tokenizers.kinds import (
    TokenizerKind,
    blank_tokenizer,
    recognise_special_tokens,
    special_tokens,
)
from model.tokenizers.tokenizer import Tokenizer, replace_surrogates

_MAX_VOCAB_SIZE = 1_000_000


def train_tokenizer(kind: TokenizerKind, texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids from ``texts``.

    ``char`` and ``word`` keep the most frequent characters or words, the most frequent first
    (among equals the one first in code point order); ``bpe`` merges the most frequent pair again
    and again. The same texts give the same tokenizer.

    Args:
        kind: ``char``, ``word`` or ``bpe``.
        texts: read once.
        vocab_size: most ids, reserved ones included; at least 257 for ``bpe`` (all bytes), else 3.

    Raises:
        ConfigurationError: ``kind`` or ``vocab_size`` cannot be used.
    """
    if kind not in ("char", "word", "bpe"):
        raise ConfigurationError(f"tokenizer kind is {kind!r}; it must be char, word or bpe")
    least = 257 if kind == "bpe" else 3
    if not least <= vocab_size <= _MAX_VOCAB_SIZE:
        raise ConfigurationError(
            f"vocab_size is {vocab_size}; for {kind} it must be from {least} to {_MAX_VOCAB_SIZE}"
        )
    learn = {"char": _learn_characters, "word": _learn_words, "bpe": _learn_merges}[kind]
    library = learn(map(replace_surrogates, texts), vocab_size)
    recognise_special_tokens(library, kind)
    return Tokenizer(library.to_str(pretty=True))


def _learn_characters(texts: Iterable[str], vocab_size: int) -> Library:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    special = special_tokens("char")
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    tokens = special + frequent[: vocab_size - len(special)]
    return blank_tokenizer("char", {token: token_id for token_id, token in enumerate(tokens)})


def _learn_words(texts: Iterable[str], vocab_size: int) -> Library:
    library = blank_tokenizer("word", {})
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, special_tokens=special_tokens("word"), show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    return library


def _learn_merges(texts: Iterable[str], vocab_size: int) -> Library:
    library = blank_tokenizer("bpe", {})
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=special_tokens("bpe"),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return library
