"""What the exporter writes: the right arrays, rounded well, each once; and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.config import ModelConfig
from model.errors import ConfigurationError
from model.network.export import export_network, quantised_rows
from model.runtime.litert_runtime import LiteRTRuntime
from model.runtime.numpy_runtime import NumpyRuntime

Weights = dict[str, np.ndarray]

TIED = ModelConfig(vocab_size=590, embedding_size=8, hidden_size=12, num_layers=2)


def random_weights(config: ModelConfig) -> Weights:
    rng = np.random.default_rng(0)
    return {
        name: (rng.normal(size=shape) * 0.3).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }


FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FINITE)
)
def test_rounding_errs_by_half_a_scale_at_most(values: np.ndarray) -> None:
    constant = quantised_rows("w", values)
    assert constant.values.dtype == np.int8
    assert constant.scales is not None
    assert constant.values.min() >= -127
    assert (constant.scales > 0).all()
    meant = constant.values * constant.scales.astype(np.float64)[:, np.newaxis]
    half = constant.scales[:, np.newaxis] * 0.50001
    assert (np.abs(meant - values) <= half).all()
    assert (meant[values == 0] == 0).all()


def test_a_row_of_zeros_stays_zero() -> None:
    constant = quantised_rows("w", np.zeros((2, 3), np.float32))
    assert not constant.values.any()
    assert np.isfinite(constant.scales).all()


def test_each_row_has_a_scale_of_its_own() -> None:
    values = np.array([[1.0, -0.5], [1e-3, 1e-3], [0.0, 200.0]], np.float32)
    constant = quantised_rows("w", values)
    np.testing.assert_allclose(constant.scales, np.array([1, 1e-3, 200]) / 127, rtol=1e-6)
    np.testing.assert_array_equal(constant.values, [[127, -64], [127, 127], [0, 127]])


def test_a_tied_embedding_is_in_the_file_once() -> None:
    weights = random_weights(TIED)
    content = export_network(TIED, weights, quantise=True)
    embedding = quantised_rows("embedding", weights["embedding"])
    assert content.count(embedding.values.tobytes()) == 1


def test_int8_takes_a_byte_for_a_weight() -> None:
    config = ModelConfig(vocab_size=2000, embedding_size=256, hidden_size=256, num_layers=2)
    content = export_network(config, random_weights(config), quantise=True)
    assert len(content) < 1.5 * config.num_weights()


def test_the_same_weights_give_the_same_file() -> None:
    weights = random_weights(TIED)
    again = {name: weights[name].copy() for name in reversed(weights)}
    first = export_network(TIED, weights, quantise=True)
    assert first == export_network(TIED, again, quantise=True)


def test_float16_weights_are_taken_as_float32(tmp_path: Path) -> None:
    weights = {name: array.astype(np.float16) for name, array in random_weights(TIED).items()}
    path = tmp_path / "network.tflite"
    path.write_bytes(export_network(TIED, weights, quantise=False))
    state = np.full((1, TIED.state_size), 0.5, np.float32)
    logits = LiteRTRuntime(path, TIED).logits(state)
    np.testing.assert_allclose(logits, NumpyRuntime(TIED, weights).logits(state), atol=1e-5)


def test_the_weights_are_not_modified() -> None:
    weights = random_weights(TIED)
    before = {name: array.copy() for name, array in weights.items()}
    export_network(TIED, weights, quantise=True)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[name])


def test_sizes_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(
        export_network(
            TIED,
            random_weights(TIED),
            quantise=True,
            step_batches=(2, 3),
            logits_batches=(3,),
            prefill_chunks=((2, 1), (2, 5)),
            score_chunks=((3, 4),),
        )
    )
    runtime = LiteRTRuntime(path, TIED)
    assert runtime.step_batches == (2, 3)
    assert runtime.prefill_chunks == ((2, 1), (2, 5))
    assert runtime.score_chunks == ((3, 4),)


def without(weights: Weights, name: str) -> Weights:
    return {key: array for key, array in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "layer_1/bias"), r"layer_1/bias has None, needs \(48,\)"),
        (lambda w: w | {"layer_2/bias": np.zeros(3)}, r"layer_2/bias has \(3,\), needs None"),
        (lambda w: w | {"output/bias": np.zeros(589)}, r"output/bias has \(589,\), needs \(590,\)"),
        (lambda w: w | {"output/bias": np.full(590, np.nan)}, "output/bias holds values"),
        (lambda w: w | {"output/bias": np.full(590, np.inf)}, "output/bias holds values"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export_network(TIED, change(random_weights(TIED)), quantise=True)
