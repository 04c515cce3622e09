"""Names inside a network file, and its seal."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BundleCorruptError
from model.runtime import network_file


def test_names_are_read_back() -> None:
    names = [
        *map(network_file.step_name, (64, 1, 8)),
        *map(network_file.logits_name, (4, 1)),
        *(network_file.prefill_name(*sizes) for sizes in ((8, 1), (1, 32), (1, 8))),
        *(network_file.score_name(*sizes) for sizes in ((4, 2), (1, 16))),
        "serving_default",
        "step_x",
        "prefill_8",
    ]
    assert network_file.step_batches(names) == [1, 8, 64]
    assert network_file.logits_batches(names) == [1, 4]
    assert network_file.prefill_chunks(names) == [(1, 8), (1, 32), (8, 1)]
    assert network_file.score_chunks(names) == [(1, 16), (4, 2)]


@given(content=st.binary(max_size=50))
def test_a_sealed_file_passes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(network_file.sealed(content))
    network_file.check_sealed(path)


def test_a_large_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(network_file.sealed(bytes(range(256)) * 10_000))
    network_file.check_sealed(path)


def cut_at(length: int) -> Callable[[bytes], bytes]:
    return lambda sealed: sealed[:length]


def flipped_at(position: int) -> Callable[[bytes], bytes]:
    def flip(sealed: bytes) -> bytes:
        altered = bytearray(sealed)
        altered[position] ^= 0x10
        return bytes(altered)

    return flip


@pytest.mark.parametrize(
    "damage",
    [*map(cut_at, (0, 1, 15, 16, 17, 1000, -16, -1)), *map(flipped_at, (0, 999, -16, -4, -1))],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(damage(network_file.sealed(bytes(5000))))
    with pytest.raises(BundleCorruptError, match=r"network\.tflite .*cut short or altered"):
        network_file.check_sealed(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="No such file"):
        network_file.check_sealed(tmp_path / "network.tflite")
