"""The model that is measured: a published bundle, or one of a given size made on the fly.

    python -m benchmarks.subject 2x512 FOLDER

makes a bundle of random weights: speed depends on them only through sampling, for their
distribution over tokens is flatter than a trained model's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.load import load_bundle
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
from model.tokenizers.tokenizer import Tokenizer

SHIPPED_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "travel"

_SIZE = re.compile(r"(\d+)x(\d+)")
_MAKING_SECONDS = 120


@dataclass(frozen=True)
class Subject:
    """A bundle to measure: where it is, and where its parts are."""

    name: str
    directory: Path
    config: ModelConfig
    network: Path
    weights: Path
    tokenizer: Path

    def describe(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "num_weights": self.config.num_weights(),
            "network_bytes": self.network.stat().st_size,
            "config": self.config.to_dict(),
        }


def published_subject(directory: Path) -> Subject:
    """The bundle in ``directory``.

    Raises:
        BundleError: it cannot be used; the message says why.
    """
    bundle = load_bundle(directory)
    return Subject(
        name=bundle.manifest.name,
        directory=directory,
        config=bundle.config,
        network=bundle.network_path,
        weights=bundle.weights_path,
        tokenizer=bundle.tokenizer_path,
    )


def random_subject(size: str, folder: Path) -> Subject:
    """An LSTM of random weights, LAYERSxHIDDEN, with the shipped bundle's tokenizer.

    It is made in a process of its own: this one stays without TensorFlow.
    """
    command = [sys.executable, "-m", "benchmarks.subject", size, str(folder)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=_MAKING_SECONDS)
    return published_subject(folder / "bundles" / _name(size))


def check_size(size: str) -> str:
    """``size`` itself, if it reads LAYERSxHIDDEN.

    Raises:
        ValueError: it does not.
    """
    if not _SIZE.fullmatch(size):
        raise ValueError(f"size is {size!r}; it must be LAYERSxHIDDEN, such as 2x512")
    return size


def _name(size: str) -> str:
    return f"random-lstm-{size}"


def _make(size: str, folder: Path) -> None:
    from model.network.export import export_network  # noqa: PLC0415  TensorFlow, in the child only
    from model.network.weights_file import write_weights  # noqa: PLC0415
    from model.runtime.litert_runtime import LiteRTRuntime  # noqa: PLC0415

    num_layers, hidden_size = map(int, check_size(size).split("x"))
    export = folder / "export"
    export.mkdir(parents=True)
    tokenizer = Tokenizer.load(published_subject(SHIPPED_BUNDLE).tokenizer)
    tokenizer.save(export / "tokenizer.json")
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        embedding_size=hidden_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
    )
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(size=shape) / shape[-1] ** 0.5).astype(np.float16).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    write_weights(export / "network.weights.h5", weights)
    network = export / "network.tflite"
    network.write_bytes(export_network(config, weights, quantise=True))
    runtime = LiteRTRuntime(network, config)
    unknown = Score(nats_per_token=0, perplexity=1, bits_per_byte=0, num_tokens=1, num_bytes=1)
    manifest = BundleManifest(
        name=_name(size),
        created=time.time(),
        config=config,
        tokenizer=TokenizerFile.of(
            export / "tokenizer.json", kind=tokenizer.kind, vocab_size=tokenizer.vocab_size
        ),
        network=NetworkFile.of(network, quantisation="int8", signatures=("step_1",)),
        weights=WeightsFile(),
        scores=Scores(float32=unknown),
        provenance=Provenance(corpus_digest="none", seed=0, code_version="benchmark"),
        self_check=make_self_check(runtime, (0, 1, 2)),
    )
    write_bundle(export, manifest)
    publish(export, folder / "bundles", _name(size))


if __name__ == "__main__":
    _make(sys.argv[1], Path(sys.argv[2]))
