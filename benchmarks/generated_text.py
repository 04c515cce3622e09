"""Prose of no meaning, as much as is wanted, whose words are as frequent as those of real prose.

Words are made of syllables and drawn by Zipf's law, which falls off faster behind the few thousand
that make up most of a language: so that new ones keep coming, as many as in books.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: That a large text is made of.
NUM_WORDS = 600_000
_NUM_USUAL_WORDS = 6_000
_SHIFT = 2.7
_WORDS_PER_PART = 200_000
_SYLLABLES = [a + b + c for a in "bdfghklmnprstvw" for b in "aeiou" for c in ("", "n", "r", "st")]
_ENDS = (" ", ", ", "; ", ". ", "? ", ".\n\n", "’s ", " “", "” ")
_END_SHARES = (0.83, 0.06, 0.01, 0.05, 0.005, 0.01, 0.015, 0.01, 0.01)


def write_text(path: Path, num_bytes: int, seed: int, *, num_words: int = NUM_WORDS) -> None:
    """At least ``num_bytes`` of UTF-8 into ``path``, of as many words; the same for a seed."""
    generator = np.random.default_rng(seed)
    pieces = [piece.encode("utf-8") for piece in (*_words(generator, num_words), *_ENDS)]
    pool = np.frombuffer(b"".join(pieces), np.uint8)
    lengths = np.array([len(piece) for piece in pieces])
    starts = np.cumsum(lengths) - lengths
    ranks = np.arange(num_words)
    heights = 1.0 / ((ranks + _SHIFT) * (1.0 + ranks / _NUM_USUAL_WORDS))
    cumulative = np.cumsum(heights) / heights.sum()
    with path.open("wb") as file:
        while file.tell() < num_bytes:
            drawn = _draw(generator, cumulative)
            ends = np.cumsum(lengths[drawn])
            places = np.repeat(starts[drawn] - ends + lengths[drawn], lengths[drawn])
            file.write(pool[places + np.arange(len(places))].tobytes())


def _draw(generator: np.random.Generator, cumulative: NDArray[np.float64]) -> NDArray[np.int64]:
    """Words and what stands behind each, as indices, in turn."""
    num_words = len(cumulative)
    drawn = np.empty((_WORDS_PER_PART, 2), np.int64)
    ranks = np.searchsorted(cumulative, generator.random(_WORDS_PER_PART))
    drawn[:, 0] = np.minimum(ranks, num_words - 1)
    drawn[:, 1] = num_words + generator.choice(len(_ENDS), _WORDS_PER_PART, p=_END_SHARES)
    return drawn.ravel()


def _words(generator: np.random.Generator, num_words: int) -> list[str]:
    """By rank: frequent ones are short, one in ten begins with a capital."""
    wanted = 0.75 * np.log10(np.arange(num_words) + 1.0) + generator.random(num_words)
    counts = np.clip(wanted, 1, 6)
    picks = generator.integers(len(_SYLLABLES), size=(num_words, 6)).tolist()
    words = [
        "".join([_SYLLABLES[pick] for pick in row[:count]])
        for row, count in zip(picks, counts.astype(int).tolist(), strict=True)
    ]
    return [word.capitalize() if rank % 10 == 9 else word for rank, word in enumerate(words)]
