"""The runtime that says what is right: every equation in plain NumPy, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from model.config import NUM_STATE_TENSORS, ModelConfig
from model.state import FloatArray, IntArray, RecurrentState


class NumpyRuntime:
    """A network in float32 NumPy: the oracle other runtimes are compared with. Slow.

    Every product is of one row with a matrix, never of a batch, for BLAS sums a batch's rows in
    an order that depends on the batch's size. So a row's result is the same bits in any batch.

    Args:
        config: sizes and kind.
        weights: arrays of ``config.weight_shapes()``; taken as float32.

    Raises:
        ValueError: a weight is missing, unknown or of a wrong shape.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, FloatArray]) -> None:
        shapes = {name: np.shape(values) for name, values in weights.items()}
        if shapes != config.weight_shapes():
            raise ValueError(f"weights are {shapes}; the model needs {config.weight_shapes()}")
        self._config = config
        self._weights = {
            name: np.ascontiguousarray(values, np.float32) for name, values in weights.items()
        }

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self._config

    def initial_state(self, batch_size: int) -> FloatArray:
        """State before any token: [batch, state_size] float32 of zeros."""
        return RecurrentState.zeros(self._config, batch_size).values

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """Reads ``token_ids`` [batch, time] from ``state``; returns the state after the last."""
        after = state.copy()
        for row in range(len(after)):
            for token_id in token_ids[row]:
                after[row] = self._state_after(token_id, after[row])
        return after

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads one token per row, [batch]: logits [batch, vocab] and the state after it."""
        after = self.prefill(token_ids[:, np.newaxis], state)
        return self.logits(after), after

    def score(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Reads ``token_ids`` [batch, time]: logits [batch, time, vocab] and the last state."""
        logits = np.empty((*token_ids.shape, self._config.vocab_size), np.float32)
        for time in range(token_ids.shape[1]):
            logits[:, time], state = self.step(token_ids[:, time], state)
        return logits, state.copy()

    def logits(self, state: FloatArray) -> FloatArray:
        """Logits [batch, vocab] of the next token, from the state alone."""
        logits = np.empty((len(state), self._config.vocab_size), np.float32)
        for row, hidden in enumerate(
            RecurrentState(self._config, state).hidden(self._config.num_layers - 1)
        ):
            logits[row] = self._row_logits(hidden.copy())
        return logits

    def _row_logits(self, features: FloatArray) -> FloatArray:
        """Logits [vocab] of the last layer's hidden state [hidden]."""
        if self._config.has_projection:
            features = features @ self._weights["projection/kernel"]
        if self._config.tie_embeddings:
            products = self._weights["embedding"] @ features
        else:
            products = features @ self._weights["output/kernel"]
        return np.asarray(products + self._weights["output/bias"])

    def _state_after(self, token_id: np.int32, row: FloatArray) -> FloatArray:
        """One sequence's state [state_size] after one token."""
        per_layer = row.reshape(
            self._config.num_layers, NUM_STATE_TENSORS[self._config.cell], self._config.hidden_size
        )
        inputs = self._weights["embedding"][token_id]
        after = np.empty_like(per_layer)
        for layer in range(self._config.num_layers):
            kernel, recurrent_kernel, bias = (
                self._weights[f"layer_{layer}/{part}"]
                for part in ("kernel", "recurrent_kernel", "bias")
            )
            cell_step = _CELL_STEPS[self._config.cell]
            after[layer] = cell_step(inputs, per_layer[layer], kernel, recurrent_kernel, bias)
            inputs = after[layer, 0]
        return after.reshape(-1)


def simple_rnn_step(
    inputs: FloatArray,
    state: FloatArray,
    kernel: FloatArray,
    recurrent_kernel: FloatArray,
    bias: FloatArray,
) -> FloatArray:
    """Elman 1990: ``inputs`` [input], ``state`` [1, hidden] (h) -> the state after."""
    (hidden,) = state
    return np.stack([np.tanh(inputs @ kernel + hidden @ recurrent_kernel + bias)])


def gru_step(
    inputs: FloatArray,
    state: FloatArray,
    kernel: FloatArray,
    recurrent_kernel: FloatArray,
    bias: FloatArray,
) -> FloatArray:
    """Cho et al. 2014, reset after the product: ``state`` [1, hidden] (h) -> the state after."""
    (hidden,) = state
    update_x, reset_x, candidate_x = np.split(inputs @ kernel + bias[0], 3)
    update_h, reset_h, candidate_h = np.split(hidden @ recurrent_kernel + bias[1], 3)
    update = _sigmoid(update_x + update_h)
    reset = _sigmoid(reset_x + reset_h)
    candidate = np.tanh(candidate_x + reset * candidate_h)
    return np.stack([update * hidden + (1 - update) * candidate])


def lstm_step(
    inputs: FloatArray,
    state: FloatArray,
    kernel: FloatArray,
    recurrent_kernel: FloatArray,
    bias: FloatArray,
) -> FloatArray:
    """Hochreiter & Schmidhuber 1997: ``state`` [2, hidden] (h, then c) -> the state after."""
    hidden, cell = state
    i, f, g, o = np.split(inputs @ kernel + hidden @ recurrent_kernel + bias, 4)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    return np.stack([_sigmoid(o) * np.tanh(cell), cell])


_CELL_STEPS: Mapping[str, Callable[..., FloatArray]] = {
    "simple_rnn": simple_rnn_step,
    "gru": gru_step,
    "lstm": lstm_step,
}


def _sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), written so that nothing overflows."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
