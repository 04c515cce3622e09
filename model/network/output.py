"""The two ends of the network that touch the vocabulary: looking up, and the loss."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

#: Logits worked out at once by the loss: bounds its memory and keeps them near the processor.
LOGITS_AT_ONCE = 2 * 1024 * 1024


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
        matrix = tf.cast(tf.transpose(kernel), features.dtype)
        return _chunked_loss(features, matrix, bias, targets, weights)

    def loss_with_gradient(
        features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        nats, *gradients = _chunked_loss_and_gradients(
            features, tf.cast(kernel, features.dtype), bias, targets, weights
        )

        def gradient(d_nats: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return tuple(part * tf.cast(d_nats, part.dtype) for part in gradients)

        return nats, gradient

    return tf.custom_gradient(loss_with_gradient)(features, kernel, bias)


def _num_chunks(features: tf.Tensor, vocab_size: int) -> tuple[int, tf.Tensor]:
    """Rows per chunk, and the number of chunks, at least one."""
    chunk = max(1, LOGITS_AT_ONCE // vocab_size)
    return chunk, tf.maximum(1, -(-tf.shape(features)[0] // chunk))


def _logits(features: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Logits [rows, vocab] float32 of ``features`` [rows, width]."""
    return tf.nn.bias_add(tf.cast(tf.matmul(features, matrix), tf.float32), bias)


def _chunked_loss(
    features: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
) -> tf.Tensor:
    """The loss alone; ``matrix`` is [width, vocab]."""
    chunk, num_chunks = _num_chunks(features, matrix.shape[1])

    def add_chunk(index: tf.Tensor, nats: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = slice(index * chunk, (index + 1) * chunk)
        logits = _logits(features[rows], matrix, bias)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[rows], logits)
        return index + 1, nats + tf.reduce_sum(losses * weights[rows])

    return tf.while_loop(
        lambda index, _: index < num_chunks, add_chunk, (0, 0.0), maximum_iterations=num_chunks
    )[1]


def _chunked_loss_and_gradients(
    features: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss and its gradients with respect to features, kernel and bias.

    ``kernel`` is [vocab, width], in the dtype of the features.
    """
    matrix = tf.transpose(kernel)
    chunk, num_chunks = _num_chunks(features, matrix.shape[1])
    width = features.shape[1]

    def add_chunk(
        index: tf.Tensor,
        nats: tf.Tensor,
        d_kernel: tf.Tensor,
        d_bias: tf.Tensor,
        d_features: tf.TensorArray,
    ) -> tuple[tf.Tensor, ...]:
        rows = slice(index * chunk, (index + 1) * chunk)
        logits = _logits(features[rows], matrix, bias)
        positions = tf.stack([tf.range(tf.shape(logits)[0]), targets[rows]], axis=1)
        largest = tf.reduce_max(logits, axis=1)
        exponentials = tf.exp(logits - largest[:, tf.newaxis])
        sums = tf.reduce_sum(exponentials, axis=1)
        losses = tf.math.log(sums) + largest - tf.gather_nd(logits, positions)
        # softmax - one_hot(target), times ``sums``: dividing the narrow factor of each product
        # by it, and multiplying that by the weights, spares two passes over the wide logits.
        d_logits = tf.tensor_scatter_nd_sub(exponentials, positions, sums)
        d_logits = tf.cast(d_logits, features.dtype)
        by_row = tf.cast((weights[rows] / sums)[:, tf.newaxis], features.dtype)
        part = tf.matmul(d_logits, features[rows] * by_row, transpose_a=True)
        bias_part = tf.matmul(d_logits, by_row, transpose_a=True)
        return (
            index + 1,
            nats + tf.reduce_sum(losses * weights[rows]),
            d_kernel + tf.cast(part, tf.float32),
            d_bias + tf.cast(bias_part[:, 0], tf.float32),
            d_features.write(index, tf.matmul(d_logits, kernel) * by_row),
        )

    d_features = tf.TensorArray(
        features.dtype, num_chunks, element_shape=[None, width], infer_shape=False
    )
    _, nats, d_kernel, d_bias, d_features = tf.while_loop(
        lambda index, *_: index < num_chunks,
        add_chunk,
        (0, 0.0, tf.zeros(kernel.shape), tf.zeros(bias.shape), d_features),
        maximum_iterations=num_chunks,
    )
    return nats, d_features.concat(), d_kernel, d_bias
