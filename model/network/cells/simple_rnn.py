"""The simple recurrent network (Elman 1990), with its gradient."""

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


class SimpleRNN(RecurrentLayer):
    """Elman, Finding Structure in Time (1990), with tanh.

    The hidden state is read back at the next step::

        h_t = tanh(x_t W + h_{t-1} U + b)

    W ``kernel`` [input, hidden], U ``recurrent_kernel`` [hidden, hidden], b ``bias`` [hidden].
    State: h [batch, hidden].
    """

    cell: ClassVar[Cell] = "simple_rnn"

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

    def step(
        time: tf.Tensor, hidden: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        recurrent = tf.matmul(tf.cast(kept(hidden, keep, time), dtype), recurrent_kernel)
        hidden = tf.tanh(tf.cast(from_inputs[time] + recurrent, tf.float32))
        return (hidden,), (tf.cast(hidden, dtype),)

    (final,), (record,) = scan_time(step, (initial,), [(hidden_size, dtype)], num_steps=num_steps)
    hiddens = record.stacked()

    def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
        recurrent_transposed = tf.transpose(recurrent_kernel)

        def step_back(
            time: tf.Tensor, d_hidden: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            d_hidden += tf.cast(d_hiddens[time], tf.float32)
            squared = tf.square(tf.cast(record.at(time), tf.float32))
            d_sum = tf.cast(d_hidden * (1.0 - squared), dtype)
            d_previous = tf.cast(tf.matmul(d_sum, recurrent_transposed), tf.float32)
            return (kept(d_previous, keep, time),), (d_sum,)

        (d_initial,), (d_record,) = scan_time(
            step_back, (d_final,), [(hidden_size, dtype)], num_steps=num_steps, backwards=True
        )
        d_sums = d_record.stacked()
        started_from = previous_states(tf.cast(initial, dtype), hiddens, keep)
        return (
            product(d_sums, tf.transpose(kernel)),
            kernel_gradient(inputs, d_sums),
            kernel_gradient(started_from, d_sums),
            tf.reduce_sum(tf.cast(d_sums, tf.float32), axis=[0, 1]),
            d_initial,
        )

    return (hiddens, final), gradient
