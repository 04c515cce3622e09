"""Picking the few largest weights of each row without sorting the vocabulary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.state import FloatArray, IntArray

#: Rows are padded to a multiple of this width; places j, j + 128, ... are interleaved group j.
NUM_GROUPS = 128


class Candidates:
    """All entries of each row at or above a threshold of the row, padded to one width.

    Attributes:
        token_ids: [rows, width] int32, ascending along a row.
        weights: [rows, width] float32, 0 where padded.
        descending: [rows, width] float32, the weights, largest first.
        cumulative: [rows, width] float64, running sums of ``descending``.
    """

    def __init__(self, weights: FloatArray, thresholds: FloatArray) -> None:
        """Picks from ``weights`` [rows, padded vocab] what is >= ``thresholds`` [rows], all > 0.

        Every row must hold one such entry.
        """
        num_rows, row_width = weights.shape
        flat = np.flatnonzero(weights >= thresholds[:, None])
        if num_rows == 1:
            self.token_ids: IntArray = flat[None].astype(np.int32)
            self.weights: FloatArray = weights[:, flat]
        else:
            starts = np.searchsorted(flat, np.arange(num_rows + 1) * row_width)
            counts = np.diff(starts)
            width = int(counts.max())
            rows = np.repeat(np.arange(num_rows), counts)
            places = np.arange(flat.size) + np.repeat(
                np.arange(num_rows) * width - starts[:-1], counts
            )
            self.token_ids = np.zeros((num_rows, width), np.int32)
            self.token_ids.ravel()[places] = flat - rows * row_width
            self.weights = np.zeros((num_rows, width), np.float32)
            self.weights.ravel()[places] = weights.ravel()[flat]
        self.descending: FloatArray = np.sort(self.weights, axis=1)[:, ::-1]
        self.cumulative: NDArray[np.float64] = np.cumsum(self.descending, axis=1, dtype=np.float64)

    def tokens_at(self, places: NDArray[np.int64]) -> IntArray:
        """The token at ``places`` [rows] of each row in descending order, ties to the lowest id."""
        rows = np.arange(len(places))
        chosen = self.descending[rows, places][:, None]
        earlier_ties = places - (self.descending > chosen).sum(axis=1)
        matches = self.weights == chosen
        if earlier_ties.any():
            matches = matches.cumsum(axis=1) > earlier_ties[:, None]
        token_ids: IntArray = self.token_ids[rows, matches.argmax(axis=1)]
        return token_ids


def group_sums(weights: FloatArray) -> FloatArray:
    """Sums over the interleaved groups: [rows, padded vocab] -> [rows, NUM_GROUPS] float32."""
    num_rows, width = weights.shape
    sums: FloatArray = weights.reshape(num_rows, width // NUM_GROUPS, NUM_GROUPS).sum(axis=1)
    return sums


def kth_largest_bounds(weights: FloatArray, ks: NDArray[np.int64]) -> FloatArray:
    """A number per row that is not above its k-th largest weight, and near it: [rows] float32.

    Every interleaved group holds an entry as large as its maximum, so k groups hold k entries at
    least as large as the k-th largest of the maxima. For larger k the row itself is partitioned.

    Args:
        weights: [rows, padded vocab].
        ks: [rows], each from 1 to the padded vocabulary.
    """
    num_rows, width = weights.shape
    maxima = weights.reshape(num_rows, width // NUM_GROUPS, NUM_GROUPS).max(axis=1)
    maxima.sort(axis=1)
    bounds: FloatArray = maxima[np.arange(num_rows), np.maximum(NUM_GROUPS - ks, 0)]
    for row in np.flatnonzero(ks > NUM_GROUPS):
        bounds[row] = np.partition(weights[row], width - ks[row])[width - ks[row]]
    return bounds
