"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from model.config import Cell
from model.network.cells.recurrent_layer import RecurrentLayer
from model.network.cells.scan import (
    kept,
    kernel_gradient,
    previous_states,
    product,
    scan_time,
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
    num_steps = tf.shape(inputs)[0]
    kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
    from_inputs = product(inputs, kernel, bias)
    initial_hidden, initial_cell = tf.split(initial, 2, axis=1)

    def step(
        time: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        recurrent = tf.matmul(tf.cast(kept(hidden, keep, time), dtype), recurrent_kernel)
        sums = tf.cast(from_inputs[time] + recurrent, tf.float32)
        input_sum, forget_sum, candidate_sum, output_sum = tf.split(sums, 4, axis=1)
        input_gate, forget_gate = tf.sigmoid(input_sum), tf.sigmoid(forget_sum)
        candidate, output_gate = tf.tanh(candidate_sum), tf.sigmoid(output_sum)
        before = kept(cell, keep, time)
        cell = forget_gate * before + input_gate * candidate
        cell_tanh = tf.tanh(cell)
        hidden = output_gate * cell_tanh
        return (hidden, cell), (
            tf.cast(hidden, dtype),
            input_gate,
            forget_gate,
            candidate,
            output_gate,
            before,
            cell_tanh,
        )

    (final_hidden, final_cell), (hidden_record, *gate_records) = scan_time(
        step,
        (initial_hidden, initial_cell),
        [(hidden_size, dtype)] + [(hidden_size, tf.float32)] * 6,
        num_steps=num_steps,
    )
    hiddens = hidden_record.stacked()

    def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
        recurrent_transposed = tf.transpose(recurrent_kernel)

        def step_back(
            time: tf.Tensor, d_hidden: tf.Tensor, d_cell: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            input_gate, forget_gate, candidate, output_gate, before, cell_tanh = (
                record.at(time) for record in gate_records
            )
            d_hidden += tf.cast(d_hiddens[time], tf.float32)
            d_cell += d_hidden * output_gate * (1.0 - tf.square(cell_tanh))
            d_sums = tf.concat(
                [
                    d_cell * candidate * input_gate * (1.0 - input_gate),
                    d_cell * before * forget_gate * (1.0 - forget_gate),
                    d_cell * input_gate * (1.0 - tf.square(candidate)),
                    d_hidden * cell_tanh * output_gate * (1.0 - output_gate),
                ],
                axis=1,
            )
            d_sums = tf.cast(d_sums, dtype)
            d_previous = tf.cast(tf.matmul(d_sums, recurrent_transposed), tf.float32)
            d_carry = kept(d_previous, keep, time), kept(d_cell * forget_gate, keep, time)
            return d_carry, (d_sums,)

        (d_initial_hidden, d_initial_cell), (d_record,) = scan_time(
            step_back,
            tf.split(d_final, 2, axis=1),
            [(4 * hidden_size, dtype)],
            num_steps=num_steps,
            backwards=True,
        )
        d_sums = d_record.stacked()
        started_from = previous_states(tf.cast(initial_hidden, dtype), hiddens, keep)
        return (
            product(d_sums, tf.transpose(kernel)),
            kernel_gradient(inputs, d_sums),
            kernel_gradient(started_from, d_sums),
            tf.reduce_sum(tf.cast(d_sums, tf.float32), axis=[0, 1]),
            tf.concat([d_initial_hidden, d_initial_cell], axis=1),
        )

    return (hiddens, tf.concat([final_hidden, final_cell], axis=1)), gradient
