"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from model.config import Cell
from model.network.cells.recurrent_layer import RecurrentLayer
from model.network.cells.scan import (
    Record,
    bias_gradient,
    input_gradient,
    kept,
    kernel_gradient,
    previous_states,
    scan_time,
    transposed_weights,
)


class LSTM(RecurrentLayer):
    """Hochreiter & Schmidhuber, Long Short-Term Memory (1997), with forget gate.

    The forget gate is of Gers, Schmidhuber & Cummins, Learning to Forget (2000); no peepholes::

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

    W ``kernel`` [input, 4 * hidden], U ``recurrent_kernel`` [hidden, 4 * hidden], b ``bias``
    [4 * hidden]; gate order input, forget, candidate, output. State: h and behind it c,
    [batch, 2 * hidden].
    """

    cell: ClassVar[Cell] = "lstm"

    def run(
        self,
        inputs: tf.Tensor,
        state: tf.Tensor,
        keep: tf.Tensor | None,
        *weights: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a sequence; see ``RecurrentLayer.call``."""
        differentiable = tf.custom_gradient(
            lambda *arguments: _forward_and_gradient(*arguments, keep=keep)
        )
        outputs, final = differentiable(inputs, *weights, state)
        return outputs, final


def _forward_and_gradient(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    initial: tf.Tensor,
    *,
    keep: tf.Tensor | None,
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
    """Hidden states and final state, and the function that takes their gradients back."""
    dtype = inputs.dtype
    hidden_size = recurrent_kernel.shape[0]
    num_steps, batch_size = tf.shape(inputs)[0], tf.shape(inputs)[1]
    weights = transposed_weights(kernel, recurrent_kernel, bias, dtype=dtype)
    kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
    input_columns = tf.transpose(inputs, [0, 2, 1])
    ones = tf.ones([1, batch_size], dtype)

    def step(
        time: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        hidden_before = tf.cast(kept(hidden, keep, time), dtype)
        joined = tf.concat([input_columns[time], hidden_before, ones], axis=0)
        sums = tf.cast(tf.matmul(weights, joined), tf.float32)
        input_sum, forget_sum, candidate_sum, output_sum = tf.split(sums, 4, axis=0)
        input_gate, forget_gate = tf.sigmoid(input_sum), tf.sigmoid(forget_sum)
        candidate, output_gate = tf.tanh(candidate_sum), tf.sigmoid(output_sum)
        before = kept(cell, keep, time)
        cell = forget_gate * before + input_gate * candidate
        cell_tanh = tf.tanh(cell)
        hidden = output_gate * cell_tanh
        return (hidden, cell), (
            tf.cast(tf.transpose(hidden), dtype),
            input_gate,
            forget_gate,
            candidate,
            output_gate,
            before,
            cell_tanh,
        )

    (final_hidden, final_cell), (hidden_record, *gate_records) = scan_time(
        step,
        tf.split(tf.transpose(initial), 2, axis=0),
        [
            Record([batch_size, hidden_size], dtype),
            *[Record([hidden_size, batch_size], tf.float32)] * 6,
        ],
        num_steps=num_steps,
    )
    hiddens = hidden_record.stacked()

    def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def step_back(
            time: tf.Tensor, d_hidden: tf.Tensor, d_cell: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            input_gate, forget_gate, candidate, output_gate, before, cell_tanh = (
                record.at(time) for record in gate_records
            )
            d_hidden += tf.cast(tf.transpose(d_hiddens[time]), tf.float32)
            d_cell += d_hidden * output_gate * (1.0 - tf.square(cell_tanh))
            d_sums = tf.concat(
                [
                    d_cell * candidate * input_gate * (1.0 - input_gate),
                    d_cell * before * forget_gate * (1.0 - forget_gate),
                    d_cell * input_gate * (1.0 - tf.square(candidate)),
                    d_hidden * cell_tanh * output_gate * (1.0 - output_gate),
                ],
                axis=0,
            )
            d_sums = tf.cast(d_sums, dtype)
            d_previous = tf.cast(tf.matmul(recurrent_kernel, d_sums), tf.float32)
            d_carry = kept(d_previous, keep, time), kept(d_cell * forget_gate, keep, time)
            return d_carry, (tf.transpose(d_sums),)

        (d_initial_hidden, d_initial_cell), (d_record,) = scan_time(
            step_back,
            tf.split(tf.transpose(d_final), 2, axis=0),
            [Record([batch_size, 4 * hidden_size], dtype)],
            num_steps=num_steps,
            backwards=True,
        )
        d_sums = d_record.stacked()
        started_from = previous_states(tf.cast(initial[:, :hidden_size], dtype), hiddens, keep)
        return (
            input_gradient(d_sums, kernel),
            kernel_gradient(inputs, d_sums),
            kernel_gradient(started_from, d_sums),
            bias_gradient(d_sums),
            tf.transpose(tf.concat([d_initial_hidden, d_initial_cell], axis=0)),
        )

    return (hiddens, tf.transpose(tf.concat([final_hidden, final_cell], axis=0))), gradient
