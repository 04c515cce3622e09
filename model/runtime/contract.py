"""What every runtime can do: five functions over token ids, flat states and logits."""

from __future__ import annotations

from typing import Protocol

from model.config import ModelConfig
from model.state import FloatArray, IntArray


class Runtime(Protocol):
    """A network that can be run one step at a time, without training.

    A row's result never depends on which other rows share its batch, on the batch's size, or on
    how a prompt was cut into pieces. States are [batch, state_size] float32 as laid out by
    ``model.state.RecurrentState``; inputs are never modified.
    """

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""

    def initial_state(self, batch_size: int) -> FloatArray:
        """State before any token: [batch, state_size] of zeros."""

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """Reads ``token_ids`` [batch, time] int32 from ``state``; returns the state after the last.

        Computes no logits. ``time`` may be 0, which returns a copy of ``state``.
        """

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads one token per row, [batch] int32.

        Returns logits [batch, vocab] of the token that follows, and the state after the token.
        """

    def score(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads ``token_ids`` [batch, time] int32 from ``state``, with the logits after each token.

        Returns logits [batch, time, vocab] and the state after the last token, equal to what
        ``step`` returns token by token. ``time`` may be 0.
        """

    def logits(self, state: FloatArray) -> FloatArray:
        """Logits [batch, vocab] of the next token, from the state alone.

        Equal to what ``step`` returned when it made this state.
        """
