"""Penalties on what the last recurrent layer puts out: on its size, and on its changes."""

from __future__ import annotations

import tensorflow as tf


def activation_penalty(
    dropped: tf.Tensor, plain: tf.Tensor, *, size_weight: float, change_weight: float
) -> tf.Tensor:
    """Activation regularisation and temporal activation regularisation, summed over tokens.

    Merity, McCann & Socher, Revisiting Activation Regularization for Language RNNs (2017): the mean
    square over units of the outputs as dropout leaves them, and of the difference between the
    outputs after neighbouring tokens, before dropout.

    Args:
        dropped: [time, batch, hidden], outputs after dropout.
        plain: [time, batch, hidden], outputs before dropout.
        size_weight: of the first, alpha in the paper.
        change_weight: of the second, beta in the paper.

    Returns:
        A float32 scalar, to be added to a loss that is a sum over tokens; 0 if both weights are.
    """
    penalty = tf.constant(0.0)
    if size_weight:
        penalty += size_weight * _sum_of_mean_squares(dropped)
    if change_weight:
        penalty += change_weight * _sum_of_mean_squares(plain[1:] - plain[:-1])
    return penalty


def _sum_of_mean_squares(sequence: tf.Tensor) -> tf.Tensor:
    squares = tf.square(tf.cast(sequence, tf.float32))
    return tf.reduce_sum(tf.reduce_mean(squares, axis=-1))
