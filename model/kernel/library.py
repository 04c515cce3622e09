"""The compiled passes over the vocabulary, as Python calls them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.kernel.paths import library_path
from model.state import FloatArray, IntArray

logger = logging.getLogger(__name__)

#: How a row is drawn; the same numbers as in ``vocabulary.c``.
GREEDY, TOP_K, NUCLEUS = 1, 2, 3

#: The largest ``top_k`` it draws from, and how many tokens may be ruled out.
MOST_TOP_K = 128
MOST_NEVER = 16

#: In place of a token: it has to be drawn otherwise.
UNDECIDED = -2

#: How each row is drawn: ``struct row`` of ``vocabulary.c``.
ROW = np.dtype(
    [
        ("way", np.int32),
        ("top_k", np.int32),
        ("inverse_temperature", np.float32),
        ("min_p", np.float32),
        ("top_p", np.float64),
    ]
)

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


class Kernel:
    """The library at ``path``, loaded. Its calls let other threads run meanwhile.

    Attributes:
        digest: SHA-256, hexadecimal, of the file: another compiler may round otherwise.

    Raises:
        OSError: it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._draw = library.foretoken_draw
        self._draw.restype = None
        self._draw.argtypes = (
            *(_POINTER, _COUNT, _COUNT),
            *(_POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER),
        )

    def draw(
        self,
        logits: FloatArray,
        rows: NDArray[np.void],
        draws: NDArray[np.float64],
        never: NDArray[np.int64],
        weights: FloatArray,
    ) -> IntArray:
        """A token for each row.

        Args:
            logits: [batch, vocab] float32, contiguous, writable; the same afterwards.
            rows: [batch] of ``ROW``, contiguous.
            draws: [batch], uniform in [0, 1).
            never: tokens that are not drawn, ``MOST_NEVER`` at most.
            weights: [vocab] float32, to work in.

        Returns:
            [batch] int32: a token; -1 for a row whose logits are not finite; or ``UNDECIDED``.
        """
        num_rows, width = logits.shape
        tokens = np.empty(num_rows, np.int32)
        self._draw(
            logits.ctypes.data,
            num_rows,
            width,
            rows.ctypes.data,
            draws.ctypes.data,
            never.ctypes.data,
            len(never),
            weights.ctypes.data,
            tokens.ctypes.data,
        )
        return tokens


@functools.cache
def find_kernel() -> Kernel | None:
    """What ``python -m model.kernel.build`` has made; None where it has not, or of no use here."""
    path = library_path()
    if not path.exists():
        return None
    try:
        return Kernel(path)
    except OSError as error:
        logger.warning("%s cannot be loaded, NumPy takes its place: %s", path, error)
        return None
