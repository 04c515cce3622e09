"""The gated recurrent unit (Cho et al. 2014), in the form whose reset comes after the product."""

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
    input_weights = transposed_weights(kernel, bias[0], dtype=dtype)
    hidden_weights = transposed_weights(recurrent_kernel, bias[1], dtype=dtype)
    kernel, recurrent_kernel = tf.cast(kernel, dtype), tf.cast(recurrent_kernel, dtype)
    input_columns = tf.transpose(inputs, [0, 2, 1])
    ones = tf.ones([1, batch_size], dtype)

    def sums(weights: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
        product = tf.matmul(weights, tf.concat([columns, ones], axis=0))
        return list(tf.split(tf.cast(product, tf.float32), 3, axis=0))

    def step(
        time: tf.Tensor, hidden: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        before = kept(hidden, keep, time)
        update_x, reset_x, candidate_x = sums(input_weights, input_columns[time])
        update_h, reset_h, candidate_h = sums(hidden_weights, tf.cast(before, dtype))
        update = tf.sigmoid(update_x + update_h)
        reset = tf.sigmoid(reset_x + reset_h)
        candidate = tf.tanh(candidate_x + reset * candidate_h)
        hidden = update * before + (1.0 - update) * candidate
        return (hidden,), (
            tf.cast(tf.transpose(hidden), dtype),
            update,
            reset,
            candidate,
            candidate_h,
            before,
        )

    (final,), (hidden_record, *gate_records) = scan_time(
        step,
        (tf.transpose(initial),),
        [
            Record([batch_size, hidden_size], dtype),
            *[Record([hidden_size, batch_size], tf.float32)] * 5,
        ],
        num_steps=num_steps,
    )
    hiddens = hidden_record.stacked()

    def gradient(d_hiddens: tf.Tensor, d_final: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def step_back(
            time: tf.Tensor, d_hidden: tf.Tensor
        ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
            update, reset, candidate, candidate_h, before = (
                record.at(time) for record in gate_records
            )
            d_hidden += tf.cast(tf.transpose(d_hiddens[time]), tf.float32)
            d_update = d_hidden * (before - candidate) * update * (1.0 - update)
            d_candidate = d_hidden * (1.0 - update) * (1.0 - tf.square(candidate))
            d_reset = d_candidate * candidate_h * reset * (1.0 - reset)
            d_from_input = tf.concat([d_update, d_reset, d_candidate], axis=0)
            d_from_hidden = tf.concat([d_update, d_reset, d_candidate * reset], axis=0)
            d_from_hidden = tf.cast(d_from_hidden, dtype)
            d_product = tf.cast(tf.matmul(recurrent_kernel, d_from_hidden), tf.float32)
            d_before = d_hidden * update + d_product
            return (kept(d_before, keep, time),), (
                tf.cast(tf.transpose(d_from_input), dtype),
                tf.transpose(d_from_hidden),
            )

        (d_initial,), (d_input_record, d_hidden_record) = scan_time(
            step_back,
            (tf.transpose(d_final),),
            [Record([batch_size, 3 * hidden_size], dtype)] * 2,
            num_steps=num_steps,
            backwards=True,
        )
        d_from_inputs, d_from_hiddens = d_input_record.stacked(), d_hidden_record.stacked()
        started_from = previous_states(tf.cast(initial, dtype), hiddens, keep)
        return (
            input_gradient(d_from_inputs, kernel),
            kernel_gradient(inputs, d_from_inputs),
            kernel_gradient(started_from, d_from_hiddens),
            tf.stack([bias_gradient(d_from_inputs), bias_gradient(d_from_hiddens)]),
            tf.transpose(d_initial),
        )

    return (hiddens, tf.transpose(final)), gradient
