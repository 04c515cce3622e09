"""Ranking tokens without sorting the vocabulary: a few candidates first, then those in order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.state import FloatArray

#: Rows are padded to a multiple of this width; places j, j + 128, ... are interleaved group j.
NUM_GROUPS = 128

#: Rows of so many places and more are padded to a multiple of a strip, which is worked on at once.
_WIDE = 2048
_STRIP = 1024

#: So many members of a group are added up in one product, at most: one that is large may be shared
#: out to threads.
_MOST_ADDED = 64
_ONES = np.ones(_MOST_ADDED, np.float32)

IdArray = NDArray[np.intp]

#: Up to so many tokens a stable sort of their order is faster than what precedes the other way.
_FEW = 256

_LOW_WORD = 2**32 - 1
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
#: A key behind that of every number, -inf included; its low word is 0.
_BEHIND_ALL = 0x7FFFFFFF << 32


def padded_width(vocab_size: int) -> int:
    """The width of a row with room for ``vocab_size`` tokens in groups of equal sizes."""
    unit = NUM_GROUPS if vocab_size < _WIDE else _STRIP
    return -(-vocab_size // unit) * unit


def group_sums(weights: FloatArray) -> FloatArray:
    """Sums over the interleaved groups: [rows, padded vocab] -> [rows, NUM_GROUPS] float32.

    As products with a vector of ones, row by row, which is the fastest way to add up.
    """
    num_rows, width = weights.shape
    members = width // NUM_GROUPS
    block = math.gcd(members, _MOST_ADDED)
    blocks = weights.reshape(num_rows, members // block, block, NUM_GROUPS)
    sums: FloatArray = np.matmul(_ONES[:block], blocks).sum(axis=1)
    return sums


def group_maxima(values: FloatArray) -> FloatArray:
    """Maxima of the interleaved groups, ascending: [rows, padded vocab] -> [rows, NUM_GROUPS]."""
    num_rows, width = values.shape
    # First of long strips: NumPy is slow along short ones.
    strip = _STRIP if width % _STRIP == 0 else NUM_GROUPS
    strips = values.reshape(num_rows, width // strip, strip).max(axis=1)
    maxima: FloatArray = strips.reshape(num_rows, strip // NUM_GROUPS, NUM_GROUPS).max(axis=1)
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
    keys = _keys(token_ids, scores)
    keys.sort()
    keys &= _LOW_WORD
    return keys


def ranked_in_rows(
    token_ids: IdArray, scores: FloatArray, rows: IdArray, num_found: IdArray
) -> IdArray:
    """``ranked`` for every row by itself: [rows, most in a row]; what is missing in a row is 0.

    Args:
        token_ids: [n], first those of the first row, ascending, then those of the next.
        scores: [n], theirs.
        rows: [n], which row each belongs to.
        num_found: [rows], how many there are in each; at least one.
    """
    table = np.full((len(num_found), num_found.max()), _BEHIND_ALL)
    places = np.arange(len(rows)) - (num_found.cumsum() - num_found)[rows]
    table[rows, places] = _keys(token_ids, scores)
    table.sort(axis=1)
    table &= _LOW_WORD
    return table


def _keys(token_ids: IdArray, scores: FloatArray) -> IdArray:
    """One number for each token, ascending in the order of ``ranked``; its low word is the id."""
    bits = (scores + np.float32(0)).view(np.int32)  # which makes -0 a 0
    # The bits of negative numbers ascend the wrong way round.
    keys = (bits ^ ((bits >> 31) & _ALL_BUT_SIGN)).astype(np.int64)
    keys *= -(2**32)
    keys |= token_ids
    return keys
