"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from model.config import Cell
from model.network.cells.lstm_arithmetic import lstm_arithmetic
from model.network.cells.recurrent_layer import RecurrentLayer
from model.network.cells.scan import (
    Record,
    Resets,
    columns,
    gradients_of_one_product,
    ones_below,
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

    @staticmethod
    def forward_and_gradient(
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
        input_size, hidden_size = kernel.shape[0], recurrent_kernel.shape[0]
        num_steps, batch_size = tf.shape(inputs)[0], tf.shape(inputs)[1]
        weights = transposed_weights(kernel, recurrent_kernel, bias, dtype=dtype)
        # The three gates that are sigmoids side by side, as the arithmetic takes them.
        input_rows, forget_rows, candidate_rows, output_rows = tf.split(weights, 4, axis=0)
        weights = tf.concat([input_rows, forget_rows, output_rows, candidate_rows], axis=0)
        kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
        input_columns, resets = columns(inputs), Resets(keep)
        ones = ones_below(weights, input_size + hidden_size, batch_size)
        arithmetic = lstm_arithmetic(dtype)

        def step(
            time: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            hidden_before, before = resets.applied(time, hidden, cell)
            read = tf.concat([input_columns[time], hidden_before, ones], axis=0)
            hidden, cell, *kept = arithmetic.step(tf.matmul(weights, read), before)
            return (hidden, cell), (hidden, read, *kept)

        initial_hidden, initial_cell = tf.split(tf.transpose(initial), 2, axis=0)
        (final_hidden, final_cell), (hidden_record, read_record, *kept_records) = scan_time(
            step,
            (tf.cast(initial_hidden, dtype), initial_cell),
            [
                Record(hidden_size, batch_size, dtype),
                Record(weights.shape[1], batch_size, dtype),
                *[Record(part * hidden_size, batch_size, tf.float32) for part in arithmetic.kept],
            ],
            num_steps=num_steps,
        )
        final = tf.concat([tf.cast(final_hidden, tf.float32), final_cell], axis=0)

        def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_columns = columns(d_hiddens)

            def step_back(
                time: tf.Tensor, d_hidden: tf.Tensor, d_cell: tf.Tensor
            ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
                kept = [record.at(time) for record in kept_records]
                d_sums, d_before = arithmetic.back(kept, d_hidden, d_columns[time], d_cell)
                d_previous = tf.matmul(recurrent_kernel, d_sums)
                return resets.applied(time, d_previous, d_before), (d_sums,)

            d_final_hidden, d_final_cell = tf.split(tf.transpose(d_final), 2, axis=0)
            (d_initial_hidden, d_initial_cell), (d_record,) = scan_time(
                step_back,
                (tf.cast(d_final_hidden, dtype), d_final_cell),
                [Record(4 * hidden_size, batch_size, dtype)],
                num_steps=num_steps,
                backwards=True,
            )
            d_initial = tf.concat([tf.cast(d_initial_hidden, tf.float32), d_initial_cell], axis=0)
            d_arguments = gradients_of_one_product(
                d_record, read_record, kernel, hidden_size, num_steps
            )
            return (*d_arguments, tf.transpose(d_initial))

        return (hidden_record.as_sequence(), tf.transpose(final)), gradient
