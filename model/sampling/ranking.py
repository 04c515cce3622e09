"""Ranking tokens without sorting the vocabulary: a few candidates first, then those in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.state import FloatArray

#: Rows are padded to a multiple of this width; places j, j + 128, ... are interleaved group j.
NUM_GROUPS = 128

IdArray = NDArray[np.intp]

#: Up to so many tokens a stable sort of their order is faster than what precedes the other way.
_FEW = 256

_LOW_WORD = 2**32 - 1
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)


def group_sums(weights: FloatArray) -> FloatArray:
    """Sums over the interleaved groups: [rows, padded vocab] -> [rows, NUM_GROUPS] float32."""
    num_rows, width = weights.shape
    sums: FloatArray = weights.reshape(num_rows, width // NUM_GROUPS, NUM_GROUPS).sum(axis=1)
    return sums


def group_maxima(values: FloatArray) -> FloatArray:
    """Maxima of the interleaved groups, ascending: [rows, padded vocab] -> [rows, NUM_GROUPS]."""
    num_rows, width = values.shape
    maxima: FloatArray = values.reshape(num_rows, width // NUM_GROUPS, NUM_GROUPS).max(axis=1)
    maxima.sort(axis=1)
    return maxima


def kth_largest_bound(values: FloatArray, maxima: FloatArray, k: int) -> np.float32:
    """A number not above the k-th largest of ``values`` [padded vocab], and near it.

    Every group holds an entry as large as its maximum, so k groups hold k entries at least as large
    as the k-th largest of the ``maxima``. For larger k the row itself is partitioned.
    """
    bound: np.float32
    if k <= NUM_GROUPS:
        bound = maxima[NUM_GROUPS - k]
    else:
        place = max(len(values) - k, 0)
        bound = np.partition(values, place)[place]
    return bound


def ranked(token_ids: IdArray, scores: FloatArray) -> IdArray:
    """``token_ids`` (ascending) by descending ``scores`` (no NaN), ties to the lowest id.

    Of many tokens, score and id become one 64-bit number, for NumPy sorts numbers many times faster
    than it finds the order of others.
    """
    if len(token_ids) <= _FEW:
        return token_ids[(-scores).argsort(kind="stable")]
    bits = scores.view(np.int32)
    # The bits of negative numbers ascend the wrong way round.
    keys = (bits ^ ((bits >> 31) & _ALL_BUT_SIGN)).astype(np.int64)
    keys *= -(2**32)
    keys |= token_ids
    keys.sort()
    keys &= _LOW_WORD
    return keys
