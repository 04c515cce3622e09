"""A runtime without a network, for tests of everything above it: it spells a script, or babbles."""

import time
from collections.abc import Sequence

import numpy as np

from model.config import ModelConfig
from model.state import FloatArray, IntArray

_NUM_MOODS = 509  # rows of the table that babbling reads its logits from


class FakeRuntime:
    """Satisfies ``model.runtime.contract.Runtime``; every state is a function of all tokens read.

    With a ``script`` the most likely next token is, almost surely, the script's next one: after
    any token that does not continue it the script begins anew, after its last token comes the end
    token. Without a script the logits are random numbers chosen by a hash of all tokens read.

    Attributes:
        script: the tokens to spell; may be changed between steps.
        failures: so many of the next calls raise ``RuntimeError``.
        step_seconds: how long every call takes.
        rows_read: tokens read so far, over all rows.
    """

    def __init__(
        self, vocab_size: int = 32, script: Sequence[int] = (), end_of_text_id: int = 0
    ) -> None:
        self._config = ModelConfig(
            vocab_size=vocab_size, cell="simple_rnn", embedding_size=4, hidden_size=4
        )
        self.script = tuple(script)
        self.end_of_text_id = end_of_text_id
        self.failures = 0
        self.step_seconds = 0.0
        self.rows_read = 0
        random = np.random.default_rng(1)
        self._moods = random.normal(0.0, 2.0, (_NUM_MOODS, vocab_size)).astype(np.float32)

    @property
    def config(self) -> ModelConfig:
        return self._config

    def initial_state(self, batch_size: int) -> FloatArray:
        return np.zeros((batch_size, self._config.state_size), np.float32)

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        self._spend()
        state = state.copy()
        for column in np.asarray(token_ids).T:
            state = self._read(column, state)
        return state

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        self._spend()
        state = self._read(np.asarray(token_ids), state)
        return self._predict(state), state

    def score(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        self._spend()
        logits = np.empty((*np.shape(token_ids), self._config.vocab_size), np.float32)
        state = state.copy()
        for place, column in enumerate(np.asarray(token_ids).T):
            state = self._read(column, state)
            logits[:, place] = self._predict(state)
        return logits, state

    def logits(self, state: FloatArray) -> FloatArray:
        self._spend()
        return self._predict(state)

    def _spend(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("the fake network fails on request")
        time.sleep(self.step_seconds)

    def _read(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """State row: hash of the tokens, place in the script, tokens read, last token."""
        assert token_ids.shape == state.shape[:1], (token_ids.shape, state.shape)
        assert ((token_ids >= 0) & (token_ids < self._config.vocab_size)).all(), token_ids
        self.rows_read += len(token_ids)
        new_state = np.empty_like(state)
        new_state[:, 0] = (state[:, 0].astype(np.int64) * 31 + token_ids + 1) % 65_521
        new_state[:, 1] = [
            self._place_after(int(place), int(token_id))
            for place, token_id in zip(state[:, 1], token_ids, strict=True)
        ]
        new_state[:, 2] = state[:, 2] + 1
        new_state[:, 3] = token_ids
        return new_state

    def _place_after(self, place: int, token_id: int) -> int:
        if place < len(self.script) and token_id == self.script[place]:
            return place + 1
        return 1 if self.script and token_id == self.script[0] else 0

    def _predict(self, state: FloatArray) -> FloatArray:
        logits = self._moods[state[:, 0].astype(np.int64) % _NUM_MOODS].copy()
        if self.script:
            for row, place in enumerate(state[:, 1].astype(int)):
                ended = place >= len(self.script)
                logits[row, self.end_of_text_id if ended else self.script[place]] = 60.0
        return logits
