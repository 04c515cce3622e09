"""Variational dropout: one mask per sequence, the same at every time step."""

from __future__ import annotations

import tensorflow as tf


def dropout_over_time(
    sequence: tf.Tensor, rate: float, seed: tf.Tensor | None, *, site: int
) -> tf.Tensor:
    """Drops units of ``sequence`` [time, batch, width] for all time steps alike.

    Gal & Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
    Networks (2016). What is kept is scaled by 1 / (1 - rate).

    Args:
        sequence: [time, batch, width].
        rate: probability that a unit is dropped; 0 returns ``sequence`` itself.
        seed: [2] int32; the same seed and site give the same mask.
        site: which place in the network this is, so that each has its own mask.

    Raises:
        ValueError: ``rate`` is above 0 and there is no seed.
    """
    if rate == 0.0:
        return sequence
    if seed is None:
        raise ValueError("training with dropout needs a seed: a pair of int32 numbers")
    shape = tf.shape(sequence)
    uniform = tf.random.stateless_uniform(
        [shape[1], shape[2]],
        tf.random.experimental.stateless_fold_in(seed, site, alg="philox"),
        alg="philox",
    )
    mask = tf.cast(uniform >= rate, sequence.dtype) / tf.cast(1.0 - rate, sequence.dtype)
    return sequence * mask
