"""The model that llama.cpp is compared with: read back by llama.cpp's own package."""

from pathlib import Path

import gguf
import pytest
from tiny_bundle import tiny_bundle

from benchmarks.gguf_model import main
from benchmarks.subject import SHIPPED_BUNDLE, published_subject
from model.tokenizers.tokenizer import Tokenizer


def test_as_many_weights_in_8_bits_and_the_same_vocabulary(tmp_path: Path) -> None:
    subject = published_subject(SHIPPED_BUNDLE)
    file = tmp_path / "model.gguf"
    assert main([str(file)]) == 0
    written = gguf.GGUFReader(file)
    matrices = [tensor for tensor in written.tensors if len(tensor.shape) == 2]
    assert {tensor.tensor_type.name for tensor in matrices} == {"Q8_0"}
    num_weights = sum(int(tensor.n_elements) for tensor in matrices)
    assert num_weights == pytest.approx(subject.config.num_weights(), rel=0.02)
    tokenizer = Tokenizer.load(subject.tokenizer)
    names = written.fields["tokenizer.ggml.tokens"].contents()
    text = " It was a great time in the city"
    token_ids = tokenizer.encode(text)
    assert "".join(names[token_id] for token_id in token_ids) == text.replace(" ", "Ġ")
    assert written.fields["tokenizer.ggml.eos_token_id"].contents() == tokenizer.end_of_text_id


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.gguf"
    for bundle, reason in (
        (tiny_bundle(), "weights are too few for"),
        (tmp_path / "none", "none"),
    ):
        assert main([str(file), "--bundle", str(bundle)]) == 1
        assert reason in capsys.readouterr().err
        assert not file.exists()
