"""Names inside a network file, and its end."""

from pathlib import Path

import pytest

from model.errors import BundleCorruptError
from model.runtime import network_file


def test_names_are_read_back() -> None:
    names = [
        *map(network_file.step_name, (64, 1, 8)),
        *map(network_file.logits_name, (4, 1)),
        *(network_file.prefill_name(*sizes) for sizes in ((8, 1), (1, 32), (1, 8))),
        "serving_default",
        "step_x",
        "prefill_8",
    ]
    assert network_file.step_batches(names) == [1, 8, 64]
    assert network_file.logits_batches(names) == [1, 4]
    assert network_file.prefill_chunks(names) == [(1, 8), (1, 32), (8, 1)]


def test_a_whole_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(b"content" + network_file.END_MARK)
    network_file.check_whole(path)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"content", b"content" + network_file.END_MARK[:-1]]
)
def test_a_file_cut_short_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.tflite"
    path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"network\.tflite .*cut short"):
        network_file.check_whole(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match="No such file"):
        network_file.check_whole(tmp_path / "network.tflite")
