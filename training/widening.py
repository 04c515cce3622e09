"""A wider network that computes what a narrower one does, to train on from there.

New units read what the old ones read, by random weights, and nothing reads them: their weights
towards old units and towards the output are zero. So the outputs stay what they were, and the first
gradient already reaches the new units' outgoing weights. After Chen, Goodfellow & Shlens (2016),
Net2Net: Accelerating Learning via Knowledge Transfer; there, old units are split instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from model.config import ModelConfig
from model.errors import ConfigurationError
from model.network.initialisation import initial_weights
from model.state import FloatArray


def widened_config(
    base: ModelConfig, hidden_size: int | None, embedding_size: int | None
) -> ModelConfig:
    """``base`` with the widths given; None leaves one as it is.

    Raises:
        ConfigurationError: a width is less than that of ``base``, or the two become equal where
            they were not and embeddings are tied, which leaves no place for the projection.
    """
    asked = (("hidden-size", hidden_size), ("embedding-size", embedding_size))
    for (key, value), width in zip(asked, (base.hidden_size, base.embedding_size), strict=True):
        if value is not None and value < width:
            raise ConfigurationError(
                f"--{key} is {value}, but the bundle given by --from has {width} and a network can "
                f"only be made wider: give {width} or more, or leave it out"
            )
    config = replace(
        base,
        hidden_size=hidden_size or base.hidden_size,
        embedding_size=embedding_size or base.embedding_size,
    )
    if base.has_projection and not config.has_projection:
        raise ConfigurationError(
            f"--hidden-size and --embedding-size would both be {config.hidden_size}, where the "
            "bundle given by --from has a projection between them: give other sizes"
        )
    return config


def widen(
    weights: Mapping[str, FloatArray], base: ModelConfig, config: ModelConfig, seed: int
) -> dict[str, FloatArray]:
    """Weights of ``config`` with the outputs that ``weights`` have as ``base``.

    Args:
        weights: of ``base``, by canonical name.
        base: what is widened.
        config: as ``widened_config`` gives it.
        seed: of the new units' weights.
    """
    if config.weight_shapes() == base.weight_shapes():
        return dict(weights)
    wide = initial_weights(config, seed)
    for name, values in wide.items():
        if name.startswith("layer_"):
            wide[name] = _widened_layer(name, values, weights[name], config.num_gates)
        elif name == "projection/kernel":
            values[:] = 0.0
            old = weights.get(name, np.eye(base.hidden_size, dtype=np.float32))
            values[: old.shape[0], : old.shape[1]] = old
        elif name == "embedding":
            if config.tie_embeddings and not config.has_projection:
                values[:] = 0.0  # new units meet these columns in the output matrix
            values[:, : base.embedding_size] = weights[name]
        elif name == "output/kernel":
            values[:] = 0.0
            values[: base.hidden_size] = weights[name]
        else:
            values[:] = weights[name]
    return wide


def _widened_layer(name: str, fresh: FloatArray, old: FloatArray, num_gates: int) -> FloatArray:
    """``old`` [..., gates * old hidden] within ``fresh`` [..., gates * hidden]."""
    units = old.shape[-1] // num_gates
    rows = old.reshape(-1, num_gates, units)
    wide = np.array(fresh).reshape(-1, num_gates, fresh.shape[-1] // num_gates)
    if not name.endswith("/bias"):
        wide[..., :units] = 0.0
    wide[: len(rows), :, :units] = rows
    return wide.reshape(fresh.shape)
