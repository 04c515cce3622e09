"""What a word is: a run of letters, digits, ``'`` and ``-`` with at least one letter or digit.

A letter's combining marks (accents, vowel signs) belong to it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple


class WordSpan(NamedTuple):
    """A word at ``start`` .. ``end`` of a text; the white space right before it begins at ``lead``.

    All in characters.
    """

    lead: int
    start: int
    end: int


def is_word_character(character: str) -> bool:
    """Whether ``character`` can be part of a word."""
    return (
        character.isalnum() or character in "'-" or unicodedata.category(character).startswith("M")
    )


def is_word(text: str) -> bool:
    """Whether ``text`` is one whole word."""
    return all(map(is_word_character, text)) and any(map(str.isalnum, text))


def word_spans(text: str) -> Iterator[WordSpan]:
    """The words of ``text``, in order."""
    position = 0
    lead = 0
    while position < len(text):
        if not is_word_character(text[position]):
            if not text[position].isspace():
                lead = position + 1
            position += 1
            continue
        start = position
        while position < len(text) and is_word_character(text[position]):
            position += 1
        if any(map(str.isalnum, text[start:position])):
            yield WordSpan(lead, start, position)
        lead = position
