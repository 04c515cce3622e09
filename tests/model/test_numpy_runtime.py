import numpy as np
import pytest

from model.config import ModelConfig
from model.network.initialisation import initial_weights
from model.runtime.numpy_runtime import NumpyRuntime, gru_step, lstm_step, simple_rnn_step
from model.state import RecurrentState

CELLS = ["simple_rnn", "gru", "lstm"]


def make_runtime(cell, **settings):
    config = ModelConfig(
        **{"vocab_size": 11, "embedding_size": 5, "hidden_size": 7, "num_layers": 2, **settings},
        cell=cell,
    )
    return NumpyRuntime(config, initial_weights(config, seed=3))


def ids(*shape):
    return np.random.default_rng(0).integers(0, 11, shape, dtype=np.int32)


def test_simple_rnn_equation():
    after = simple_rnn_step(
        np.array([1.0, 2.0]), np.array([[0.5]]), np.array([[0.1], [0.2]]), np.array([[0.4]]), 0.3
    )
    np.testing.assert_allclose(after, [[np.tanh(0.1 + 0.4 + 0.2 + 0.3)]])


def test_gru_equations():
    bias = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    after = gru_step(
        np.array([2.0]), np.array([[0.5]]), np.array([[1, -1, 0.5]]), np.array([[1, 2, 3.0]]), bias
    )
    z = 1 / (1 + np.exp(-(2 + 0.1 + 0.5 + 0.4)))
    r = 1 / (1 + np.exp(-(-2 + 0.2 + 1.0 + 0.5)))
    n = np.tanh(1 + 0.3 + r * (1.5 + 0.6))
    np.testing.assert_allclose(after, [[z * 0.5 + (1 - z) * n]])


def test_lstm_equations_in_the_order_i_f_g_o():
    after = lstm_step(
        np.array([1.0]),
        np.array([[0.5], [2.0]]),
        np.array([[0.1, 0.2, 0.3, 0.4]]),
        np.array([[1.0, 0, 1, 0]]),
        np.array([0.0, 1, 0, -1]),
    )
    i, f, o = (1 / (1 + np.exp(-x)) for x in (0.6, 1.2, -0.6))
    c = f * 2.0 + i * np.tanh(0.8)
    np.testing.assert_allclose(after, [[o * np.tanh(c)], [c]])


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_is_the_same_bits_in_any_batch(cell):
    runtime = make_runtime(cell)
    token_ids, state = (
        ids(6, 5),
        np.random.default_rng(1).normal(size=(6, runtime.config.state_size)),
    )
    state = state.astype(np.float32)
    after = runtime.prefill(token_ids, state)
    logits = runtime.logits(after)
    for row in range(6):
        alone = runtime.prefill(token_ids[row : row + 1], state[row : row + 1])
        np.testing.assert_array_equal(alone[0], after[row])
        np.testing.assert_array_equal(runtime.logits(alone)[0], logits[row])
    np.testing.assert_array_equal(runtime.prefill(token_ids[::-1], state[::-1]), after[::-1])


@pytest.mark.parametrize("cell", CELLS)
def test_score_is_step_token_by_token(cell):
    runtime, token_ids = make_runtime(cell), ids(3, 5)
    start = state = runtime.initial_state(3)
    scored, last = runtime.score(token_ids, start)
    for place in range(5):
        logits, state = runtime.step(token_ids[:, place], state)
        np.testing.assert_array_equal(scored[:, place], logits)
    np.testing.assert_array_equal(last, state)
    assert not np.shares_memory(runtime.score(token_ids[:, :0], start)[1], start)


@pytest.mark.parametrize("cell", CELLS)
def test_a_prompt_may_be_cut_anywhere(cell):
    runtime = make_runtime(cell)
    token_ids = ids(2, 6)
    whole = runtime.prefill(token_ids, runtime.initial_state(2))
    for cut in range(7):
        first = runtime.prefill(token_ids[:, :cut], runtime.initial_state(2))
        np.testing.assert_array_equal(runtime.prefill(token_ids[:, cut:], first), whole)
    state = runtime.initial_state(2)
    for time in range(6):
        logits, state = runtime.step(token_ids[:, time], state)
    np.testing.assert_array_equal(state, whole)
    np.testing.assert_array_equal(logits, runtime.logits(whole))


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_left_alone(cell):
    runtime = make_runtime(cell)
    state = np.ones((2, runtime.config.state_size), np.float32)
    runtime.prefill(ids(2, 3), state)
    runtime.step(ids(2), state)
    runtime.logits(state)
    copy = runtime.prefill(ids(2, 0), state)
    copy[:] = 5
    np.testing.assert_array_equal(state, np.ones_like(state))


def test_everything_is_float32_and_of_the_promised_shape():
    runtime = make_runtime("lstm")
    logits, state = runtime.step(ids(3), runtime.initial_state(3))
    assert (logits.shape, logits.dtype) == ((3, 11), np.float32)
    assert (state.shape, state.dtype) == ((3, 28), np.float32)
    assert runtime.prefill(ids(0, 4), runtime.initial_state(0)).shape == (0, 28)


@pytest.mark.parametrize(("tied", "size"), [(True, 7), (True, 5), (False, 5)])
def test_logits_come_from_the_last_hidden_state(tied, size):
    runtime = make_runtime("lstm", tie_embeddings=tied, embedding_size=size)
    weights = initial_weights(runtime.config, seed=3)
    weights["output/bias"] += np.arange(11)
    runtime = NumpyRuntime(runtime.config, weights)
    state = np.random.default_rng(2).normal(size=(2, 28)).astype(np.float32)
    features = RecurrentState(runtime.config, state).hidden(1)
    if runtime.config.has_projection:
        features = features @ weights["projection/kernel"]
    matrix = weights["embedding"].T if tied else weights["output/kernel"]
    np.testing.assert_allclose(
        runtime.logits(state), features @ matrix + np.arange(11), rtol=1e-5, atol=1e-6
    )


def test_large_sums_do_not_overflow():
    runtime = make_runtime("lstm")
    weights = {name: values * 1e4 for name, values in initial_weights(runtime.config).items()}
    runtime = NumpyRuntime(runtime.config, weights)
    state = runtime.prefill(ids(2, 4), runtime.initial_state(2))
    assert np.isfinite(runtime.logits(state)).all()


def test_wrong_weights_are_refused():
    config = ModelConfig(vocab_size=5, hidden_size=3, embedding_size=3)
    weights = initial_weights(config)
    weights["layer_0/bias"] = weights["layer_0/bias"][1:]
    with pytest.raises(ValueError, match="the model needs"):
        NumpyRuntime(config, weights)
