"""Layers that leave their walk through time to Keras compute what ours compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import ModelConfig
from model.network.cells.gru import GRU
from model.network.cells.lstm import LSTM
from model.network.cells.simple_rnn import SimpleRNN
from model.network.language_model import LanguageModel

CELLS = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
TIME, BATCH, INPUT, HIDDEN = 7, 4, 3, 5

#: Step and row of each.
RESETS = {
    "never": [],
    "at the first step": [(0, 1)],
    "inside": [(3, 0)],
    "of two rows at once": [(2, 0), (2, 3)],
    "at steps in a row": [(4, 1), (5, 1), (5, 2)],
    "at the last step": [(6, 2)],
    "of all": [(time, row) for time in range(TIME) for row in range(BATCH)],
}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def pair_of_layers(cell, compute_dtype="float32"):
    """Our loop and Keras', with the same weights."""
    layers = [
        CELLS[cell](INPUT, HIDDEN, compute_dtype=compute_dtype, recurrence=recurrence)
        for recurrence in ("loop", "keras")
    ]
    for layer in layers:
        for seed, weight in enumerate((layer.kernel, layer.recurrent_kernel, layer.bias)):
            weight.assign(normal(seed, *weight.shape))
    return layers


def keep_of(places):
    keep = np.ones((TIME, BATCH, 1), np.float32)
    for time, row in places:
        keep[time, row] = 0.0
    return tf.constant(keep)


def comparison(cell, recurrent_kernel=None, compute_dtype="float32"):
    """A function of ``keep``: what each of the two layers makes of it.

    Outputs, final state, and the gradients of a sum that depends on all of both.
    """
    inputs = tf.constant(normal(7, TIME, BATCH, INPUT))

    def results(layer, keep):
        state = tf.constant(normal(8, BATCH, layer.state_size))
        weights = [layer.kernel.value, layer.recurrent_kernel.value, layer.bias.value]
        with tf.GradientTape() as tape:
            tape.watch([inputs, state])
            outputs, final = layer(inputs, state, keep=keep, recurrent_kernel=recurrent_kernel)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * normal(20, *outputs.shape))
            total += tf.reduce_sum(final * normal(21, *final.shape))
        gradients = tape.gradient(total, [inputs, state, *weights])
        return [
            tf.cast(outputs, tf.float32),
            final,
            *[each for each in gradients if each is not None],
        ]

    layers = pair_of_layers(cell, compute_dtype)
    return tf.function(lambda keep: [results(layer, keep) for layer in layers])


def assert_alike(both, count, tolerance=1e-5):
    ours, theirs = both
    assert len(ours) == len(theirs) == count
    for expected, actual in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_states_and_gradients_are_those_of_the_loop(cell):
    compare = comparison(cell)
    for places in RESETS.values():
        assert_alike(compare(keep_of(places)), 7)


@pytest.mark.parametrize("cell", CELLS)
def test_where_nothing_is_ever_zeroed_it_reads_in_one_piece(cell):
    assert_alike(comparison(cell)(None), 7)


@pytest.mark.parametrize("cell", CELLS)
def test_it_uses_the_recurrent_kernel_it_is_given(cell):
    """As with weight dropout: not the layer's own, which gets no gradient then."""
    given = tf.constant(normal(30, *pair_of_layers(cell)[0].recurrent_kernel.shape))
    assert_alike(comparison(cell, given)(keep_of(RESETS["inside"])), 6)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_as_near_as_its_eight_bits(cell):
    compare = comparison(cell, compute_dtype="bfloat16")
    assert_alike(compare(keep_of(RESETS["of two rows at once"])), 7, tolerance=0.1)


def test_a_language_model_has_the_same_loss_and_no_more_variables():
    config = ModelConfig(
        cell="lstm", vocab_size=11, embedding_size=6, hidden_size=8, num_layers=2, dropout=0.3
    )
    ids = np.random.default_rng(1).integers(0, 11, (3, 9)).astype(np.int32)
    losses = []
    for recurrence in ("loop", "keras"):
        model = LanguageModel(config, recurrence=recurrence, initial_seed=4)
        assert len(model.trainable_variables) == len(config.weight_shapes())
        loss, _ = model.total_loss(
            tf.constant(ids[:, :-1]),
            tf.constant(ids[:, 1:]),
            model.initial_state(3),
            reset=tf.constant(ids[:, :-1] == 0),
            training=True,
            seed=tf.constant([1, 2]),
        )
        losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_layer_says_how_it_runs():
    layer = LSTM(INPUT, HIDDEN, recurrence="keras")
    again = LSTM.from_config(layer.get_config())
    assert again.recurrence == "keras"
    assert isinstance(again, keras.layers.Layer)
