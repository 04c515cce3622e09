"""What an LSTM does between its matrix products, and the way back, in one step.

Twice: as TensorFlow's operators, and compiled by XLA, with one tanh for all gates. With bfloat16
the operators' casts and copies take more than a call of what is compiled; with float32 less
(docs/experiments.md, Training).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from model.network.cells.derivatives import sigmoid_gradient, tanh_gradient
from model.network.compiled import compiled


class LSTMArithmetic(NamedTuple):
    """One way to do it; every tensor is [width, batch].

    Attributes:
        step: takes the sums of input gate, forget gate, output gate and candidate [4 * hidden,
            batch] and the cell before, float32; returns the hidden state in the dtype of the sums,
            the cell, and what the way back needs of this step.
        back: takes what was kept, the gradient of the hidden state by way of the next step and by
            way of the layer above, and that of the cell; returns the gradients of the sums, in the
            order input gate, forget gate, candidate, output gate and the dtype of the layer
            above's, and of the cell before.
        kept: the widths of what the way back needs, in hidden sizes; float32.
    """

    step: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
    back: Callable[
        [Sequence[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]
    ]
    kept: tuple[int, ...]


def lstm_arithmetic(dtype: tf.DType) -> LSTMArithmetic:
    """The quicker one for products in ``dtype``."""
    return _COMPILED if dtype == tf.bfloat16 else _OPERATORS


def _step(sums: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, ...]:
    hidden_size = sums.shape[0] // 4
    # The three gates that are sigmoids side by side: few wide operators instead of many.
    gate_sums, candidate_sum = tf.split(sums, [3 * hidden_size, hidden_size], axis=0)
    gates, candidate = tf.sigmoid(gate_sums), tf.tanh(candidate_sum)
    input_gate, forget_gate, output_gate = tf.split(gates, 3, axis=0)
    cell = forget_gate * before + input_gate * candidate
    cell_tanh = tf.tanh(cell)
    return output_gate * cell_tanh, cell, gates, candidate, before, cell_tanh


def _back(
    kept: Sequence[tf.Tensor], d_hidden: tf.Tensor, d_output: tf.Tensor, d_cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    gates, candidate, before, cell_tanh = kept
    input_gate, forget_gate, output_gate = tf.split(gates, 3, axis=0)
    d_hidden += d_output
    d_cell += tanh_gradient(cell_tanh, d_hidden * output_gate)
    d_parts = (
        sigmoid_gradient(input_gate, d_cell * candidate),
        sigmoid_gradient(forget_gate, d_cell * before),
        tanh_gradient(candidate, d_cell * input_gate),
        sigmoid_gradient(output_gate, d_hidden * cell_tanh),
    )
    return tf.concat(d_parts, axis=0), d_cell * forget_gate


@compiled
def _compiled_step(sums: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, ...]:
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one tanh over all sums is one loop.
    halves = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), sums.shape[0] // 4)
    tanhs = tf.tanh(tf.cast(sums, tf.float32) * halves[:, np.newaxis])
    input_tanh, forget_tanh, output_tanh, candidate = tf.split(tanhs, 4, axis=0)
    cell = _gate(forget_tanh) * before + _gate(input_tanh) * candidate
    cell_tanh = tf.tanh(cell)
    hidden = tf.cast(_gate(output_tanh) * cell_tanh, sums.dtype)
    return hidden, cell, tanhs, before, cell_tanh


@compiled
def _compiled_back(
    kept: Sequence[tf.Tensor], d_hidden: tf.Tensor, d_output: tf.Tensor, d_cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    tanhs, before, cell_tanh = kept
    input_tanh, forget_tanh, output_tanh, candidate = tf.split(tanhs, 4, axis=0)
    wide = tf.cast(d_hidden, tf.float32) + tf.cast(d_output, tf.float32)
    d_cell += tanh_gradient(cell_tanh, wide * _gate(output_tanh))
    d_parts = (
        0.25 * tanh_gradient(input_tanh, d_cell * candidate),
        0.25 * tanh_gradient(forget_tanh, d_cell * before),
        tanh_gradient(candidate, d_cell * _gate(input_tanh)),
        0.25 * tanh_gradient(output_tanh, wide * cell_tanh),
    )
    d_sums = tf.concat([tf.cast(part, d_output.dtype) for part in d_parts], axis=0)
    return d_sums, d_cell * _gate(forget_tanh)


def _gate(half_tanh: tf.Tensor) -> tf.Tensor:
    """sigmoid(x) of tanh(x / 2)."""
    return 0.5 + 0.5 * half_tanh


_OPERATORS = LSTMArithmetic(_step, _back, kept=(3, 1, 1, 1))
_COMPILED = LSTMArithmetic(_compiled_step, _compiled_back, kept=(4, 1, 1))
