"""The two ends of the network that touch the vocabulary: looking up, and the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from model.network.compiled import compiled

#: Logits worked out at once by the loss: bounds its memory. Fewer make products too narrow.
LOGITS_AT_ONCE = 4 * 1024 * 1024

#: The vocabulary is combined elementwise in so many parts before it is summed up.
FOLDED_PARTS = 16


def embed(embedding: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    """Rows of ``embedding`` [vocab, width] for ``token_ids`` [...]: [..., width].

    The gradient is dense: with tied embeddings it is added to the output matrix's dense one.
    """

    def lookup(
        table: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(d_rows: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(d_rows, token_ids, tf.shape(table)[0])

        return tf.gather(table, token_ids), gradient

    return tf.custom_gradient(lookup)(embedding)


def cross_entropy_sum(
    features: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    training: bool,
) -> tf.Tensor:
    """The weighted sum of -log softmax(features kernel^T + bias)[target], in nats, float32.

    Rows are taken a chunk at a time, so that the logits of all rows are never held at once. The
    gradient of a sum is known up to a factor as soon as a chunk's logits are; with ``training``
    it is worked out there and then, and no logits are kept or computed twice.

    Args:
        features: [rows, width] in the compute dtype.
        kernel: [vocab, width] float32.
        bias: [vocab] float32.
        targets: [rows] int32.
        weights: [rows] float32, weight of each row's loss; no gradient flows to it.
        training: gradients will be asked for.
    """
    if not training:
        matrix = _with_bias(kernel, bias, features.dtype)
        return _chunked_loss(_with_ones(features), matrix, targets, weights)

    def loss_with_gradient(
        features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        matrix = _with_bias(kernel, bias, features.dtype)
        nats, d_features, d_matrix = _chunked_loss_and_gradients(
            _with_ones(features), matrix, targets, weights
        )

        def gradient(d_nats: tf.Tensor) -> tuple[tf.Tensor, ...]:
            by_features, by_matrix = d_features * tf.cast(d_nats, features.dtype), d_matrix * d_nats
            return by_features, by_matrix[:, :-1], by_matrix[:, -1]

        return nats, gradient

    return tf.custom_gradient(loss_with_gradient)(features, kernel, bias)


def _with_bias(kernel: tf.Tensor, bias: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """The output matrix [vocab, width + 1], its last column the bias."""
    return tf.cast(tf.concat([kernel, bias[:, tf.newaxis]], axis=1), dtype)


def _with_ones(features: tf.Tensor) -> tf.Tensor:
    """Features [rows, width + 1] that pick up the bias in the product."""
    return tf.concat([features, tf.ones([tf.shape(features)[0], 1], features.dtype)], axis=1)


def _num_chunks(features: tf.Tensor, vocab_size: int) -> tuple[int, tf.Tensor]:
    """Rows per chunk, and the number of chunks, at least one."""
    chunk = max(1, LOGITS_AT_ONCE // vocab_size)
    return chunk, tf.maximum(1, -(-tf.shape(features)[0] // chunk))


class _Softmax(NamedTuple):
    """The softmax of one chunk before it is divided: [vocab, rows], a column per row of features.

    Attributes:
        exponentials: of the logits above the largest, [vocab, rows] in the compute dtype.
        sums: of the exponentials, [rows] float32.
        positions: where the targets lie, [rows, 2].
        of_targets: the exponentials of the targets, [rows] float32.
        losses: in nats, [rows] float32.
    """

    exponentials: tf.Tensor
    sums: tf.Tensor
    positions: tf.Tensor
    of_targets: tf.Tensor
    losses: tf.Tensor


def _softmax(matrix: tf.Tensor, features: tf.Tensor, targets: tf.Tensor) -> _Softmax:
    """The softmax of one chunk.

    The wide matrix stands on the left of every product, which is up to twice as fast as the other
    way round.
    """
    logits = tf.matmul(matrix, features, transpose_b=True)
    exponentials, sums, largest = _exponentials(logits)
    positions = tf.stack([targets, tf.range(tf.shape(logits)[1])], axis=1)
    above = tf.cast(tf.gather_nd(logits, positions), tf.float32) - largest
    return _Softmax(exponentials, sums, positions, tf.exp(above), tf.math.log(sums) - above)


def _exponentials(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of logits [vocab, rows] above the largest, their sums, and the largest, float32."""
    largest = tf.cast(tf.reduce_max(tf.concat(_folded_maxima(logits), axis=0), axis=0), tf.float32)
    exponentials, *folded = _exponentials_above(logits, largest)
    return exponentials, tf.add_n([tf.reduce_sum(part, axis=0) for part in folded]), largest


@compiled
def _folded_maxima(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The largest among rows of ``logits`` that lie far apart, and the rows left over."""
    return _folded(logits, tf.maximum)


@compiled
def _exponentials_above(logits: tf.Tensor, largest: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """exp(logits - largest); in float32, sums of rows that lie far apart, and the rows left."""
    exponentials = tf.exp(tf.cast(logits, tf.float32) - largest)
    return tf.cast(exponentials, logits.dtype), *_folded(exponentials, tf.add)


def _folded(
    rows: tf.Tensor, combine: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of [rows, columns] parts of equal size, combined elementwise, and the rows left over.

    What is left to reduce is small. XLA is not to reduce: what it calls for that (YNNPACK, of
    TensorFlow 2.21) is now and then set up by two threads at once, which ends the process.
    """
    size = rows.shape[0] // FOLDED_PARTS
    parts = [rows[part * size : (part + 1) * size] for part in range(FOLDED_PARTS)]
    return functools.reduce(combine, parts), rows[FOLDED_PARTS * size :]


def _chunked_loss(
    features: tf.Tensor, matrix: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """The loss alone; ``features`` and ``matrix`` hold the bias."""
    chunk, num_chunks = _num_chunks(features, matrix.shape[0])

    def add_chunk(index: tf.Tensor, nats: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = slice(index * chunk, (index + 1) * chunk)
        losses = _softmax(matrix, features[rows], targets[rows]).losses
        return index + 1, nats + tf.reduce_sum(losses * weights[rows])

    return tf.while_loop(
        lambda index, _: index < num_chunks, add_chunk, (0, 0.0), maximum_iterations=num_chunks
    )[1]


def _chunked_loss_and_gradients(
    features: tf.Tensor, matrix: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss and its gradients with respect to features (ones left out) and matrix."""
    chunk, num_chunks = _num_chunks(features, matrix.shape[0])
    width = features.shape[1] - 1
    transposed = tf.transpose(matrix[:, :-1])

    def add_chunk(
        index: tf.Tensor, nats: tf.Tensor, d_matrix: tf.Tensor, d_features: tf.TensorArray
    ) -> tuple[tf.Tensor, ...]:
        rows = slice(index * chunk, (index + 1) * chunk)
        softmax = _softmax(matrix, features[rows], targets[rows])
        # softmax - one_hot(target), times the sums: dividing the narrow factor of each product
        # by them, and multiplying that by the weights, spares two passes over the wide logits.
        d_targets = tf.cast(softmax.of_targets - softmax.sums, features.dtype)
        d_logits = tf.tensor_scatter_nd_update(softmax.exponentials, softmax.positions, d_targets)
        by_row = tf.cast(weights[rows] / softmax.sums, features.dtype)
        part = tf.matmul(d_logits, features[rows] * by_row[:, tf.newaxis])
        d_columns = tf.matmul(transposed, d_logits) * by_row
        return (
            index + 1,
            nats + tf.reduce_sum(softmax.losses * weights[rows]),
            d_matrix + tf.cast(part, tf.float32),
            d_features.write(index, tf.transpose(d_columns)),
        )

    d_features = tf.TensorArray(
        features.dtype, num_chunks, element_shape=[None, width], infer_shape=False
    )
    _, nats, d_matrix, d_features = tf.while_loop(
        lambda index, *_: index < num_chunks,
        add_chunk,
        (0, 0.0, tf.zeros(matrix.shape), d_features),
        maximum_iterations=num_chunks,
    )
    return nats, d_features.concat(), d_matrix
