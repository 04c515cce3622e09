import numpy as np
import pytest

from model.config import ModelConfig
from model.network.initialisation import EMBEDDING_RANGE, initial_weights


def config(cell, **settings):
    return ModelConfig(
        **{"vocab_size": 50, "embedding_size": 24, "hidden_size": 32, "num_layers": 2, **settings},
        cell=cell,
    )


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [True, False])
def test_names_shapes_and_dtype(cell, tied):
    made = config(cell, tie_embeddings=tied)
    weights = initial_weights(made)
    assert {name: values.shape for name, values in weights.items()} == made.weight_shapes()
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}


def test_the_seed_decides():
    first, again = (initial_weights(config("gru"), seed=4) for _ in range(2))
    other = initial_weights(config("gru"), seed=5)
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        assert name.endswith("bias") or not np.array_equal(values, other[name])


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_every_recurrent_gate_is_orthogonal(cell):
    made = config(cell)
    kernel = initial_weights(made)["layer_1/recurrent_kernel"]
    for gate in np.split(kernel, made.num_gates, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(32), atol=1e-5)


def test_input_kernels_have_the_variance_of_glorot():
    kernel = initial_weights(config("lstm", embedding_size=200, hidden_size=100))["layer_0/kernel"]
    np.testing.assert_allclose(kernel.var(), 2 / (200 + 100), rtol=0.03)
    assert np.abs(kernel).max() <= np.sqrt(6 / 300)


def test_the_lstm_begins_by_remembering():
    bias = initial_weights(config("lstm"))["layer_0/bias"]
    np.testing.assert_array_equal(bias, [0.0] * 32 + [1.0] * 32 + [0.0] * 64)
    for cell in ("gru", "simple_rnn"):
        assert not initial_weights(config(cell))["layer_0/bias"].any()
    assert not initial_weights(config("lstm"))["output/bias"].any()


def test_embeddings_are_small_and_uniform():
    embedding = initial_weights(config("lstm", vocab_size=1000))["embedding"]
    assert np.abs(embedding).max() <= EMBEDDING_RANGE
    np.testing.assert_allclose(embedding.var(), (2 * EMBEDDING_RANGE) ** 2 / 12, rtol=0.05)
