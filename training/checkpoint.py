"""All that is needed to go on with a training run, as one file; the last two are kept.

A checkpoint is a NumPy archive without pickled objects. Every array in it carries a CRC-32, which
reading checks: a truncated or altered file is noticed, and the one before it is used.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle.durable_files import sync_directory
from model.errors import TrainingError

logger = logging.getLogger(__name__)

KEPT = 2
_META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """A moment of training.

    Attributes:
        arrays: by name, ``<group>/<weight name>``: ``weights``, ``best``, the optimizer's slots,
            and the recurrent ``state``.
        meta: JSON-ready: step, seconds spent, best validation, and the like.
    """

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]

    def group(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays named ``<prefix>/<name>``, by ``<name>``."""
        start = prefix + "/"
        return {
            name.removeprefix(start): value
            for name, value in self.arrays.items()
            if name.startswith(start)
        }


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes ``checkpoint`` atomically and removes all but the newest two.

    Raises:
        TrainingError: the disk is full or refuses; older checkpoints are untouched.
    """
    path = folder / f"step-{checkpoint.meta['step']:010d}.npz"
    temporary = folder / f".{path.name}.incoming"
    meta = np.frombuffer(json.dumps(dict(checkpoint.meta)).encode(), np.uint8)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_META: meta}, **checkpoint.arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"cannot write the checkpoint {path}: {error.strerror or error}. Free some space and "
            "start the same command again: training goes on from the last checkpoint"
        ) from error
    for old in _paths(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in ``path``.

    Raises:
        TrainingError: the file is truncated, altered or no checkpoint.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop(_META).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"the checkpoint {path} is damaged: {error}") from error
    return Checkpoint(arrays, meta)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is any checkpoint in ``folder``, sound or not."""
    return bool(_paths(folder))


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; ``None`` where there never was one.

    A damaged one is passed over with a warning.

    Raises:
        TrainingError: there are checkpoints, and all are damaged.
    """
    paths = _paths(folder)
    for path in reversed(paths):
        try:
            return read_checkpoint(path)
        except TrainingError as error:
            logger.warning("%s; using the one before it", error)
    if paths:
        raise TrainingError(f"every checkpoint in {folder} is damaged; train again with --restart")
    return None


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.npz"))
