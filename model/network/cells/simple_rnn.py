"""The simple recurrent network (Elman 1990), with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from model.config import Cell
from model.network.cells.derivatives import tanh_gradient
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


class SimpleRNN(RecurrentLayer):
    """Elman, Finding Structure in Time (1990), with tanh.

    The hidden state is read back at the next step::

        h_t = tanh(x_t W + h_{t-1} U + b)

    W ``kernel`` [input, hidden], U ``recurrent_kernel`` [hidden, hidden], b ``bias`` [hidden].
    State: h [batch, hidden].
    """

    cell: ClassVar[Cell] = "simple_rnn"

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
        kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
        input_columns, resets = columns(inputs), Resets(keep)
        ones = ones_below(weights, input_size + hidden_size, batch_size)

        def step(
            time: tf.Tensor, hidden: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            (before,) = resets.applied(time, hidden)
            read = tf.concat([input_columns[time], tf.cast(before, dtype), ones], axis=0)
            hidden = tf.tanh(tf.cast(tf.matmul(weights, read), tf.float32))
            return (hidden,), (tf.cast(hidden, dtype), read, hidden)

        (final,), (output_record, read_record, hidden_record) = scan_time(
            step,
            (tf.transpose(initial),),
            [
                Record(hidden_size, batch_size, dtype),
                Record(weights.shape[1], batch_size, dtype),
                Record(hidden_size, batch_size, tf.float32),
            ],
            num_steps=num_steps,
        )

        def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_columns = columns(d_hiddens)

            def step_back(
                time: tf.Tensor, d_hidden: tf.Tensor
            ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
                d_hidden += tf.cast(d_columns[time], tf.float32)
                d_sum = tf.cast(tanh_gradient(hidden_record.at(time), d_hidden), dtype)
                d_previous = tf.cast(tf.matmul(recurrent_kernel, d_sum), tf.float32)
                return resets.applied(time, d_previous), (d_sum,)

            (d_initial,), (d_record,) = scan_time(
                step_back,
                (tf.transpose(d_final),),
                [Record(hidden_size, batch_size, dtype)],
                num_steps=num_steps,
                backwards=True,
            )
            d_arguments = gradients_of_one_product(
                d_record, read_record, kernel, hidden_size, num_steps
            )
            return (*d_arguments, tf.transpose(d_initial))

        return (output_record.as_sequence(), tf.transpose(final)), gradient
