"""What each token does to a word: ``WordVocabulary``, the same for every kind of tokenizer.

Reading tokens one after the other, one is always at some ``Place``: before a word, in its white
space, or inside it; perhaps in the middle of a character. There each token goes on, ends the word,
or does neither: it holds the end of the word and more behind it.
"""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterator
from typing import Literal, NamedTuple

from model.tokenizers.tokenizer import Tokenizer
from service.words.word import is_word_character

_MAX_PLACES = 1024

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
    """Sets of tokens: a byte, 1 or 0, for each token of the vocabulary.

    Attributes:
        goes_on: those that go on with the word, or may.
        ends: those that end it.
        undecided: of those that go on, the ones that are only the beginning of a character, which
            may be one of a word or not.
    """

    goes_on: bytes
    ends: bytes
    undecided: bytes


class WordVocabulary:
    """The tokens of ``tokenizer`` as parts of words. Safe to share by threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pieces = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
        self._continuing = [
            token_id for token_id, piece in enumerate(self._pieces) if _continues(piece)
        ]
        self.sets = functools.lru_cache(_MAX_PLACES)(self._sets)

    @property
    def has_undecided(self) -> bool:
        """Whether there are tokens that are only the beginning of a character."""
        return 1 in self.sets(Place(inside=True)).undecided

    def piece(self, token_id: int) -> bytes:
        """The bytes of a token."""
        return self._pieces[token_id]

    def step(self, place: Place, token_id: int) -> Place | None:
        """Where ``token_id``, which goes on from ``place``, leads to; None: it does not go on."""
        effect, after, _ = self._read(place, token_id)
        return after if effect == "goes on" else None

    def _sets(self, place: Place) -> TokenSets:
        size = len(self._pieces)
        # A character that is not continued is none, and none of a word.
        ends = bytearray([bool(place.pending) and place.inside]) * size
        goes_on, undecided = bytearray(size), bytearray(size)
        for token_id in self._continuing if place.pending else range(size):
            effect, _, is_open = self._read(place, token_id)
            goes_on[token_id] = effect == "goes on"
            ends[token_id] = effect == "ends"
            undecided[token_id] = is_open
        return TokenSets(bytes(goes_on), bytes(ends), bytes(undecided))

    def _read(self, place: Place, token_id: int) -> tuple[Effect, Place, bool]:
        """What the token does, where it leads, and whether that is still open."""
        piece = self._pieces[token_id]
        if not piece:  # the end token; it also ends a character that is not complete
            return ("ends" if place.inside else "neither"), place, False
        text, pending = _decode(place.pending + piece)
        if pending and not may_be_word_character(pending):
            text, pending = text + "\ufffd", b""
        if place.inside:
            effect, after = _read_inside(text, Place(True, None, pending))
        else:
            effect, after = _read_before(text, place.lead, pending)
        return effect, after, effect == "goes on" and not text


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


def _continues(piece: bytes) -> bool:
    """Whether ``piece`` begins in the middle of a character."""
    return bool(piece) and 0x80 <= piece[0] < 0xC0


@functools.lru_cache(4096)
def may_be_word_character(beginning: bytes) -> bool:
    """Whether a word's character begins with these bytes, an incomplete character's."""
    return any(map(is_word_character, _completions(beginning)))


def _completions(beginning: bytes) -> Iterator[str]:
    """Every character whose UTF-8 begins with ``beginning``."""
    lead = beginning[0]
    length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    num_left = length - len(beginning)
    code = lead & (0x7F >> length)
    for byte in beginning[1:]:
        code = code << 6 | byte & 0x3F
    least = (0x80, 0x800, 0x10000)[length - 2]
    first, last = code << 6 * num_left, ((code + 1) << 6 * num_left) - 1
    for code_point in range(max(first, least), min(last, 0x10FFFF) + 1):
        if not 0xD800 <= code_point < 0xE000:
            yield chr(code_point)
