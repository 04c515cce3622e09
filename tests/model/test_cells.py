"""SimpleRNN, GRU and LSTM against Keras' own layers, plain NumPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.network.cells.gru import GRU
from model.network.cells.lstm import LSTM
from model.network.cells.simple_rnn import SimpleRNN
from model.runtime.numpy_runtime import gru_step, lstm_step, simple_rnn_step

OURS = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}
KERAS = {
    "simple_rnn": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}
STEPS = {"simple_rnn": simple_rnn_step, "gru": gru_step, "lstm": lstm_step}
CELLS = list(OURS)
TIME, BATCH, INPUT, HIDDEN = 6, 3, 4, 5

pytestmark = pytest.mark.parametrize("cell", CELLS)


def normal(seed, *shape, scale=0.7):
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def make_layer(cell, compute_dtype="float32", input_size=INPUT, hidden_size=HIDDEN):
    layer = OURS[cell](input_size, hidden_size, compute_dtype=compute_dtype)
    for seed, weight in enumerate(weights_of(layer)):
        weight.assign(normal(seed, *weight.shape))
    return layer


def weights_of(layer):
    return [layer.kernel, layer.recurrent_kernel, layer.bias]


def values_of(layer):
    return [weight.value for weight in weights_of(layer)]


def numpy_run(cell, inputs, state, weights, reset=None):
    """Outputs [time, batch, hidden] and final state, in the dtype of the arguments."""
    outputs = []
    state = state.copy()
    for time, frame in enumerate(inputs):
        for row in range(len(state)):
            if reset is not None and reset[time, row]:
                state[row] = 0
            per_tensor = state[row].reshape(-1, weights[1].shape[0])
            state[row] = STEPS[cell](frame[row], per_tensor, *weights).reshape(-1)
        outputs.append(state[:, : weights[1].shape[0]].copy())
    return np.array(outputs), state


def weighted_sum(outputs, final):
    """A scalar that depends on every output and on every part of the final state."""
    over_outputs = tf.reduce_sum(tf.cast(outputs, tf.float32) * normal(20, *outputs.shape))
    return over_outputs + tf.reduce_sum(final * normal(21, *final.shape))


def gradients(layer, inputs, state, keep=None):
    inputs, state = tf.constant(inputs), tf.constant(state)
    with tf.GradientTape() as tape:
        tape.watch([inputs, state])
        loss = weighted_sum(*layer(inputs, state, keep=keep))
    return tape.gradient(loss, [inputs, *values_of(layer), state])


def keep_from(reset):
    return tf.constant(1.0 - reset[:, :, np.newaxis].astype(np.float32))


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_forwards_equals_keras_and_numpy(cell):
    layer = make_layer(cell)
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)
    outputs, final = layer(inputs, state)

    keras_layer = KERAS[cell](HIDDEN, return_sequences=True, return_state=True)
    keras_layer.build((BATCH, TIME, INPUT))
    keras_layer.set_weights([weight.numpy() for weight in weights_of(layer)])
    expected, *final_parts = keras_layer(
        inputs.transpose(1, 0, 2), initial_state=np.split(state, layer.state_size // HIDDEN, axis=1)
    )
    close(outputs, np.transpose(expected, [1, 0, 2]))
    close(final, np.concatenate(final_parts, axis=1))

    expected, expected_final = numpy_run(
        cell, inputs, state, [weight.numpy() for weight in weights_of(layer)]
    )
    close(outputs, expected)
    close(final, expected_final)


def test_gradients_equal_those_of_keras(cell):
    layer = make_layer(cell)
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)
    ours = gradients(layer, inputs, state)

    keras_layer = KERAS[cell](HIDDEN, return_sequences=True, return_state=True)
    keras_layer.build((BATCH, TIME, INPUT))
    keras_layer.set_weights([weight.numpy() for weight in weights_of(layer)])
    inputs, state = tf.constant(inputs), tf.constant(state)
    with tf.GradientTape() as tape:
        tape.watch([inputs, state])
        outputs, *final = keras_layer(
            tf.transpose(inputs, [1, 0, 2]),
            initial_state=tf.split(state, layer.state_size // HIDDEN, axis=1),
        )
        loss = weighted_sum(tf.transpose(outputs, [1, 0, 2]), tf.concat(final, axis=1))
    variables = [variable.value for variable in keras_layer.trainable_variables]
    theirs = tape.gradient(loss, [inputs, *variables, state])
    for actual, expected in zip(ours, theirs, strict=True):
        close(actual, expected)


def test_gradients_equal_finite_differences_of_the_equations(cell):
    """Central differences in float64 of the NumPy equations, with resets on the way."""
    layer = make_layer(cell)
    reset = np.zeros((TIME, BATCH), bool)
    reset[0, 0] = reset[3, 1] = True
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)
    ours = gradients(layer, inputs, state, keep_from(reset))
    arguments = [
        array.astype(np.float64)
        for array in (inputs, *(weight.numpy() for weight in weights_of(layer)), state)
    ]

    def loss():
        inputs, *weights, state = arguments
        outputs, final = numpy_run(cell, inputs, state, weights, reset)
        return np.sum(outputs * normal(20, *outputs.shape)) + np.sum(
            final * normal(21, *final.shape)
        )

    random = np.random.default_rng(5)
    for argument, gradient in zip(arguments, ours, strict=True):
        flat = argument.reshape(-1)
        for index in random.choice(flat.size, size=min(20, flat.size), replace=False):
            value = flat[index]
            flat[index] = value + 1e-6
            above = loss()
            flat[index] = value - 1e-6
            below = loss()
            flat[index] = value
            close(np.reshape(gradient, -1)[index], (above - below) / 2e-6, 2e-5)


def test_a_reset_row_is_a_sequence_of_its_own(cell):
    layer = make_layer(cell)
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)
    reset = np.zeros((TIME, BATCH), bool)
    reset[2, 1] = True
    outputs, final = layer(inputs, state, keep=keep_from(reset))
    untouched, _ = layer(inputs, state)
    fresh, fresh_final = layer(inputs[2:, 1:2], np.zeros((1, layer.state_size), np.float32))
    close(outputs[:2], untouched[:2])
    close(outputs[:, 0], untouched[:, 0])
    close(outputs[2:, 1:2], fresh)
    close(final[1:2], fresh_final)


def test_no_gradient_crosses_a_reset(cell):
    layer = make_layer(cell)
    reset = np.zeros((TIME, BATCH), bool)
    reset[2, 1] = True
    inputs, state = tf.constant(normal(7, TIME, BATCH, INPUT)), tf.ones([BATCH, layer.state_size])
    with tf.GradientTape() as tape:
        tape.watch([inputs, state])
        outputs, final = layer(inputs, state, keep=keep_from(reset))
        loss = tf.reduce_sum(outputs[2:]) + tf.reduce_sum(final)
    d_inputs, d_state = tape.gradient(loss, [inputs, state])
    assert not np.any(d_inputs[:2, 1])
    assert not np.any(d_state[1])
    assert np.all(d_state[0] != 0)
    assert np.all(np.any(d_inputs[:2, 0] != 0, axis=-1))


def test_carried_state_equals_one_long_pass(cell):
    layer = make_layer(cell)
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)
    outputs, final = layer(inputs, state)
    for cut in (1, 3, TIME):
        first, between = layer(inputs[:cut], state)
        second, after = layer(inputs[cut:], between)
        close(tf.concat([first, second], axis=0), outputs)
        close(after, final)


def test_no_time_steps_and_one_row(cell):
    layer = make_layer(cell)
    state = normal(8, 1, layer.state_size)
    outputs, final = layer(np.zeros((0, 1, INPUT), np.float32), state)
    assert outputs.shape == (0, 1, HIDDEN)
    np.testing.assert_array_equal(final, state)
    d_inputs, *d_weights, d_state = gradients(layer, np.zeros((0, 1, INPUT), np.float32), state)
    assert d_inputs.shape == (0, 1, INPUT)
    assert not any(np.any(gradient) for gradient in d_weights)
    np.testing.assert_array_equal(d_state, normal(21, *state.shape))


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
def test_a_graph_of_unknown_sizes_gives_the_same(cell, compute_dtype):
    layer = make_layer(cell, compute_dtype)
    inputs, state = normal(7, TIME, BATCH, INPUT), normal(8, BATCH, layer.state_size)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, INPUT]),
            tf.TensorSpec([None, layer.state_size]),
            tf.TensorSpec([None, None, 1]),
        ],
    )
    def graph(inputs, state, keep):
        with tf.GradientTape() as tape:
            tape.watch([inputs, state])
            outputs, final = layer(inputs, state, keep=keep)
            wide = tf.cast(outputs, tf.float32)
            loss = tf.reduce_sum(tf.square(wide)) + tf.reduce_sum(final)
        return outputs, final, tape.gradient(loss, [inputs, *values_of(layer), state])

    def eager(inputs, state, keep):
        return graph.python_function(tf.constant(inputs), tf.constant(state), keep)

    for steps in (TIME, 1, 0):
        keep = keep_from(np.random.default_rng(1).random((steps, BATCH)) < 0.3)
        for actual, expected in zip(
            tf.nest.flatten(graph(inputs[:steps], state, keep)),
            tf.nest.flatten(eager(inputs[:steps], state, keep)),
            strict=True,
        ):
            close(tf.cast(actual, tf.float32), tf.cast(expected, tf.float32))


def test_bfloat16_follows_float32(cell):
    """bfloat16 keeps 8 bits: outputs within 0.02, gradients within 2 % of their length."""
    sizes = {"input_size": 16, "hidden_size": 24}
    exact, rounded = make_layer(cell, **sizes), make_layer(cell, "bfloat16", **sizes)
    for layer in (exact, rounded):
        layer.kernel.assign(layer.kernel * 0.3)
        layer.recurrent_kernel.assign(layer.recurrent_kernel * 0.2)
    inputs, state = normal(7, 10, BATCH, 16), normal(8, BATCH, exact.state_size)
    outputs, final = rounded(inputs, state)
    assert outputs.dtype == tf.bfloat16
    assert final.dtype == tf.float32
    assert rounded.kernel.dtype == "float32"
    expected, expected_final = exact(inputs, state)
    close(tf.cast(outputs, tf.float32), expected, 0.02)
    close(final, expected_final, 0.02)
    for actual, correct in zip(
        gradients(rounded, inputs, state), gradients(exact, inputs, state), strict=True
    ):
        assert actual.dtype == tf.float32
        assert np.linalg.norm(actual - correct) < 0.02 * np.linalg.norm(correct)


def test_the_same_call_gives_the_same_bits(cell):
    layer = make_layer(cell, input_size=32, hidden_size=64)
    inputs, state = normal(7, 16, 8, 32), normal(8, 8, layer.state_size)
    first = gradients(layer, inputs, state)
    for _ in range(3):
        for actual, expected in zip(gradients(layer, inputs, state), first, strict=True):
            np.testing.assert_array_equal(actual, expected)
