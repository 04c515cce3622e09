"""The estimate of speed: sane numbers, and bfloat16 only where the processor has it."""

import pytest

from model.config import ModelConfig
from training.speed import estimate_speed, processor_has_bfloat16


@pytest.mark.parametrize("tied", [True, False])
def test_an_estimate_is_a_positive_number_of_tokens(tied):
    config = ModelConfig(
        vocab_size=64,
        cell="gru",
        embedding_size=16,
        hidden_size=32,
        num_layers=2,
        tie_embeddings=tied,
    )
    assert 1.0 < estimate_speed(config, 4, 8, "float32") < 1e9


@pytest.mark.parametrize(
    ("flags", "has_it"),
    [("sse avx2", False), ("avx512_bf16 sse", True), ("amx_bf16", True), ("", False)],
)
def test_bfloat16_is_read_off_the_processors_flags(tmp_path, flags, has_it):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    assert processor_has_bfloat16(cpuinfo) is has_it


def test_where_nothing_is_known_there_is_no_bfloat16(tmp_path):
    assert processor_has_bfloat16(tmp_path / "missing") is False
