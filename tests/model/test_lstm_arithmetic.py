"""The LSTM's arithmetic as it is compiled, against the same as TensorFlow's operators."""

import numpy as np
import pytest
import tensorflow as tf

from model.network.cells.lstm_arithmetic import lstm_arithmetic

HIDDEN, BATCH = 5, 3


def normal(seed, rows, scale=1.5):
    values = np.random.default_rng(seed).normal(0, scale, (rows * HIDDEN, BATCH))
    return tf.constant(values, tf.float32)


def step_and_back(arithmetic):
    """All results for the same float32 sums, which either takes."""
    hidden, cell, *kept = arithmetic.step(normal(0, 4), normal(1, 1))
    widths = [tensor.shape[0] for tensor in kept]
    assert widths == [part * HIDDEN for part in arithmetic.kept]
    return hidden, cell, *arithmetic.back(kept, normal(2, 1), normal(3, 1), normal(4, 1))


def test_compiled_and_as_operators_it_is_the_same():
    """Within 1e-6 of numbers of size 1 (float32)."""
    compiled, operators = (
        step_and_back(lstm_arithmetic(dtype)) for dtype in (tf.bfloat16, tf.float32)
    )
    for ours, theirs in zip(compiled, operators, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32])
def test_what_comes_out_has_the_dtype_of_the_products(dtype):
    arithmetic = lstm_arithmetic(dtype)
    before = normal(1, 1)
    hidden, cell, *kept = arithmetic.step(tf.cast(normal(0, 4), dtype), before)
    d_hidden, d_output = (tf.cast(normal(seed, 1), dtype) for seed in (2, 3))
    d_sums, d_before = arithmetic.back(kept, d_hidden, d_output, normal(4, 1))
    assert hidden.dtype == d_sums.dtype == dtype
    assert {tensor.dtype for tensor in (cell, d_before, *kept)} == {tf.float32}
    assert d_sums.shape == [4 * HIDDEN, BATCH]


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32])
def test_gates_far_from_zero_are_open_or_shut(dtype):
    """Sums of 1,000 overflow nothing: the state is that of gates at 0 and 1."""
    gates = np.repeat([-1.0, 1.0, 1.0, 1.0], HIDDEN)[:, np.newaxis] * np.full(BATCH, 1000.0)
    before = normal(1, 1)
    hidden, cell, *kept = lstm_arithmetic(dtype).step(tf.constant(gates, dtype), before)
    np.testing.assert_array_equal(cell, before)
    np.testing.assert_allclose(tf.cast(hidden, tf.float32), np.tanh(before), atol=0.005)
    d_hidden = tf.cast(normal(2, 1), dtype)
    d_sums, _ = lstm_arithmetic(dtype).back(kept, d_hidden, d_hidden, normal(4, 1))
    np.testing.assert_array_equal(tf.cast(d_sums, tf.float32), 0.0)
