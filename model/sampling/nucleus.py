"""Draws from the nucleus (``top_p``) without sorting a row, and mostly without knowing the cut.

The nucleus holds the most likely tokens until their weights reach ``mass``; the least of them is at
the *cut*. A few of a row's weights, sorted, tell about where it lies: between ``low`` and ``high``.
Tokens from ``high`` up are certain to be in the nucleus if together they weigh no more than
``mass``, and they come first when its weights are laid end to end, in the order of ``falling``; the
others follow, the heaviest first. What the whole nucleus weighs is known to within the weight at
the cut, so mostly it is certain which of the certain tokens the draw falls on. Where it is not, the
tokens from ``low`` to ``high`` are sorted.

As in ``falling``, there are two ways of the same arithmetic, for a single row and for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.sampling.falling import FEW_ROWS, DoubleArray, below, ends_of, fall, fall_in_rows
from model.sampling.ranking import NUM_GROUPS, IdArray, group_sums
from model.state import FloatArray

#: Every so many-th weight is looked at to guess the cut.
_STRIDE = 32
#: Tokens below ``high`` weigh about so many times what is cut off; tokens below ``low``, so many.
_HIGH, _LOW = np.float32(1.3), np.float32(0.7)
#: A ``high`` that no token reaches.
_NONE = np.float32(np.finfo(np.float32).max)
#: Where too few tokens are found above ``low``, these shares of what is cut off take its place.
_LOWER = (1 / 64, 1 / 4096, 0.0)


def draw_nuclei(
    weights: FloatArray, top_p: DoubleArray, draws: Sequence[float], certain: FloatArray
) -> list[int]:
    """A token of each row, drawn from what ``top_p`` leaves.

    Args:
        weights: [rows, padded vocab] float32, 0 where padded, the largest 1.
        top_p: [rows], below 1.
        draws: one per row, uniform in [0, 1).
        certain: memory of the shape of ``weights``, overwritten.
    """
    if len(weights) <= FEW_ROWS:
        rows = zip(weights, top_p.tolist(), draws, certain, strict=True)
        return [_draw_nucleus(*row) for row in rows]
    totals = weights.sum(axis=1).astype(np.float64)
    masses = top_p * totals
    highs = _thresholds(weights, (_HIGH * (totals - masses).astype(np.float32)))
    np.multiply(weights, weights >= highs[:, None], out=certain)
    ends = ends_of(group_sums(certain))
    targets = np.array(draws) * masses
    ids, parts_end = fall_in_rows(certain, ends, targets)
    sure = np.array(draws) * (masses + highs) < np.minimum(parts_end, ends[:, -1])
    sure &= ends[:, -1] <= masses
    token_ids: list[int] = ids.tolist()
    for row in (~sure).nonzero()[0].tolist():
        head = _Head(certain[row], ends[row], highs[row])
        cut = _Cut(float(totals[row]), float(masses[row]))
        token_ids[row] = _draw_exactly(weights[row], draws[row], cut, head)
    return token_ids


class _Cut(NamedTuple):
    """What a row weighs in all, and the weight that its nucleus reaches."""

    total: float
    mass: float


class _Head(NamedTuple):
    """The tokens of a row from ``high`` up, and where their groups end."""

    weights: FloatArray
    ends: DoubleArray
    high: np.float32


def _draw_nucleus(weights: FloatArray, top_p: float, draw: float, certain: FloatArray) -> int:
    """``draw_nuclei`` for one row."""
    total = float(weights.sum())
    mass = top_p * total
    high = _threshold(weights, _HIGH * np.float32(total - mass))
    np.multiply(weights, weights >= high, out=certain)
    ends = ends_of(certain.reshape(-1, NUM_GROUPS).sum(axis=0))
    head_mass = float(ends[-1])
    if head_mass <= mass:
        token_id, part_end = fall(certain, ends, draw * mass)
        if draw * (mass + float(high)) < min(part_end, head_mass):
            return token_id
    return _draw_exactly(weights, draw, _Cut(total, mass), _Head(certain, ends, high))


def _threshold(weights: FloatArray, mass: np.float32) -> np.float32:
    """A number below which the weights of one row make up about ``mass``."""
    sample = np.sort(weights[::_STRIDE])
    place = int(sample.cumsum().searchsorted(mass / _STRIDE))
    return sample[place] if place < len(sample) else _NONE


def _thresholds(weights: FloatArray, masses: FloatArray) -> FloatArray:
    """``_threshold`` of every row: [rows, padded vocab], [rows] -> [rows]."""
    samples = weights[:, ::_STRIDE].copy()
    samples.sort(axis=1)
    places = (samples.cumsum(axis=1) < (masses / _STRIDE)[:, None]).sum(axis=1)
    last = samples.shape[1] - 1
    found: FloatArray = samples[np.arange(len(weights)), np.minimum(places, last)]
    found[places > last] = _NONE
    return found


def _draw_exactly(weights: FloatArray, draw: float, cut: _Cut, head: _Head) -> int:
    """A token of one row where the cut has to be known: ``head`` is laid out first, if certain."""
    head_mass, high = float(head.ends[-1]), head.high
    if head_mass > cut.mass:
        head_mass, high = 0.0, _NONE
    token_ids, kept, ends = _rest(weights, cut, head_mass, high)
    ends = ends[: int(ends.searchsorted(cut.mass)) + 1]
    target = below(draw, float(ends[-1]) if len(ends) else head_mass)
    if target < head_mass:
        return fall(head.weights, head.ends, target)[0]
    return nth_heaviest(token_ids, kept, int(ends.searchsorted(target, "right")))


def _rest(
    weights: FloatArray, cut: _Cut, head_mass: float, high: np.float32
) -> tuple[IdArray, FloatArray, DoubleArray]:
    """Tokens below ``high`` as far down as is needed to reach the cut.

    Returns:
        Their ids, ascending; their weights; and where each ends, the heaviest first, behind what
        weighs ``head_mass``.
    """
    cut_off = cut.total - cut.mass
    low = float(_threshold(weights, _LOW * np.float32(cut_off)))
    for floor in (low, *(min(1.0, share * cut_off) for share in _LOWER)):
        token_ids = ((weights >= np.float32(floor)) & (weights < high)).nonzero()[0]
        kept = weights[token_ids]
        ends: DoubleArray = np.sort(kept)[::-1].astype(np.float64).cumsum()
        ends += head_mass
        if len(kept) and ends[-1] >= cut.mass:
            break
    return token_ids, kept, ends


def nth_heaviest(token_ids: IdArray, weights: FloatArray, place: int) -> int:
    """The token at ``place`` in descending order of ``weights``, ties to the lowest id.

    Args:
        token_ids: [n], ascending.
        weights: [n], theirs.
        place: from 0 to below n.
    """
    ascending = np.sort(weights)
    weight = ascending[len(weights) - 1 - place]
    earlier_ties = place - (len(weights) - int(ascending.searchsorted(weight, "right")))
    return int(token_ids[(weights == weight).nonzero()[0][earlier_ties]])
