"""One network, four ways to run it: Keras, NumPy, LiteRT float32 agree; LiteRT int8 comes close."""

from collections.abc import Callable

import numpy as np
import pytest

from model.config import ModelConfig
from model.network.language_model import LanguageModel
from model.runtime.litert_runtime import LiteRTRuntime
from model.runtime.numpy_runtime import NumpyRuntime

Weights = dict[str, np.ndarray]
Opener = Callable[..., LiteRTRuntime]

BATCH, TIME = 5, 12

#: Mean relative entropy of the next-token distributions, float32 to int8, in nats. The bounds are
#: about three times the worst of 20 seeds of the trained-like weights below: simple_rnn 1.8e-3, gru
#: 7.3e-4, lstm 8.3e-5. Wider layers come closer: errors of many units average out.
INT8_BOUND_NATS = {"simple_rnn": 5e-3, "gru": 2e-3, "lstm": 2.5e-4}


@pytest.fixture(scope="module")
def token_ids(config: ModelConfig) -> np.ndarray:
    return np.random.default_rng(1).integers(0, config.vocab_size, (BATCH, TIME), np.int32)


@pytest.fixture(scope="module")
def start(config: ModelConfig) -> np.ndarray:
    state = np.random.default_rng(2).normal(size=(BATCH, config.state_size)) / 2
    return state.astype(np.float32)


def stepped(
    runtime: LiteRTRuntime | NumpyRuntime, token_ids: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [batch, time, vocab] of every step, and the state after the last."""
    all_logits = []
    for ids in token_ids.T:
        logits, state = runtime.step(ids, state)
        all_logits.append(logits)
    return np.stack(all_logits, axis=1), state


def test_float32_is_the_same_everywhere(
    config: ModelConfig,
    weights: Weights,
    open_runtime: Opener,
    token_ids: np.ndarray,
    start: np.ndarray,
) -> None:
    expected_logits, expected_state = stepped(NumpyRuntime(config, weights), token_ids, start)

    keras_model = LanguageModel(config)
    keras_model.assign_weights(weights)
    keras_logits, keras_state = keras_model(token_ids, start)
    np.testing.assert_allclose(keras_logits, expected_logits, atol=1e-4)
    np.testing.assert_allclose(keras_state, expected_state, atol=1e-4)

    litert = open_runtime(config, keras_model.weights_by_name(), quantise=False)
    litert_logits, litert_state = stepped(litert, token_ids, start)
    np.testing.assert_allclose(litert_logits, expected_logits, atol=1e-4)
    np.testing.assert_allclose(litert_state, expected_state, atol=1e-4)
    np.testing.assert_allclose(litert.prefill(token_ids, start), expected_state, atol=1e-4)
    np.testing.assert_allclose(
        litert.logits(start), NumpyRuntime(config, weights).logits(start), atol=1e-4
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def trained_like(config: ModelConfig, seed: int) -> Weights:
    """Weights as training leaves them: long tails, rare tokens short, output biases far apart."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in config.weight_shapes().items():
        fan_in = shape[0] if name.endswith("kernel") else shape[-1]
        values = rng.standard_t(4, size=shape) / np.sqrt(fan_in)
        if name == "embedding":
            values *= 2 * (1 + np.arange(shape[0]) / 10)[:, np.newaxis] ** -0.25
        elif name.endswith("bias"):
            values = rng.normal(size=shape) * (2 if name == "output/bias" else 0.5)
        weights[name] = values.astype(np.float32)
    return weights


@pytest.mark.parametrize("kind", ["random", "trained-like"])
def test_int8_predicts_nearly_the_same(
    kind: str,
    config: ModelConfig,
    weights: Weights,
    open_runtime: Opener,
    token_ids: np.ndarray,
    start: np.ndarray,
) -> None:
    if kind == "trained-like":
        weights = trained_like(config, seed=7)
    exact = log_softmax(stepped(NumpyRuntime(config, weights), token_ids, start)[0])
    int8 = log_softmax(stepped(open_runtime(config, weights, quantise=True), token_ids, start)[0])
    relative_entropy_nats = (np.exp(exact) * (exact - int8)).sum(axis=-1)
    assert 0 < relative_entropy_nats.mean() < INT8_BOUND_NATS[config.cell]
