import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from model.config import ModelConfig
from model.errors import BundleCorruptError, BundleError
from model.network.weights_file import read_weights, write_weights

CONFIG = ModelConfig(vocab_size=40, cell="lstm", embedding_size=8, hidden_size=16)


@pytest.fixture
def weights():
    random = np.random.default_rng(1)
    return {
        name: random.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in CONFIG.weight_shapes().items()
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.weights.h5"


def test_float32_comes_back_bit_for_bit(path, weights):
    write_weights(path, weights, dtype="float32")
    read = read_weights(path, CONFIG)
    assert set(read) == set(weights)
    for name, values in weights.items():
        np.testing.assert_array_equal(read[name], values)


def test_float16_comes_back_rounded_and_smaller(path, weights):
    write_weights(path, weights)
    size = path.stat().st_size
    for name, values in read_weights(path, CONFIG).items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, weights[name].astype(np.float16).astype(np.float32))
    write_weights(path, weights, dtype="float32")
    assert size < path.stat().st_size


def test_the_same_weights_make_the_same_bytes(path, weights):
    write_weights(path, weights)
    first = path.read_bytes()
    second = int(time.time())
    while int(time.time()) == second:  # a file that notes the time notes seconds
        time.sleep(0.05)
    write_weights(path, weights)
    assert path.read_bytes() == first


def test_any_hdf5_program_can_read_it(path, weights):
    write_weights(path, weights)
    with h5py.File(path) as file:
        assert file["layer_0"]["recurrent_kernel"].dtype == np.float16
        assert file["layer_0/recurrent_kernel"].shape == (16, 64)


def test_reading_loads_no_tensorflow(path, weights):
    write_weights(path, weights)
    program = (
        "import sys, pathlib; from model.network.weights_file import read_weights;"
        "read_weights(pathlib.Path(sys.argv[1]));"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_a_missing_file_is_named(path):
    with pytest.raises(BundleCorruptError, match=r"network\.weights\.h5 is missing"):
        read_weights(path)


def test_truncated_anywhere_is_refused(path, weights):
    write_weights(path, weights)
    whole = path.read_bytes()
    for length in [0, 1, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(BundleCorruptError, match="damaged"):
            read_weights(path, CONFIG)


def test_an_altered_byte_is_refused_or_was_of_no_account(path, weights):
    write_weights(path, weights)
    whole = path.read_bytes()
    intact = read_weights(path, CONFIG)
    refused = 0
    for position in range(0, len(whole), 61):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        try:
            read = read_weights(path, CONFIG)
        except BundleCorruptError:
            refused += 1
        else:
            for name, values in intact.items():
                np.testing.assert_array_equal(read[name], values)
    assert refused > 20


def test_no_hdf5_file_is_refused(path):
    path.write_text("not weights at all")
    with pytest.raises(BundleCorruptError, match="damaged"):
        read_weights(path)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_model_are_refused(path, weights, change):
    if change == "missing":
        del weights["layer_0/bias"]
    elif change == "unknown":
        weights["layer_0/peephole"] = np.zeros(3, np.float32)
    else:
        weights["layer_0/bias"] = np.zeros(7, np.float32)
    write_weights(path, weights)
    with pytest.raises(BundleCorruptError, match=r"layer_0/(bias|peephole)"):
        read_weights(path, CONFIG)
    assert set(read_weights(path)) == set(weights)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_numbers_that_cannot_be_stored_are_refused_before_writing(path, weights, bad):
    weights["output/bias"][3] = bad
    with pytest.raises(BundleError, match="output/bias"):
        write_weights(path, weights)
    assert not path.exists()


def test_numbers_that_are_not_finite_are_refused_when_read(path):
    with h5py.File(path, "w") as file:
        file["embedding"] = np.array([1.0, np.inf], np.float32)
    with pytest.raises(BundleCorruptError, match="embedding"):
        read_weights(path)
