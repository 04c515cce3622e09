"""The model from Keras' own cells, and two usual ways to generate with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from model.config import ModelConfig
from model.state import FloatArray

_CELLS = {
    "simple_rnn": keras.layers.SimpleRNNCell,
    "gru": keras.layers.GRUCell,
    "lstm": keras.layers.LSTMCell,
}

#: One list of [batch, hidden] for each layer.
States = list[list[tf.Tensor]]


class KerasLoop:
    """Draws ``num_tokens`` tokens for each row, from the whole distribution at temperature 1."""

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, FloatArray], num_tokens: int
    ) -> None:
        self._num_tokens = num_tokens
        self._cells = [_cell(config, weights, layer) for layer in range(config.num_layers)]
        self._embedding = tf.constant(weights["embedding"])
        self._projection = (
            tf.constant(weights["projection/kernel"]) if config.has_projection else None
        )
        kernel = weights["embedding"].T if config.tie_embeddings else weights["output/kernel"]
        self._output = tf.constant(np.ascontiguousarray(kernel))
        self._bias = tf.constant(weights["output/bias"])
        self._step = tf.function(self._draw)
        self._whole = tf.function(self._generate)

    def generate_step_by_step(self, num_rows: int) -> FloatArray:
        """One compiled step, called from Python for every token."""
        token_ids, states = self._start(num_rows)
        drawn = []
        for _ in range(self._num_tokens):
            token_ids, states = self._step(token_ids, states)
            drawn.append(token_ids)
        return np.stack([ids.numpy() for ids in drawn])

    def generate_in_one_call(self, num_rows: int) -> FloatArray:
        """The loop is compiled too."""
        drawn: FloatArray = self._whole(*self._start(num_rows)).numpy()
        return drawn

    def logits(self, token_ids: Sequence[int]) -> FloatArray:
        """[tokens, vocab], after each of ``token_ids``."""
        _, states = self._start(1)
        rows = []
        for token_id in token_ids:
            row, states = self._network(tf.constant([token_id]), states)
            rows.append(row.numpy()[0])
        return np.stack(rows)

    def _start(self, num_rows: int) -> tuple[tf.Tensor, States]:
        states = [list(cell.get_initial_state(num_rows)) for cell in self._cells]
        return tf.zeros([num_rows], tf.int32), states

    def _network(self, token_ids: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        features = tf.gather(self._embedding, token_ids)
        after = []
        for cell, state in zip(self._cells, states, strict=True):
            features, new_state = cell(features, state)
            after.append(list(new_state))
        if self._projection is not None:
            features = features @ self._projection
        return features @ self._output + self._bias, after

    def _draw(self, token_ids: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        logits, states = self._network(token_ids, states)
        return tf.random.categorical(logits, 1, dtype=tf.int32)[:, 0], states

    def _generate(self, token_ids: tf.Tensor, states: States) -> tf.Tensor:
        def body(
            index: tf.Tensor, token_ids: tf.Tensor, states: States, drawn: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, States, tf.TensorArray]:
            token_ids, states = self._draw(token_ids, states)
            return index + 1, token_ids, states, drawn.write(index, token_ids)

        drawn = tf.TensorArray(tf.int32, self._num_tokens)
        end = tf.while_loop(
            lambda index, *_: index < self._num_tokens, body, (0, token_ids, states, drawn)
        )
        return end[-1].stack()


def _cell(config: ModelConfig, weights: Mapping[str, FloatArray], layer: int) -> keras.layers.Layer:
    cell = _CELLS[config.cell](config.hidden_size)
    cell.build((None, config.input_size(layer)))
    parts = ("kernel", "recurrent_kernel", "bias")
    cell.set_weights([weights[f"layer_{layer}/{part}"] for part in parts])
    return cell
