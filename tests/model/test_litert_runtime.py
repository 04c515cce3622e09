"""The LiteRT runtime at its door: the contract's small print, and files it must refuse.

That its numbers are right is for tests/contracts: parity and batch invariance.
"""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.config import ModelConfig
from model.errors import BundleCorruptError
from model.network.export import export_network
from model.runtime import network_file
from model.runtime.litert_runtime import LiteRTRuntime

CONFIG = ModelConfig(cell="gru", vocab_size=50, embedding_size=8, hidden_size=12)
SIZES = {
    "step_batches": (1, 4),
    "logits_batches": (1, 4),
    "prefill_chunks": ((1, 1), (1, 4)),
    "score_chunks": ((1, 2), (1, 4)),
}


def exported(config: ModelConfig = CONFIG, **sizes: object) -> bytes:
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(size=shape) * 0.3).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    return export_network(config, weights, quantise=True, **(SIZES | sizes))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.tflite"
    path.write_bytes(exported())
    return path


@pytest.fixture(scope="module")
def runtime(network: Path) -> LiteRTRuntime:
    return LiteRTRuntime(network, CONFIG)


def some_state(batch: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    return rng.normal(size=(batch, CONFIG.state_size)).astype(np.float32)


def some_ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, CONFIG.vocab_size, shape, np.int32)


@pytest.fixture(scope="module")
def lone(network: Path) -> LiteRTRuntime:
    return LiteRTRuntime(network, CONFIG, num_threads=2, most_rows=1)


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_threads_and_left_out_sizes_change_no_bit(
    runtime: LiteRTRuntime, lone: LiteRTRuntime, batch: int
) -> None:
    assert lone.step_batches == (1,)
    assert {rows for rows, _ in lone.prefill_chunks + lone.score_chunks} == {1}
    state, ids = some_state(batch), some_ids(batch, 7)
    for found, expected in zip(
        (*lone.step(ids[:, 0], state), *lone.score(ids, state), lone.prefill(ids, state)),
        (*runtime.step(ids[:, 0], state), *runtime.score(ids, state), runtime.prefill(ids, state)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(lone.logits(state), runtime.logits(state))


@pytest.mark.parametrize("batch", [0, 1, 3, 4, 11])
def test_shapes_and_types(runtime: LiteRTRuntime, batch: int) -> None:
    assert runtime.config == CONFIG
    state = runtime.initial_state(batch)
    assert not state.any()
    logits, after = runtime.step(some_ids(batch), state)
    read = runtime.prefill(some_ids(batch, 6), state)
    for array in (state, after, read):
        assert array.shape == (batch, CONFIG.state_size)
        assert array.dtype == np.float32
    for array in (logits, runtime.logits(state)):
        assert array.shape == (batch, CONFIG.vocab_size)
        assert array.dtype == np.float32


def test_reading_no_tokens_copies_the_state(runtime: LiteRTRuntime) -> None:
    state = some_state(3)
    read = runtime.prefill(some_ids(3, 0), state)
    np.testing.assert_array_equal(read, state)
    assert not np.shares_memory(read, state)
    logits, read = runtime.score(some_ids(3, 0), state)
    assert logits.shape == (3, 0, CONFIG.vocab_size)
    np.testing.assert_array_equal(read, state)
    assert not np.shares_memory(read, state)


def test_a_file_of_an_earlier_version_scores_step_by_step(
    runtime: LiteRTRuntime, tmp_path: Path
) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(exported(score_chunks=()))
    ids, state = some_ids(3, 7), some_state(3)
    found, expected = LiteRTRuntime(path, CONFIG).score(ids, state), runtime.score(ids, state)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("batch", [1, 3])
def test_inputs_are_not_modified(runtime: LiteRTRuntime, batch: int) -> None:
    state, ids = some_state(batch), some_ids(batch, 7)
    state.flags.writeable = ids.flags.writeable = False
    before = state.copy(), ids.copy()
    runtime.step(ids[:, 0], state)
    runtime.prefill(ids, state)
    runtime.score(ids, state)
    runtime.logits(state)
    np.testing.assert_array_equal(state, before[0])
    np.testing.assert_array_equal(ids, before[1])


@pytest.mark.parametrize("batch", [1, 3])
def test_results_are_the_callers_own(runtime: LiteRTRuntime, batch: int) -> None:
    state, ids = some_state(batch), some_ids(batch, 7)

    def everything() -> list[np.ndarray]:
        one_by_one = runtime.prefill(ids, state), runtime.logits(state)
        return [*runtime.step(ids[:, 0], state), *runtime.score(ids, state), *one_by_one]

    results = everything()
    kept = [array.copy() for array in results]
    for array in results:
        array.fill(7)
    for array, first in zip(everything(), kept, strict=True):
        np.testing.assert_array_equal(array, first)


def test_any_layout_in_memory_and_any_integer_type_will_do(runtime: LiteRTRuntime) -> None:
    state, ids = some_state(8), some_ids(8, 6)
    expected = runtime.step(ids[::2, 1], state[::2])
    strided = runtime.step(ids[::2, 1].astype(np.int64), np.asfortranarray(state)[::2])
    np.testing.assert_array_equal(strided[0], expected[0])
    np.testing.assert_array_equal(strided[1], expected[1])
    np.testing.assert_array_equal(
        runtime.prefill(np.asfortranarray(ids), state), runtime.prefill(ids, state)
    )


@pytest.mark.parametrize("bad_id", [-1, 50, 2**31 - 1])
def test_token_ids_outside_the_vocabulary_are_refused(runtime: LiteRTRuntime, bad_id: int) -> None:
    expected = runtime.step(some_ids(1), some_state(1))
    with pytest.raises(ValueError, match=f"token ids .*{bad_id}.*the vocabulary has 50"):
        runtime.step(np.array([bad_id]), some_state(1))
    with pytest.raises(ValueError, match="the vocabulary has 50"):
        runtime.prefill(np.array([[1, 2, 3, bad_id]]), some_state(1))
    with pytest.raises(ValueError, match="the vocabulary has 50"):
        runtime.score(np.array([[1, 2, 3, bad_id]]), some_state(1))
    after = runtime.step(some_ids(1), some_state(1))
    np.testing.assert_array_equal(after[0], expected[0])


def test_shapes_that_do_not_fit_are_refused(runtime: LiteRTRuntime) -> None:
    for batch in (1, 3):
        with pytest.raises(ValueError, match="state has shape"):
            runtime.step(some_ids(batch), some_state(batch)[:, 1:])
        with pytest.raises(ValueError, match="state has shape"):
            runtime.step(some_ids(batch), some_state(batch + 1))
        with pytest.raises(ValueError, match="token_ids has shape"):
            runtime.step(some_ids(batch, 1), some_state(batch))
        with pytest.raises(ValueError, match="token_ids has shape"):
            runtime.prefill(some_ids(batch), some_state(batch))
        with pytest.raises(ValueError, match="state has shape"):
            runtime.prefill(some_ids(batch, 2), some_state(batch + 1))
        with pytest.raises(ValueError, match="token_ids has shape"):
            runtime.score(some_ids(batch), some_state(batch))
        with pytest.raises(ValueError, match="state has shape"):
            runtime.score(some_ids(batch, 2), some_state(batch + 1))
        with pytest.raises(ValueError, match="state has shape"):
            runtime.logits(some_state(batch)[:, 1:])


def test_files_that_are_no_network_are_refused(network: Path, tmp_path: Path) -> None:
    content = network.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"This is not the file you are looking for.\n" * 100,
        "cut in the header": content[:1000],
        "cut in the constants": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "another format": network_file.sealed(b"This is not the file you are looking for."),
    }
    for name, damage in damaged.items():
        path = tmp_path / "network.tflite"
        path.write_bytes(damage)
        with pytest.raises(BundleCorruptError, match=r"network\.tflite"):
            pytest.fail(f"{name} was taken: {LiteRTRuntime(path, CONFIG)}")
    with pytest.raises(BundleCorruptError, match="No such file"):
        LiteRTRuntime(tmp_path / "nowhere", CONFIG)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"step_batches": ()}, "no signature step_1, step_4"),
        ({"step_batches": (1,)}, "no signature step_4"),
        ({"logits_batches": ()}, "lacks step, logits or prefill"),
        ({"prefill_chunks": ()}, "lacks step, logits or prefill"),
        ({"prefill_chunks": ((4, 8),)}, "no signature prefill_4x1"),
        ({"score_chunks": ((8, 2),)}, "no signature step_8"),
    ],
)
def test_a_network_that_lacks_a_signature_is_refused(
    tmp_path: Path, sizes: dict[str, object], message: str
) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(exported(**sizes))
    with pytest.raises(BundleCorruptError, match=message):
        LiteRTRuntime(path, CONFIG)


@pytest.mark.parametrize("change", [{"vocab_size": 51}, {"hidden_size": 13}, {"num_layers": 2}])
def test_a_network_of_other_sizes_is_refused(network: Path, change: dict[str, int]) -> None:
    config = ModelConfig.from_dict(CONFIG.to_dict() | change)
    with pytest.raises(BundleCorruptError, match="is not the network its bundle describes"):
        LiteRTRuntime(network, config)


def test_opening_again_and_again_leaks_no_files(network: Path) -> None:
    open_files = Path("/proc/self/fd")
    LiteRTRuntime(network, CONFIG)
    gc.collect()
    before = len(list(open_files.iterdir()))
    for _ in range(3):
        LiteRTRuntime(network, CONFIG)
    gc.collect()
    assert len(list(open_files.iterdir())) <= before


def test_leaves_no_words_and_no_files(network: Path, tmp_path: Path) -> None:
    """A process that runs a network: nothing on standard error, nothing in its directory."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from pathlib import Path
import numpy as np
from model.config import ModelConfig
from model.runtime import network_file
from model.runtime.litert_runtime import LiteRTRuntime
runtime = LiteRTRuntime(Path({str(network)!r}), ModelConfig.from_dict({CONFIG.to_dict()!r}))
logits, state = runtime.step(np.zeros(3, np.int32), runtime.initial_state(3))
print(logits.shape, "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "(3, 50) False\n"
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
