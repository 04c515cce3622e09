"""The weights a network starts from, as NumPy arrays under their canonical names."""

from __future__ import annotations

import numpy as np

from model.config import ModelConfig
from model.state import FloatArray

#: Half-width of the uniform distribution the embedding is drawn from, as in AWD-LSTM
#: (Merity, Keskar & Socher 2017, Regularizing and Optimizing LSTM Language Models).
EMBEDDING_RANGE = 0.1


def initial_weights(config: ModelConfig, seed: int = 0) -> dict[str, FloatArray]:
    """Random weights to begin training from: ``config.weight_shapes()``, float32.

    Input kernels are uniform with the variance of Glorot & Bengio (2010), recurrent kernels
    orthogonal (Saxe, McClelland & Ganguli 2014), each gate by itself; biases are zero but for
    the LSTM's forget bias of one (Jozefowicz, Zaremba & Sutskever 2015). The same ``config`` and
    ``seed`` give the same weights.
    """
    weights = {}
    for index, (name, shape) in enumerate(config.weight_shapes().items()):
        random = np.random.default_rng([seed, index])
        weights[name] = _initial(name, shape, config, random).astype(np.float32)
    return weights


def _initial(
    name: str, shape: tuple[int, ...], config: ModelConfig, random: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if name == "embedding":
        return random.uniform(-EMBEDDING_RANGE, EMBEDDING_RANGE, shape)
    if name.endswith("/recurrent_kernel"):
        size = config.hidden_size
        return np.hstack([_orthogonal(size, random) for _ in range(config.num_gates)])
    if name.endswith("bias"):
        bias = np.zeros(shape)
        if config.cell == "lstm" and name.startswith("layer_"):
            bias[config.hidden_size : 2 * config.hidden_size] = 1.0
        return bias
    gates = config.num_gates if name.startswith("layer_") else 1
    limit = np.sqrt(6.0 / (shape[0] + shape[1] / gates))
    return random.uniform(-limit, limit, shape)


def _orthogonal(
    size: int, random: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A square orthogonal matrix, uniformly distributed (Mezzadri 2007)."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))
