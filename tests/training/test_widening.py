"""A widened network answers as the narrower one did, and can learn with what is new."""

import numpy as np
import pytest

from model.config import ModelConfig
from model.errors import ConfigurationError
from model.network.initialisation import initial_weights
from model.runtime.numpy_runtime import NumpyRuntime
from training.widening import widen, widened_config

SIZES = [
    pytest.param({"tie_embeddings": True, "embedding_size": 6}, 21, 6, id="projection"),
    pytest.param({"tie_embeddings": True, "embedding_size": 6}, 21, 11, id="both wider"),
    pytest.param({"tie_embeddings": True, "embedding_size": 13}, 21, 13, id="a projection appears"),
    pytest.param({"tie_embeddings": True, "embedding_size": 13}, 21, 21, id="tied, none appears"),
    pytest.param({"tie_embeddings": False, "embedding_size": 6}, 21, 9, id="not tied"),
    pytest.param({"tie_embeddings": False, "embedding_size": 6}, 13, 9, id="embedding alone"),
]


def trained(config: ModelConfig) -> dict[str, np.ndarray]:
    """Weights without zeros, as training leaves them."""
    random = np.random.default_rng(5)
    return {
        name: (values + random.normal(0, 0.3, values.shape)).astype(np.float32)
        for name, values in initial_weights(config, 4).items()
    }


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(("sizes", "hidden_size", "embedding_size"), SIZES)
def test_a_widened_network_gives_the_logits_it_gave(
    cell, num_layers, sizes, hidden_size, embedding_size
):
    base = ModelConfig(cell=cell, vocab_size=17, hidden_size=13, num_layers=num_layers, **sizes)
    config = widened_config(base, hidden_size, embedding_size)
    weights = trained(base)
    wide = widen(weights, base, config, seed=3)
    assert {name: value.shape for name, value in wide.items()} == config.weight_shapes()
    narrow, wider = NumpyRuntime(base, weights), NumpyRuntime(config, wide)
    before, after = narrow.initial_state(2), wider.initial_state(2)
    for ids in np.random.default_rng(1).integers(17, size=(40, 2)).astype(np.int32):
        expected, before = narrow.step(ids, before)
        logits, after = wider.step(ids, after)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)
    if hidden_size > base.hidden_size:
        assert np.abs(after).mean() > 0.01


def test_a_widened_network_learns_with_its_new_units():
    import tensorflow as tf

    from model.network.language_model import LanguageModel

    base = ModelConfig(vocab_size=17, hidden_size=8, embedding_size=6)
    config = widened_config(base, 12, 9)
    model = LanguageModel(config)
    model.assign_weights(widen(trained(base), base, config, seed=3))
    ids = tf.constant(np.random.default_rng(1).integers(17, size=(4, 20)).astype(np.int32))
    with tf.GradientTape() as tape:
        nats, _ = model.total_loss(
            ids[:, :-1], ids[:, 1:], model.initial_state(4), training=True, seed=tf.constant([1, 1])
        )
    variables = model.named_variables()
    gradients = dict(
        zip(variables, tape.gradient(nats, [v.value for v in variables.values()]), strict=True)
    )
    outgoing = tf.convert_to_tensor(gradients["projection/kernel"]).numpy()
    assert (np.abs(outgoing[base.hidden_size :, : base.embedding_size]) > 1e-6).all()
    recurrent = tf.convert_to_tensor(gradients["layer_0/recurrent_kernel"]).numpy()
    to_old_units = recurrent.reshape(12, 4, 12)[base.hidden_size :, :, : base.hidden_size]
    assert (np.abs(to_old_units) > 0).mean() > 0.99


def test_the_same_widths_change_nothing():
    base = ModelConfig(vocab_size=17, hidden_size=8, embedding_size=6)
    weights = trained(base)
    same = widen(weights, base, widened_config(base, None, 6), seed=3)
    assert all(np.array_equal(same[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("hidden_size", "embedding_size", "message"),
    [
        (7, None, r"--hidden-size is 7, but the bundle given by --from has 8 .* give 8 or more"),
        (None, 5, r"--embedding-size is 5, but the bundle given by --from has 6"),
        (9, 9, r"would both be 9, where the bundle .* projection"),
    ],
)
def test_what_cannot_be_made_of_a_network_is_refused(hidden_size, embedding_size, message):
    base = ModelConfig(vocab_size=17, hidden_size=8, embedding_size=6)
    with pytest.raises(ConfigurationError, match=message):
        widened_config(base, hidden_size, embedding_size)
