"""The gated recurrent unit (Cho et al. 2014), in the form whose reset comes after the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from model.config import Cell
from model.network.cells.derivatives import sigmoid_gradient, tanh_gradient
from model.network.cells.recurrent_layer import RecurrentLayer
from model.network.cells.scan import (
    Record,
    Resets,
    columns,
    input_gradient,
    ones_below,
    scan_time,
    transposed_weights,
    weight_gradients,
)


class GRU(RecurrentLayer):
    """Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014).

    In the form that resets after the recurrent product, as cuDNN and Keras' ``reset_after``, so
    that the recurrent product of a step is one::

        z_x, r_x, n_x = split(x_t W + b_0);  z_h, r_h, n_h = split(h_{t-1} U + b_1)
        z = sigmoid(z_x + z_h);  r = sigmoid(r_x + r_h)
        n = tanh(n_x + r * n_h)
        h_t = z * h_{t-1} + (1 - z) * n

    W ``kernel`` [input, 3 * hidden], U ``recurrent_kernel`` [hidden, 3 * hidden], b ``bias``
    [2, 3 * hidden]; gate order update, reset, candidate. State: h [batch, hidden].
    """

    cell: ClassVar[Cell] = "gru"

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
        input_weights = transposed_weights(kernel, bias[0], dtype=dtype)
        hidden_weights = transposed_weights(recurrent_kernel, bias[1], dtype=dtype)
        kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
        input_columns, resets = columns(inputs), Resets(keep)
        input_ones = ones_below(input_weights, input_size, batch_size)
        hidden_ones = ones_below(hidden_weights, hidden_size, batch_size)

        def sums(weights: tf.Tensor, read: tf.Tensor) -> list[tf.Tensor]:
            """Of update and reset gate together, and of the candidate."""
            product = tf.cast(tf.matmul(weights, read), tf.float32)
            return list(tf.split(product, [2 * hidden_size, hidden_size], axis=0))

        def step(
            time: tf.Tensor, hidden: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            (before,) = resets.applied(time, hidden)
            input_read = tf.concat([input_columns[time], input_ones], axis=0)
            hidden_read = tf.concat([tf.cast(before, dtype), hidden_ones], axis=0)
            gates_x, candidate_x = sums(input_weights, input_read)
            gates_h, candidate_h = sums(hidden_weights, hidden_read)
            gates = tf.sigmoid(gates_x + gates_h)
            update, reset = tf.split(gates, 2, axis=0)
            candidate = tf.tanh(candidate_x + reset * candidate_h)
            hidden = update * before + (1.0 - update) * candidate
            return (hidden,), (
                tf.cast(hidden, dtype),
                input_read,
                hidden_read,
                gates,
                candidate,
                candidate_h,
                before,
            )

        (final,), (output_record, input_record, hidden_record, *inner_records) = scan_time(
            step,
            (tf.transpose(initial),),
            [
                Record(hidden_size, batch_size, dtype),
                Record(input_weights.shape[1], batch_size, dtype),
                Record(hidden_weights.shape[1], batch_size, dtype),
                Record(2 * hidden_size, batch_size, tf.float32),
                *[Record(hidden_size, batch_size, tf.float32)] * 3,
            ],
            num_steps=num_steps,
        )

        def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_columns = columns(d_hiddens)

            def step_back(
                time: tf.Tensor, d_hidden: tf.Tensor
            ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
                gates, candidate, candidate_h, before = (
                    record.at(time) for record in inner_records
                )
                update, reset = tf.split(gates, 2, axis=0)
                d_hidden += tf.cast(d_columns[time], tf.float32)
                d_update = sigmoid_gradient(update, d_hidden * (before - candidate))
                d_candidate = tanh_gradient(candidate, d_hidden * (1.0 - update))
                d_reset = sigmoid_gradient(reset, d_candidate * candidate_h)
                d_gates = [tf.cast(d_update, dtype), tf.cast(d_reset, dtype)]
                d_from_input = tf.concat([*d_gates, tf.cast(d_candidate, dtype)], axis=0)
                d_from_hidden = tf.concat([*d_gates, tf.cast(d_candidate * reset, dtype)], axis=0)
                d_product = tf.cast(tf.matmul(recurrent_kernel, d_from_hidden), tf.float32)
                d_before = d_hidden * update + d_product
                return resets.applied(time, d_before), (d_from_input, d_from_hidden)

            (d_initial,), (d_input_record, d_hidden_record) = scan_time(
                step_back,
                (tf.transpose(d_final),),
                [Record(3 * hidden_size, batch_size, dtype)] * 2,
                num_steps=num_steps,
                backwards=True,
            )
            d_from_inputs, d_from_hiddens = (
                record.side_by_side() for record in (d_input_record, d_hidden_record)
            )
            d_kernel, d_input_bias = weight_gradients(
                input_record.side_by_side(), d_from_inputs, input_size, 1
            )
            d_recurrent_kernel, d_hidden_bias = weight_gradients(
                hidden_record.side_by_side(), d_from_hiddens, hidden_size, 1
            )
            return (
                input_gradient(d_from_inputs, kernel, num_steps),
                d_kernel,
                d_recurrent_kernel,
                tf.concat([d_input_bias, d_hidden_bias], axis=0),
                tf.transpose(d_initial),
            )

        return (output_record.as_sequence(), tf.transpose(final)), gradient
