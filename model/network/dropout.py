"""Dropout for recurrent networks: of units, of recurrent weights and of words."""

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
    return sequence * _mask(tf.shape(sequence)[1:], rate, seed, site, sequence.dtype)


def dropped_weights(
    weights: tf.Tensor, rate: float, seed: tf.Tensor | None, *, site: int
) -> tf.Tensor:
    """``weights`` of any shape with single weights dropped, for all sequences and steps alike.

    DropConnect (Wan et al. 2013) on the recurrent kernel, as in Merity, Keskar & Socher 2017,
    Regularizing and Optimizing LSTM Language Models. What is kept is scaled by 1 / (1 - rate).

    Args:
        weights: the kernel.
        rate: probability that a weight is dropped; 0 returns ``weights`` itself.
        seed: [2] int32; the same seed and site give the same mask.
        site: as of ``dropout_over_time``.

    Raises:
        ValueError: ``rate`` is above 0 and there is no seed.
    """
    if rate == 0.0:
        return weights
    return weights * _mask(tf.shape(weights), rate, seed, site, weights.dtype)


def dropped_words(
    embedded: tf.Tensor,
    token_ids: tf.Tensor,
    vocab_size: int,
    rate: float,
    seed: tf.Tensor | None,
    *,
    site: int,
) -> tf.Tensor:
    """``embedded`` [time, batch, width] without some words of the vocabulary.

    A word that is dropped is zero wherever it stands (Gal & Ghahramani 2016, section 4.2); the
    others are scaled by 1 / (1 - rate).

    Args:
        embedded: [time, batch, width].
        token_ids: [time, batch] int32, what is embedded.
        vocab_size: number of token ids.
        rate: probability that a word is dropped; 0 returns ``embedded`` itself.
        seed: [2] int32; the same seed and site give the same mask.
        site: as of ``dropout_over_time``.

    Raises:
        ValueError: ``rate`` is above 0 and there is no seed.
    """
    if rate == 0.0:
        return embedded
    mask = _mask([vocab_size, 1], rate, seed, site, embedded.dtype)
    return embedded * tf.gather(mask, token_ids)


def _mask(
    shape: tf.Tensor | list[int], rate: float, seed: tf.Tensor | None, site: int, dtype: tf.DType
) -> tf.Tensor:
    """0 with the probability ``rate``, else 1 / (1 - rate)."""
    if seed is None:
        raise ValueError("training with dropout needs a seed: a pair of int32 numbers")
    folded = tf.random.experimental.stateless_fold_in(seed, site, alg="philox")
    uniform = tf.random.stateless_uniform(shape, folded, alg="philox")
    return tf.cast(uniform >= rate, dtype) / tf.cast(1.0 - rate, dtype)
