"""The compiled passes over the vocabulary, as Python calls them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model.kernel.paths import library_path
from model.state import FloatArray, IntArray

logger = logging.getLogger(__name__)

#: How a row is drawn; the same numbers as in ``draw.c``.
GREEDY, TOP_K, NUCLEUS, LIKELY = 1, 2, 3, 4

#: The largest ``top_k`` it draws from and the most top tokens it finds; how many tokens may be
#: ruled out.
MOST_TOP_K = 128
MOST_NEVER = 16

#: In place of a token: it has to be drawn otherwise.
UNDECIDED = -2

#: How each row is drawn: ``struct row`` of ``draw.c``.
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
        AttributeError: it is another library.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows = (_POINTER, _COUNT, _COUNT)

        def function(name: str, *arguments: type) -> Callable[..., None]:
            found = library[f"foretoken_{name}"]
            found.restype, found.argtypes = None, (*rows, *arguments)
            return cast(Callable[..., None], found)

        self._draw = function("draw", *[_POINTER] * 3, _COUNT, _POINTER, _POINTER)
        self._normalise = function("normalise", _POINTER, _POINTER)
        self._rank = function("rank", _POINTER, _POINTER)
        self._top = function("top", _COUNT, _POINTER)

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

    def normalise(self, logits: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """log(sum(exp(logits))) and the entropy, in nats, of each row: [batch, vocab] -> [batch].

        Both are NaN for a row whose logits are not finite.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        normalisers, entropies = np.empty((2, len(logits)))
        self._normalise(
            logits.ctypes.data, *logits.shape, normalisers.ctypes.data, entropies.ctypes.data
        )
        return normalisers, entropies

    def rank(self, logits: FloatArray, token_ids: IntArray) -> IntArray:
        """Place of one token per row in descending order, from 1, ties to the lowest id: [batch].

        Args:
            logits: [batch, vocab] float32.
            token_ids: [batch], in the vocabulary.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        token_ids = np.ascontiguousarray(token_ids, np.int32)
        ranks = np.empty(len(logits), np.int32)
        self._rank(logits.ctypes.data, *logits.shape, token_ids.ctypes.data, ranks.ctypes.data)
        return ranks

    def top(self, logits: FloatArray, num_top: int) -> IntArray:
        """The likeliest tokens of each row, descending, ties to the lowest id: [batch, num_top].

        Args:
            logits: [batch, vocab] float32.
            num_top: from 1 to ``MOST_TOP_K`` and the vocabulary's size.

        Returns:
            int32; ``UNDECIDED`` first in a row that has too many of equal logits, or no numbers.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        top = np.empty((len(logits), num_top), np.int32)
        self._top(logits.ctypes.data, *logits.shape, num_top, top.ctypes.data)
        return top


@functools.cache
def find_kernel() -> Kernel | None:
    """What ``python -m model.kernel.build`` has made; None where it has not, or of no use here."""
    path = library_path()
    if not path.exists():
        return None
    try:
        return Kernel(path)
    except (OSError, AttributeError) as error:
        logger.warning("%s cannot be loaded, NumPy takes its place: %s", path, error)
        return None
