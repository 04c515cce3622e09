"""Cutting text into stretches whose token ids do not depend on what stands around them.

Every tokenizer here begins a new token (``model.tokenizers.kinds``)

- between a visible character and a following space, tab or line end;
- between a letter, a digit and a punctuation mark, whichever of them follows which;
- between a letter or digit and a following apostrophe (but not behind it: ``'s`` is one token).

So text may be cut there and its parts encoded one by one. A character whose kind the tokenizer's
regular expressions might see otherwise than we do belongs to no class that is cut at: only what was
a letter or mark in Unicode 3.2 and still is one today counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

_UNSAFE, _LETTER, _DIGIT, _MARK, _APOSTROPHE, _VISIBLE, _SPACE = range(7)
_NUM_CLASSES = 8
_NUM_CODE_POINTS = 0x110000
_NUM_CLASSIFIED = 0x30000

#: An odd number, as a multiplier modulo 2^64 must be; otherwise of no meaning.
_MULTIPLIER = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Stretches:
    """Texts, joined and cut.

    Attributes:
        text: the texts, joined.
        code_points: [characters] uint32, of ``text``.
        starts: [stretches] int64, position of each one's first character.
        lengths: [stretches] int64, in characters; none is empty.
        hashes: [stretches] uint64, of the characters of each.
        text_starts: [texts] int64, index of the first stretch of each text.
    """

    text: str
    code_points: NDArray[np.uint32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    text_starts: NDArray[np.int64]

    def __getitem__(self, index: int) -> str:
        """The characters of one stretch."""
        start = int(self.starts[index])
        return self.text[start : start + int(self.lengths[index])]


def cut_texts(texts: Sequence[str]) -> Stretches:
    """The stretches of ``texts``, none of which holds a lone surrogate."""
    text = "".join(texts)
    code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    sizes = np.array([len(text) for text in texts], np.int64)
    begins = np.cumsum(sizes) - sizes
    is_start = np.zeros(len(text) + 1, np.bool_)
    classes = _class_table()[code_points]
    np.take(_cut_table(), classes[:-1] * _NUM_CLASSES + classes[1:], out=is_start[1:-1])
    is_start[begins] = True
    is_start[len(text)] = False
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=len(text))
    hashes = _hash(code_points, starts)
    return Stretches(text, code_points, starts, lengths, hashes, np.searchsorted(starts, begins))


def _hash(code_points: NDArray[np.uint32], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """[stretches]: sum of code point times multiplier^position, positions from the stretch's start.

    All sums of one batch are taken at once with positions from the start of the batch, then divided
    by multiplier^start; modulo 2^64 every odd number has an inverse.
    """
    if not len(starts):
        return np.zeros(0, np.uint64)
    powers, inverses = _powers(1 << len(code_points).bit_length())
    sums = np.add.reduceat(code_points * powers[: len(code_points)], starts)
    hashes: NDArray[np.uint64] = sums * inverses[starts]
    return hashes


@cache
def _powers(number: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """[number] each: the powers of the multiplier and of its inverse, modulo 2^64."""
    inverse = pow(_MULTIPLIER, -1, 1 << 64)
    bases = (np.full(number, base, np.uint64) for base in (_MULTIPLIER, inverse))
    powers, inverses = (np.cumprod(base) for base in bases)
    return powers, inverses


@cache
def _class_table() -> NDArray[np.uint8]:
    """[code points]: the class of each."""
    table = np.full(_NUM_CODE_POINTS, _UNSAFE, np.uint8)
    for code_point in range(_NUM_CLASSIFIED):
        table[code_point] = _class_of(chr(code_point))
    return table


def _class_of(character: str) -> int:
    category = unicodedata.category(character)[0]
    was = unicodedata.ucd_3_2_0.category(character)[0]
    if character in " \t\n\r":
        return _SPACE
    if character in "'’":
        return _APOSTROPHE
    if category in "CZ" or was in "CZ" or character.isspace():
        return _UNSAFE
    if category == was == "L":
        return _LETTER
    if "0" <= character <= "9":
        return _DIGIT
    return _MARK if category in "PS" and was in "PS" else _VISIBLE


@cache
def _cut_table() -> NDArray[np.bool_]:
    """[class before * ``_NUM_CLASSES`` + class after]: whether a stretch ends between them."""
    table = np.zeros((_NUM_CLASSES, _NUM_CLASSES), np.bool_)
    kinds = (_LETTER, _DIGIT, _MARK)
    for before in kinds:
        for after in kinds:
            table[before, after] = before != after
    table[[_LETTER, _DIGIT], _APOSTROPHE] = True
    table[[*kinds, _APOSTROPHE, _VISIBLE], _SPACE] = True
    return table.ravel()
