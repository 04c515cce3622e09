import numpy as np
import pytest

from model.config import ModelConfig
from model.state import RecurrentState


def config(cell, num_layers=2):
    return ModelConfig(vocab_size=5, cell=cell, hidden_size=3, num_layers=num_layers)


def test_lstm_rows_hold_h_then_c_layer_by_layer():
    state = RecurrentState(config("lstm"), np.arange(24, dtype=np.float32).reshape(2, 12))
    np.testing.assert_array_equal(state.hidden(0), [[0, 1, 2], [12, 13, 14]])
    np.testing.assert_array_equal(state.cell(0), [[3, 4, 5], [15, 16, 17]])
    np.testing.assert_array_equal(state.hidden(1), [[6, 7, 8], [18, 19, 20]])
    np.testing.assert_array_equal(state.cell(1), [[9, 10, 11], [21, 22, 23]])


@pytest.mark.parametrize("cell", ["simple_rnn", "gru"])
def test_other_cells_hold_h_only(cell):
    state = RecurrentState(config(cell), np.arange(6, dtype=np.float32).reshape(1, 6))
    np.testing.assert_array_equal(state.hidden(1), [[3, 4, 5]])
    with pytest.raises(ValueError, match="no cell state"):
        state.cell(0)


def test_views_write_through():
    state = RecurrentState.zeros(config("lstm"), 2)
    state.cell(1)[0] = 1.0
    np.testing.assert_array_equal(state.values[0], [0] * 9 + [1] * 3)
    np.testing.assert_array_equal(state.values[1], np.zeros(12))


def test_zeros_are_float32_and_may_be_no_rows():
    assert RecurrentState.zeros(config("gru"), 3).values.dtype == np.float32
    assert RecurrentState.zeros(config("gru"), 0).values.shape == (0, 6)


@pytest.mark.parametrize("shape", [(12,), (2, 11), (1, 2, 6)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        RecurrentState(config("lstm"), np.zeros(shape, np.float32))
