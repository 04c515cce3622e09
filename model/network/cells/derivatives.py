"""The derivatives of the activations, in terms of their values."""

from __future__ import annotations

import tensorflow as tf


def sigmoid_gradient(sigmoid: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """``gradient`` times the derivative at ``sigmoid``, the function's value; in one pass."""
    return tf.raw_ops.SigmoidGrad(y=sigmoid, dy=gradient)


def tanh_gradient(tanh: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """``gradient`` times the derivative at ``tanh``, the function's value; in one pass."""
    return tf.raw_ops.TanhGrad(y=tanh, dy=gradient)
