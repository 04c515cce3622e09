"""What contract tests share: networks to compare runtimes on, and a running service.

The networks have every cell, and every way the arrays of a model can lie.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from running_service import RunningService, running_service
from tiny_bundle import tiny_bundle

from model.config import ModelConfig
from model.network.export import MAX_TABLE_ROWS, export_network
from model.runtime.litert_runtime import LiteRTRuntime

Weights = dict[str, np.ndarray]

SIZES = {
    "step_batches": (1, 4, 16, 64),
    "logits_batches": (1, 16),
    "prefill_chunks": ((1, 1), (1, 8), (16, 1), (16, 4)),
    "score_chunks": ((1, 2), (1, 8), (16, 3)),
}

#: Odd sizes leave remainders in vectorised loops.
CONFIGS = {
    "simple_rnn, tied": ModelConfig(
        cell="simple_rnn", vocab_size=521, embedding_size=20, hidden_size=20, num_layers=2
    ),
    "gru, tied, projection": ModelConfig(
        cell="gru", vocab_size=521, embedding_size=11, hidden_size=21, num_layers=2
    ),
    "lstm, tied, projection": ModelConfig(
        cell="lstm", vocab_size=521, embedding_size=11, hidden_size=21, num_layers=2
    ),
    "lstm, untied, three layers": ModelConfig(
        cell="lstm",
        vocab_size=523,
        embedding_size=9,
        hidden_size=14,
        num_layers=3,
        tie_embeddings=False,
    ),
    "gru, small vocabulary": ModelConfig(
        cell="gru", vocab_size=17, embedding_size=12, hidden_size=15
    ),
    "lstm, small vocabulary, untied": ModelConfig(
        cell="lstm", vocab_size=17, embedding_size=12, hidden_size=15, tie_embeddings=False
    ),
}


assert {config.vocab_size <= MAX_TABLE_ROWS for config in CONFIGS.values()} == {False, True}


@pytest.fixture(scope="session", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="session")
def weights(config: ModelConfig) -> Weights:
    """Rows of about unit length, and biases."""
    rng = np.random.default_rng(3)
    return {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32) * 1.5
        for name, shape in config.weight_shapes().items()
    }


class Opener(Protocol):
    def __call__(
        self, config: ModelConfig, weights: Weights, *, quantise: bool, **sizes: Any
    ) -> LiteRTRuntime: ...


@pytest.fixture(scope="session")
def open_runtime(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    """Exports weights, at few sizes to be quick, and opens the file."""

    def opened(
        config: ModelConfig, weights: Weights, *, quantise: bool, **sizes: Any
    ) -> LiteRTRuntime:
        path: Path = tmp_path_factory.mktemp("export") / "network.tflite"
        content = export_network(config, weights, quantise=quantise, **(SIZES | sizes))
        path.write_bytes(content)
        return LiteRTRuntime(path, config)

    return opened


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """One running service that the contract tests over HTTP share: limits as by default.

    Its admin key is ``admin``.
    """
    with running_service(tiny_bundle(), "--admin-key", "admin") as service:
        yield service
