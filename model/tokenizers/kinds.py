"""The three kinds of tokenizer as Hugging Face ``tokenizers`` objects, and which kind one is.

``char``  One token per Unicode code point: a BPE model without merges and without pre-tokenizer
          (the library reads it several times faster than a word model over single characters).
``word``  Words with the space before them (`` Italian``), numbers, single punctuation marks, line
          ends, other white space.
``bpe``   Byte-level BPE (Sennrich et al. 2016, Neural Machine Translation of Rare Words with
          Subword Units; bytes as in Radford et al. 2019, Language Models are Unsupervised
          Multitask Learners): merges never cross the pieces cut by ``BPE_PATTERN``.

Two properties of the patterns that other code relies on:

- Every repetition is bounded, so that a megabyte without a space costs no more than a page of prose
  (a piece is at most 64 characters, and the merging of one piece is not linear in its length).
- No piece holds white space behind a character that is none, and none looks further than its next
  character. So between a visible character and a following space or line end there is always a
  cut: text may be encoded in parts cut there, with the same ids.
"""

from __future__ import annotations

from typing import Literal

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

TokenizerKind = Literal["char", "word", "bpe"]

#: Separates documents and starts every sequence: always id 0.
END_OF_TEXT = "<|endoftext|>"
#: Stands for whatever a ``char`` or ``word`` vocabulary lacks: id 1 there, absent in ``bpe``.
UNKNOWN = "<|unk|>"

_CONTRACTION = r"['’](?i:[sdmt]|ll|ve|re)(?![\p{L}\p{M}])"
_WORD = r" ?[\p{L}\p{M}]{1,64}"

#: Pieces inside which byte pairs are merged. A line end is always a piece of its own, so that a
#: prompt that ends with one is cut as the same text was cut in training.
BPE_PATTERN = "|".join(
    [
        _CONTRACTION,
        _WORD,
        r" ?\p{N}{1,4}",
        r" ?[^\s\p{L}\p{M}\p{N}]{1,16}",
        r"\r?\n",
        r"[^\S\r\n]{1,64}(?!\S)",
        r"\s",
    ]
)

#: The tokens of the ``word`` kind.
WORD_PATTERN = "|".join(
    [_CONTRACTION, _WORD, r" ?\p{N}{1,16}", r" ?[^\s\p{L}\p{M}\p{N}]", r"\r?\n", r"\s"]
)


def special_tokens(kind: TokenizerKind) -> list[str]:
    """Names of the reserved tokens of ``kind``, in the order of their ids from 0."""
    return [END_OF_TEXT] if kind == "bpe" else [END_OF_TEXT, UNKNOWN]


def blank_tokenizer(kind: TokenizerKind, vocab: dict[str, int]) -> Library:
    """A library tokenizer of ``kind`` over ``vocab`` (token to id), for ``bpe`` without merges yet.

    It does not recognise the names of reserved tokens before ``recognise_special_tokens``, so that
    while it learns they are text like any other.
    """
    if kind == "char":
        library = Library(models.BPE(vocab=vocab, merges=[], unk_token=UNKNOWN))
        library.decoder = decoders.Fuse()
    elif kind == "word":
        library = Library(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
        library.decoder = decoders.Fuse()
    else:
        library = Library(models.BPE(vocab=vocab, merges=[]))
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(BPE_PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        library.decoder = decoders.ByteLevel()
    return library


def recognise_special_tokens(library: Library, kind: TokenizerKind) -> None:
    """Let ``library``, whose vocabulary begins with them, recognise the reserved tokens in text."""
    library.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in special_tokens(kind)]
    )


def kind_of(library: Library) -> TokenizerKind | None:
    """The kind of a tokenizer that was read from a file; None where it is none of ours."""
    if isinstance(library.model, models.BPE) and isinstance(library.decoder, decoders.ByteLevel):
        return "bpe"
    if not isinstance(library.decoder, decoders.Fuse):
        return None
    if isinstance(library.model, models.WordLevel) and library.pre_tokenizer is not None:
        return "word"
    if isinstance(library.model, models.BPE) and library.pre_tokenizer is None:
        return "char"
    return None
