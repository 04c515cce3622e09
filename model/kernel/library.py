"""The compiled passes over the vocabulary, as Python calls them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

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

    def drawer(self, rows: NDArray[np.void], never: NDArray[np.int64], vocab_size: int) -> Drawer:
        """What draws for the same rows again and again.

        Args:
            rows: how each is drawn: [batch] of ``ROW``.
            never: tokens that are not drawn, ``MOST_NEVER`` at most.
            vocab_size: of the logits.
        """
        return Drawer(self._draw, rows, never, vocab_size)

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


class Drawer:
    """Draws a token for each of some rows; what stays the same is made ready once.

    Attributes:
        vocab_size: of the logits.
    """

    def __init__(
        self,
        draw: Callable[..., None],
        rows: NDArray[np.void],
        never: NDArray[np.int64],
        vocab_size: int,
    ) -> None:
        self.vocab_size = vocab_size
        self._draw = draw
        self._shape = len(rows), vocab_size
        # Kept, for the C side knows them by their addresses only.
        self._rows, self._never = rows.copy(), never.copy()
        self._weights = np.empty(vocab_size, np.float32)
        self._places = self._rows.ctypes.data, self._never.ctypes.data, self._weights.ctypes.data

    def draw(self, logits: FloatArray, draws: NDArray[np.float64]) -> IntArray:
        """A token for each row.

        Args:
            logits: [batch, vocab] float32, contiguous, writable; the same afterwards.
            draws: [batch], uniform in [0, 1), contiguous.

        Returns:
            [batch] int32: a token; -1 for a row whose logits are not finite; or ``UNDECIDED``.

        Raises:
            ValueError: ``logits`` has another shape.
        """
        if logits.shape != self._shape:
            raise ValueError(f"logits have shape {logits.shape}; expected {self._shape}")
        num_rows, width = self._shape
        rows, never, weights = self._places
        tokens = np.empty(num_rows, np.int32)
        self._draw(
            _address(logits),
            num_rows,
            width,
            rows,
            _address(draws),
            never,
            len(self._never),
            weights,
            _address(tokens),
        )
        return tokens


def _address(array: NDArray[Any]) -> int:
    """Where its memory begins, in a third of the time of ``array.ctypes.data``."""
    return ctypes.addressof(ctypes.c_char.from_buffer(cast(Any, array)))


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
