"""One draw per row from weights: with no filter, with filters by rank, with ``typical_p``.

The weight of a token is w = exp((logit - max) / temperature): the largest is 1. The filters need
the largest weights in order, but the vocabulary is never sorted: a threshold that is known to lie
below everything that can be kept picks a few candidates, and those are sorted. Without filters
nothing is sorted at all: the draw falls into one of the interleaved groups, by their sums, and then
on one of the group's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.sampling.candidates import NUM_GROUPS, Candidates, group_sums, kth_largest_bounds
from model.state import FloatArray, IntArray

DoubleArray = NDArray[np.float64]

#: Weights below this (a share of 1e-38 of the largest) count as 0.
_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class RankFilters:
    """``top_k`` [rows] int64 (0: off), ``top_p`` [rows] float64, ``min_p`` [rows] float32."""

    top_k: NDArray[np.int64]
    top_p: DoubleArray
    min_p: FloatArray

    def of(self, rows: NDArray[np.intp]) -> RankFilters:
        """Those of some rows."""
        return RankFilters(self.top_k[rows], self.top_p[rows], self.min_p[rows])


def draw_from_all(weights: FloatArray, draws: DoubleArray) -> IntArray:
    """Tokens drawn in proportion to ``weights``.

    Args:
        weights: [rows, padded vocab], 0 where padded.
        draws: [rows], uniform in [0, 1).

    Returns:
        [rows] int32.
    """
    num_rows, width = weights.shape
    rows = np.arange(num_rows)
    groups, rests = _fall(group_sums(weights), draws)
    members = weights.reshape(num_rows, width // NUM_GROUPS, NUM_GROUPS)[rows, :, groups]
    places, _ = _fall(members, rests)
    return (places * NUM_GROUPS + groups).astype(np.int32)


def _fall(weights: FloatArray, draws: DoubleArray) -> tuple[NDArray[np.int64], DoubleArray]:
    """The place in each row that the draw falls on, and how far into it, again in [0, 1)."""
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    targets = _below(draws, cumulative[:, -1])
    places = (cumulative <= targets[:, None]).sum(axis=1)
    rows = np.arange(len(weights))
    widths = weights[rows, places]
    return places, 1.0 - (cumulative[rows, places] - targets) / widths


def _below(draws: DoubleArray, totals: DoubleArray) -> DoubleArray:
    """``draws * totals``, kept below ``totals`` where it would be rounded up to it."""
    return np.minimum(draws * totals, np.nextafter(totals, 0.0))


def draw_filtered(weights: FloatArray, draws: DoubleArray, filters: RankFilters) -> IntArray:
    """Tokens drawn from what ``top_k``, then ``top_p``, then ``min_p`` leave of ``weights``.

    Each filter sees the distribution renormalised over what the one before has left. Arguments and
    result as for ``draw_from_all``; in every row the largest weight is 1.
    """
    width = weights.shape[1]
    totals = group_sums(weights).sum(axis=1)
    floors = np.maximum(filters.min_p, _SMALLEST)
    if filters.top_k.any():
        bounds = kth_largest_bounds(weights, np.clip(filters.top_k, 1, width))
        floors = np.where(filters.top_k > 0, np.maximum(floors, bounds), floors)
    tokens = np.empty(len(weights), np.int32)
    pending = np.arange(len(weights))
    # Tokens below (1 - top_p) / vocabulary of the probability make up less than 1 - top_p in all,
    # so top_p never keeps them. A bolder bound is tried first, and checked.
    for share in (1 / 512, 1 / width, 0.0):
        cut = (1.0 - filters.top_p[pending]) * totals[pending] * share
        cut[filters.top_k[pending] > 0] = 0.0
        thresholds = np.maximum(floors[pending], cut.astype(np.float32))
        everything = pending.size == len(weights)
        candidates = Candidates(weights if everything else weights[pending], thresholds)
        reached = candidates.cumulative[:, -1] >= filters.top_p[pending] * totals[pending]
        sure = reached | (thresholds <= floors[pending])
        drawn = _draw_by_rank(candidates, draws[pending], filters.of(pending), totals[pending])
        tokens[pending[sure]] = drawn[sure]
        pending = pending[~sure]
        if not pending.size:
            break
    return tokens


def _draw_by_rank(
    candidates: Candidates, draws: DoubleArray, filters: RankFilters, totals: FloatArray
) -> IntArray:
    descending, cumulative = candidates.descending, candidates.cumulative
    rows = np.arange(len(draws))
    num_kept = (descending > 0).sum(axis=1)
    limited = filters.top_k > 0
    num_kept = np.where(limited, np.minimum(num_kept, filters.top_k), num_kept)
    mass = np.where(limited, cumulative[rows, num_kept - 1], totals)
    within = (cumulative < (filters.top_p * mass)[:, None]).sum(axis=1) + 1
    num_kept = np.where(filters.top_p < 1.0, np.minimum(num_kept, within), num_kept)
    likely = (descending >= (filters.min_p * descending[:, 0])[:, None]).sum(axis=1)
    num_kept = np.minimum(num_kept, likely)
    targets = _below(draws, cumulative[rows, num_kept - 1])
    return candidates.tokens_at((cumulative <= targets[:, None]).sum(axis=1))


def draw_typical(
    weights: FloatArray, draws: DoubleArray, filters: RankFilters, typical_p: DoubleArray
) -> IntArray:
    """As ``draw_filtered``, with ``typical_p`` [rows] applied after ``top_k``."""
    width = weights.shape[1]
    kept = np.zeros_like(weights)
    bounds = kth_largest_bounds(
        weights, np.where(filters.top_k > 0, filters.top_k, width).clip(1, width)
    )
    for row, bound in enumerate(bounds):
        ids = np.flatnonzero(weights[row] >= max(bound, _SMALLEST))
        if filters.top_k[row]:
            ids = np.sort(ids[np.argsort(-weights[row, ids], kind="stable")[: filters.top_k[row]]])
        ids = _typical(ids, weights[row, ids], typical_p[row])
        kept[row, ids] = weights[row, ids] / weights[row, ids].max()
    rest = RankFilters(np.zeros_like(filters.top_k), filters.top_p, filters.min_p)
    return draw_filtered(kept, draws, rest)


def _typical(ids: NDArray[np.intp], weights: FloatArray, typical_p: float) -> NDArray[np.intp]:
    """Those of ``ids`` whose surprise -log p is nearest the entropy H, until they make up the mass.

    Ties in |-log p - H| go to the lowest id; at least one token is kept.
    """
    probabilities = weights / weights.sum(dtype=np.float64)
    surprises = -np.log(probabilities)
    entropy = float((probabilities * surprises).sum())
    distances = np.abs(surprises - entropy).astype(np.float32)
    # Only the nearest need sorting. Tokens of at least (1 - typical_p) / n make up the mass, so
    # nothing farther away than the farthest of them can be kept.
    likely = probabilities >= (1.0 - typical_p) / len(ids)
    near = np.flatnonzero(distances <= distances[likely].max()) if likely.any() else None
    near = np.arange(len(ids)) if near is None else near
    order = near[np.argsort(distances[near], kind="stable")]
    cumulative = np.cumsum(probabilities[order])
    return ids[order[: int((cumulative < typical_p).sum()) + 1]]
