"""A real bundle, tiny and untrained: random weights, so its text is nonsense, but fixed."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from model.bundle.manifest import (
    BundleManifest,
    NetworkFile,
    Provenance,
    Score,
    Scores,
    TokenizerFile,
    WeightsFile,
)
from model.bundle.publish import publish
from model.bundle.self_check import make_self_check
from model.bundle.write import write_bundle
from model.config import ModelConfig
from model.runtime.litert_runtime import LiteRTRuntime
from model.tokenizers import train_tokenizer

TEXTS = (
    "In Italy, I had a great time and I learnt some of the Italian language.\n",
    "The caf\u00e9 was na\u00efve \u2014 \u20ac5 for a th\u00e9! \U0001f600 \u65e5\u672c\u8a9e\n",
    "One day in 1999 we walked and talked, and talked and walked.\n",
)


@functools.cache
def tiny_bundle(kind: str = "bpe") -> Path:
    """The directory of a tiny bundle; made once per test run. Not to be changed by tests."""
    folder = Path(tempfile.mkdtemp(prefix="foretoken-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return publish_tiny_bundle(folder / "bundles", kind, kind=kind)


def publish_tiny_bundle(
    bundles: Path, name: str, *, kind: str = "bpe", vocab_size: int = 300
) -> Path:
    """Publishes a bundle of that name into ``bundles``; returns its directory."""
    from model.network.export import export_network  # TensorFlow: heavy

    export = bundles.parent / f"{bundles.name}-{name}-export"
    export.mkdir(parents=True)
    tokenizer = train_tokenizer(kind, TEXTS * 3, vocab_size)
    tokenizer.save(export / "tokenizer.json")
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, cell="gru", embedding_size=16, hidden_size=16
    )
    random = np.random.default_rng(7)
    weights = {
        weight: random.normal(0.0, 0.8, shape).astype(np.float32)
        for weight, shape in config.weight_shapes().items()
    }
    (export / "network.tflite").write_bytes(export_network(config, weights, quantise=True))
    (export / "network.weights.h5").write_bytes(b"not needed to serve")
    runtime = LiteRTRuntime(export / "network.tflite", config)
    score = Score(nats_per_token=5, perplexity=148, bits_per_byte=4, num_tokens=9, num_bytes=9)
    manifest = BundleManifest(
        name=name,
        created=1_800_000_000.0,
        config=config,
        tokenizer=TokenizerFile.of(
            export / "tokenizer.json", kind=kind, vocab_size=tokenizer.vocab_size
        ),
        network=NetworkFile.of(
            export / "network.tflite", quantisation="int8", signatures=("step_1",)
        ),
        weights=WeightsFile(),
        scores=Scores(float32=score, int8=score),
        provenance=Provenance(corpus_digest="none", seed=7, code_version="test"),
        self_check=make_self_check(runtime, (0, 1, 2)),
    )
    write_bundle(export, manifest)
    publish(export, bundles, name)
    return bundles / name
