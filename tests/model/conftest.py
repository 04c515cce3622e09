"""A finished bundle, small and of made-up content, as the pipeline leaves it."""

from pathlib import Path

import pytest

from model.bundle.manifest import (
    BundleManifest,
    NetworkFile,
    Provenance,
    Score,
    Scores,
    SelfCheck,
    TokenizerFile,
    WeightsFile,
)
from model.bundle.write import write_bundle
from model.config import ModelConfig


@pytest.fixture
def bundle_source(tmp_path: Path) -> Path:
    """A directory with a bundle's files, not yet published."""
    directory = tmp_path / "export"
    directory.mkdir()
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    (directory / "network.tflite").write_bytes(bytes(range(256)) * 400)
    (directory / "network.weights.h5").write_bytes(b"weights" * 1000)
    (directory / "README.md").write_text("# A model\n")
    score = Score(
        nats_per_token=1.5, perplexity=4.48, bits_per_byte=2.16, num_tokens=100, num_bytes=100
    )
    manifest = BundleManifest(
        name="export",
        created=1_800_000_000.5,
        config=ModelConfig(vocab_size=10, cell="gru", hidden_size=4, embedding_size=4),
        tokenizer=TokenizerFile.of(directory / "tokenizer.json", kind="char", vocab_size=10),
        network=NetworkFile.of(
            directory / "network.tflite", quantisation="int8", signatures=("step_1", "logits_1")
        ),
        weights=WeightsFile(),
        scores=Scores(float32=score, int8=score, ngram={1: score, 5: score}),
        provenance=Provenance(corpus_digest="ab12", seed=7, code_version="0.1.0"),
        self_check=SelfCheck(
            prompt_token_ids=(0, 3), token_ids=(1, 2), logits=(0.5, -1.0), tolerance=0.1
        ),
    )
    write_bundle(directory, manifest)
    return directory
