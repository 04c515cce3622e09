"""The two-time-step unrolled BasicRNN this project began with, against all three of ours.

Y0 = tanh(X0 Wx + b), Y1 = tanh(Y0 Wy + X1 Wx + b); 3 inputs, 5 neurons, 4 instances.
"""

import keras
import numpy as np
import pytest

from model.network.cells.simple_rnn import SimpleRNN
from model.runtime.numpy_runtime import simple_rnn_step

X0 = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 1]], np.float32)
X1 = np.array([[9, 8, 7], [0, 0, 0], [6, 5, 4], [3, 2, 1]], np.float32)


@pytest.fixture
def weights():
    """Wx [3, 5], Wy [5, 5], b [5]; small enough that tanh is not flat for all of them."""
    random = np.random.default_rng(42)
    return [random.normal(0, 0.1, shape).astype(np.float32) for shape in [(3, 5), (5, 5), (5,)]]


@pytest.fixture
def expected(weights):
    wx, wy, b = weights
    y0 = np.tanh(X0 @ wx + b)
    return np.stack([y0, np.tanh(y0 @ wy + X1 @ wx + b)])


def test_our_layer(weights, expected):
    layer = SimpleRNN(3, 5)
    for variable, values in zip(
        (layer.kernel, layer.recurrent_kernel, layer.bias), weights, strict=True
    ):
        variable.assign(values)
    outputs, final = layer(np.stack([X0, X1]), np.zeros((4, 5), np.float32))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(final, expected[1], rtol=1e-5, atol=1e-6)


def test_keras(weights, expected):
    layer = keras.layers.SimpleRNN(5, return_sequences=True)
    layer.build((4, 2, 3))
    layer.set_weights(weights)
    outputs = layer(np.stack([X0, X1], axis=1))
    np.testing.assert_allclose(np.swapaxes(outputs, 0, 1), expected, rtol=1e-5, atol=1e-6)


def test_numpy_runtime(weights, expected):
    for row in range(4):
        state = np.zeros((1, 5), np.float32)
        for time, frame in enumerate((X0, X1)):
            state = simple_rnn_step(frame[row], state, *weights)
            np.testing.assert_allclose(state[0], expected[time, row], rtol=1e-5, atol=1e-6)
