"""Weights on disk: ``network.weights.h5``, one HDF5 dataset per canonical name. No Keras needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from model.config import ModelConfig
from model.errors import BundleCorruptError, BundleError
from model.state import FloatArray

#: What h5py raises for a file that is truncated, altered or no HDF5 file at all.
_HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError)


def write_weights(
    path: Path,
    weights: Mapping[str, FloatArray],
    dtype: Literal["float16", "float32"] = "float16",
) -> None:
    """Writes ``weights`` under their names, e.g. ``layer_0/kernel``, compressed and checksummed.

    The same weights make the same bytes. float16 keeps 11 bits of each weight and halves the file.

    Raises:
        BundleError: a weight is not finite, or too large for ``dtype``; names it. No file is left.
    """
    stored = {name: _converted(name, values, dtype) for name, values in weights.items()}
    with _new_file(path) as file:
        for group in {name.rpartition("/")[0]: None for name in stored if "/" in name}:
            h5py.h5g.create(file.id, group.encode(), gcpl=_without_times(h5py.h5p.GROUP_CREATE))
        for name, values in stored.items():
            file.create_dataset(
                name, data=values, chunks=True, compression="gzip", shuffle=True, fletcher32=True
            )


def read_weights(path: Path, config: ModelConfig | None = None) -> dict[str, FloatArray]:
    """The weights in the file, as float32.

    Args:
        path: a file that ``write_weights`` wrote, of either dtype.
        config: if given, the names and shapes must be those of this model.

    Raises:
        BundleCorruptError: the file is missing, truncated or altered, holds numbers that are not
            finite, or does not fit ``config``; the message says which.
    """
    weights: dict[str, FloatArray] = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            weights[name] = np.asarray(item, dtype=np.float32)

    if not path.is_file():
        raise BundleCorruptError(f"{path} is missing")
    try:
        with h5py.File(path, "r") as file:
            file.visititems(collect)
    except _HDF5_ERRORS as error:
        raise BundleCorruptError(f"{path} cannot be read, it is damaged: {error}") from error
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise BundleCorruptError(f"{path}: weight {name} holds numbers that are not finite")
    if config is not None:
        _check_shapes(path, weights, config)
    return weights


def _new_file(path: Path) -> h5py.File:
    """An empty file to write to, in a format that checksums its own structure: HDF5 1.10's."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    creation = _without_times(h5py.h5p.FILE_CREATE)
    return h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, creation, access))


def _without_times(kind: h5py.h5p.PropClassID) -> h5py.h5p.PropOCID:
    """How to create a file or group that does not note down when."""
    properties = h5py.h5p.create(kind)
    properties.set_obj_track_times(False)
    return properties


def _converted(
    name: str, values: FloatArray, dtype: Literal["float16", "float32"]
) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    with np.errstate(over="ignore"):
        converted = np.asarray(values).astype(dtype)
    if not np.isfinite(converted).all():
        raise BundleError(f"weight {name} holds numbers that are not finite as {dtype}")
    return converted


def _check_shapes(path: Path, weights: Mapping[str, FloatArray], config: ModelConfig) -> None:
    shapes = config.weight_shapes()
    missing = sorted(set(shapes) - set(weights))
    unknown = sorted(set(weights) - set(shapes))
    if missing or unknown:
        raise BundleCorruptError(
            f"{path} does not fit the model: missing weights {', '.join(missing) or 'none'}; "
            f"unknown weights {', '.join(unknown) or 'none'}"
        )
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise BundleCorruptError(
                f"{path}: weight {name} has shape {weights[name].shape}; the model needs {shape}"
            )
