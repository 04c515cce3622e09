"""The weights that fine-tuning starts from: a bundle's, or the mean of several bundles'.

The mean of networks that were fine-tuned from one another is often better than each of them
(Wortsman et al. 2022, Model soups).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.bundle.load import Bundle, load_bundle
from model.errors import ConfigurationError
from model.network.weights_file import read_weights
from model.state import FloatArray


def alike_bundles(paths: Sequence[Path]) -> list[Bundle]:
    """The bundles at ``paths``, whose weights can be averaged.

    Raises:
        BundleError: one of them cannot be opened.
        ConfigurationError: they differ in their sizes or their tokenizer.
    """
    first, *others = (load_bundle(path) for path in paths)
    for other in others:
        _check_alike(first, other)
    return [first, *others]


def mean_weights(paths: Sequence[Path]) -> dict[str, FloatArray]:
    """The mean of the weights of the bundles at ``paths``, by name.

    Raises:
        BundleError: one of them cannot be opened.
        ConfigurationError: they differ in their sizes or their tokenizer.
    """
    first, *others = alike_bundles(paths)
    weights = read_weights(first.weights_path)
    if not others:
        return weights
    sums = {name: values.astype(np.float64) for name, values in weights.items()}
    for other in others:
        for name, values in read_weights(other.weights_path).items():
            sums[name] += values
    return {name: (total / len(paths)).astype(np.float32) for name, total in sums.items()}


def _check_alike(first: Bundle, other: Bundle) -> None:
    same_sizes = first.config.weight_shapes() == other.config.weight_shapes()
    if not same_sizes or first.config.cell != other.config.cell:
        raise ConfigurationError(
            f"{other.directory} cannot be averaged with {first.directory}: its network has another "
            "cell or other sizes"
        )
    if first.manifest.tokenizer.digest != other.manifest.tokenizer.digest:
        raise ConfigurationError(
            f"{other.directory} cannot be averaged with {first.directory}: its tokenizer is another"
        )
