import numpy as np
import pytest
import tensorflow as tf

from model.network import output
from model.network.output import cross_entropy_sum, embed

ROWS, WIDTH, VOCAB = 23, 5, 7


def arguments(rows=ROWS, scale=1.0, vocab=VOCAB):
    random = np.random.default_rng(3)
    return (
        tf.constant(random.normal(0, scale, (rows, WIDTH)), tf.float32),
        tf.constant(random.normal(0, scale, (vocab, WIDTH)), tf.float32),
        tf.constant(random.normal(0, scale, vocab), tf.float32),
        tf.constant(random.integers(0, vocab, rows), tf.int32),
        tf.constant(random.random(rows), tf.float32),
    )


def expected_loss(features, kernel, bias, targets, weights):
    logits = tf.matmul(features, kernel, transpose_b=True) + bias
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return tf.reduce_sum(losses * weights)


def with_gradients(loss, values):
    with tf.GradientTape() as tape:
        tape.watch(values[:3])
        nats = loss(*values)
        tripled = 3.0 * nats
    return nats, tape.gradient(tripled, values[:3])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rows_at_once", [1, 4, 23, 100])
@pytest.mark.parametrize("vocab", [1, VOCAB, 16, 32, 45])
def test_in_chunks_of_any_size_it_is_the_cross_entropy(monkeypatch, training, rows_at_once, vocab):
    monkeypatch.setattr(output, "LOGITS_AT_ONCE", rows_at_once * vocab)
    values = arguments(vocab=vocab)
    nats, gradients = with_gradients(
        lambda *values: cross_entropy_sum(*values, training=training), values
    )
    expected, expected_gradients = with_gradients(expected_loss, values)
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    for actual, correct in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(actual, correct, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_huge_logits_overflow_nothing(training):
    values = arguments(scale=60.0)
    nats, gradients = with_gradients(
        lambda *values: cross_entropy_sum(*values, training=training), values
    )
    np.testing.assert_allclose(nats, expected_loss(*values), rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("training", [True, False])
def test_no_rows_lose_nothing(training):
    nats, (d_features, d_kernel, d_bias) = with_gradients(
        lambda *values: cross_entropy_sum(*values, training=training), arguments(rows=0)
    )
    assert float(nats) == 0.0
    assert d_features.shape == (0, WIDTH)
    assert not np.any(d_kernel)
    assert not np.any(d_bias)


def test_embed_looks_up_and_sums_gradients_per_token():
    table = tf.constant(np.arange(8.0).reshape(4, 2), tf.float32)
    token_ids = tf.constant([[1, 3, 1], [1, 0, 3]])
    weights = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    with tf.GradientTape() as tape:
        tape.watch(table)
        rows = embed(table, token_ids)
        loss = tf.reduce_sum(rows * weights)
    np.testing.assert_array_equal(rows, table.numpy()[token_ids.numpy()])
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_array_equal(gradient, [[8, 9], [0 + 4 + 6, 1 + 5 + 7], [0, 0], [12, 14]])
