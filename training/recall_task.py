"""A generated task that asks for memory alone: recall a word after a given number of steps.

    <|endoftext|> ... river Oslo remember Rome garden Cairo ... table recall -> Rome
                      fillers    mark    key   fillers                cue       answer

Words that fill are drawn at random, keys among them, so nothing but the mark tells the key from
any other word, and nothing but the key tells the answer. (After the long-lag tasks of Hochreiter &
Schmidhuber 1997, Long Short-Term Memory, with distractors.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.state import IntArray

KEYS = (
    *("Athens", "Bergen", "Cairo", "Dublin", "Essen", "Florence", "Geneva", "Havana"),
    *("Istanbul", "Jakarta", "Kyoto", "Lisbon", "Madrid", "Naples", "Oslo", "Prague"),
)
FILLERS = (
    *("anchor", "apple", "basket", "bridge", "candle", "copper", "door", "dragon"),
    *("engine", "evening", "feather", "forest", "garden", "gravel", "hammer", "harbour"),
    *("island", "jacket", "kettle", "ladder", "mirror", "needle", "orange", "paper"),
    *("quilt", "river", "stone", "table", "umbrella", "valley", "window", "yellow"),
)
MARK, CUE = "remember", "recall"

#: By token id. The first starts every sequence, as in every text.
WORDS = ("<|endoftext|>", *KEYS, *FILLERS, MARK, CUE)
FIRST_KEY, FIRST_FILLER, MARK_ID, CUE_ID = 1, 1 + len(KEYS), len(WORDS) - 2, len(WORDS) - 1

#: The key right before the cue.
MIN_DISTANCE = 2

#: Tokens of a sequence besides those from the key to the cue: the start and the mark.
OVERHEAD = 2

#: The share of right answers that guessing among the keys gives.
CHANCE = 1.0 / len(KEYS)


class RecallSequences(NamedTuple):
    """Sequences up to their cue, and what is to follow it.

    Attributes:
        inputs: [rows, time] int32.
        answers: [rows] int32, the key of each row.
    """

    inputs: IntArray
    answers: IntArray

    def as_text(self, row: int) -> str:
        """A row and its answer, for a person."""
        words = [WORDS[token_id] for token_id in self.inputs[row, 1:]]
        return f"{' '.join(words)} → {WORDS[self.answers[row]]}"


def draw_sequences(
    distances: NDArray[np.int64], num_steps: int, random: np.random.Generator
) -> RecallSequences:
    """One sequence per distance, all of the same length.

    Args:
        distances: [rows], steps from reading the key to predicting the answer; from 2 to
            ``num_steps - OVERHEAD``.
        num_steps: tokens of each sequence, the cue included.
        random: what keys and fillers are drawn by.
    """
    rows = np.arange(len(distances))
    inputs = random.integers(FIRST_KEY, MARK_ID, (len(rows), num_steps), dtype=np.int32)
    answers = random.integers(FIRST_KEY, FIRST_FILLER, len(rows), dtype=np.int32)
    inputs[:, 0] = 0
    inputs[:, -1] = CUE_ID
    inputs[rows, num_steps - distances - 1] = MARK_ID
    inputs[rows, num_steps - distances] = answers
    return RecallSequences(inputs, answers)
