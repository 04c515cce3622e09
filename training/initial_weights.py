"""The weights that fine-tuning starts from: a bundle's, or the mean of several bundles'.

The mean of networks that were fine-tuned from one another is often better than each of them
(Wortsman et al. 2022, Model soups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.bundle.load import Bundle, load_bundle
from model.config import ModelConfig
from model.errors import ConfigurationError
from model.network.weights_file import read_weights
from model.state import FloatArray
from training.widening import widen


def alike_bundles(paths: Sequence[Path], config: ModelConfig) -> list[Bundle]:
    """The bundles at ``paths``, whose weights can be averaged in a network of ``config``.

    Raises:
        BundleError: one of them cannot be opened.
        ConfigurationError: they differ in their tokenizer or in more than their widths, or one of
            them is wider than ``config``.
    """
    bundles = [load_bundle(path) for path in paths]
    for bundle in bundles:
        _check_alike(bundles[0], bundle)
        _check_widths(bundle, config)
    return bundles


def mean_weights(paths: Sequence[Path], config: ModelConfig, seed: int) -> dict[str, FloatArray]:
    """The mean of the weights of the bundles at ``paths``, by name, as a network of ``config``.

    Narrower networks are widened first. Where one has been trained from another by widening it with
    the same ``seed``, the units they do not share began alike, so that a mean makes sense.

    Raises:
        BundleError, ConfigurationError: as ``alike_bundles``.
    """
    sums = {name: np.zeros(shape) for name, shape in config.weight_shapes().items()}
    for bundle in alike_bundles(paths, config):
        weights = read_weights(bundle.weights_path)
        for name, values in widen(weights, bundle.config, config, seed).items():
            sums[name] += values
    return {name: (total / len(paths)).astype(np.float32) for name, total in sums.items()}


def _check_alike(first: Bundle, other: Bundle) -> None:
    if _but_for_widths(first.config) != _but_for_widths(other.config):
        raise ConfigurationError(
            f"{other.directory} cannot be averaged with {first.directory}: its network has another "
            "cell, another number of layers or other ties"
        )
    if first.manifest.tokenizer.digest != other.manifest.tokenizer.digest:
        raise ConfigurationError(
            f"{other.directory} cannot be averaged with {first.directory}: its tokenizer is another"
        )


def _but_for_widths(config: ModelConfig) -> ModelConfig:
    return replace(config, hidden_size=1, embedding_size=1, dropout=0.0)


def _check_widths(bundle: Bundle, config: ModelConfig) -> None:
    own = bundle.config
    if own.hidden_size > config.hidden_size or own.embedding_size > config.embedding_size:
        raise ConfigurationError(
            f"{bundle.directory} is wider than the network to train: give --hidden-size "
            f"{max(own.hidden_size, config.hidden_size)} and --embedding-size "
            f"{max(own.embedding_size, config.embedding_size)} at least"
        )
    if own.has_projection and not config.has_projection:
        raise ConfigurationError(
            f"{bundle.directory} has a projection and cannot be averaged in a network whose "
            "--hidden-size and --embedding-size are equal"
        )
