"""What each token does to a word: ``WordVocabulary``, the same for every kind of tokenizer.

Reading tokens one after the other, one is always at some ``Place``: before a word, in its white
space, or inside it; perhaps in the middle of a character. There each token goes on, ends the word,
or does neither: it holds the end of the word and more behind it.
"""

from __future__ import annotations

import codecs
import functools
from typing import Literal, NamedTuple

from model.tokenizers.tokenizer import Tokenizer
from service.words.word import is_word_character

_MAX_PLACES = 256

Effect = Literal["goes on", "ends", "neither"]


class Place(NamedTuple):
    """Where a text stands in a word.

    Attributes:
        inside: whether a character of the word has been read.
        lead: white space still to come before the word; None: any, or none.
        pending: bytes of an incomplete character.
    """

    inside: bool = False
    lead: str | None = None
    pending: bytes = b""

    @property
    def may_end(self) -> bool:
        """Whether the text so far may be a whole word."""
        return self.inside and not self.pending


class TokenSets(NamedTuple):
    """A byte, 1 or 0, for each token of the vocabulary: those that go on, and those that end."""

    goes_on: bytes
    ends: bytes
    undecided: bytes  # of those that go on, those that leave the first new character incomplete


class WordVocabulary:
    """The tokens of ``tokenizer`` as parts of words. Safe to share by threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pieces = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
        self.sets = functools.lru_cache(_MAX_PLACES)(self._sets)

    @property
    def ends_word(self) -> bytes:
        """The tokens that end a word, a byte each."""
        return self.sets(Place(inside=True)).ends

    def piece(self, token_id: int) -> bytes:
        """The bytes of a token."""
        return self._pieces[token_id]

    def step(self, place: Place, token_id: int) -> Place | None:
        """Where ``token_id``, which goes on from ``place``, leads to; None: it does not go on."""
        effect, after = self._read(place, token_id)
        return after if effect == "goes on" else None

    def _sets(self, place: Place) -> TokenSets:
        goes_on, ends, undecided = (bytearray(len(self._pieces)) for _ in range(3))
        for token_id in range(len(self._pieces)):
            effect, _ = self._read(place, token_id)
            goes_on[token_id] = effect == "goes on"
            ends[token_id] = effect == "ends"
            undecided[token_id] = effect == "goes on" and not self._completes(place, token_id)
        return TokenSets(bytes(goes_on), bytes(ends), bytes(undecided))

    def _completes(self, place: Place, token_id: int) -> bool:
        return bool(_decode(place.pending + self._pieces[token_id])[0])

    def _read(self, place: Place, token_id: int) -> tuple[Effect, Place]:
        piece = self._pieces[token_id]
        if not piece:  # the end token; it also ends a character that is not complete
            return ("ends" if place.inside else "neither"), place
        text, pending = _decode(place.pending + piece)
        if place.inside:
            return _read_inside(text, Place(True, None, pending))
        return _read_before(text, place.lead, pending)


def _read_inside(text: str, after: Place) -> tuple[Effect, Place]:
    if all(map(is_word_character, text)):
        return "goes on", after
    return ("neither" if is_word_character(text[0]) else "ends"), after


def _read_before(text: str, lead: str | None, pending: bytes) -> tuple[Effect, Place]:
    if lead is None:
        word = text.lstrip()
        rest = None
    elif lead.startswith(text):
        word, rest = "", lead[len(text) :]
    elif text.startswith(lead):
        word, rest = text[len(lead) :], ""
    else:
        return "neither", Place()
    if not all(map(is_word_character, word)):
        return "neither", Place()
    return "goes on", Place(bool(word), None if word else rest, pending)


def _decode(data: bytes) -> tuple[str, bytes]:
    """The text of ``data``, and the bytes of an incomplete character at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, bytes(decoder.getstate()[0])
