"""Where a draw falls when weights are laid end to end: on one of the groups, then on a member.

The weights of a row lie group after group, interleaved groups as in ``model.sampling.ranking``, so
that only the sums of the groups and the members of one group are added up, not the whole row. For
many rows at once and for a single one there are two ways of the same arithmetic, bit for bit: NumPy
takes 20 us for calls that one row does not fill.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.sampling.ranking import NUM_GROUPS, IdArray, group_sums
from model.state import FloatArray

DoubleArray = NDArray[np.float64]

#: For no more rows than this, one at a time is faster than all at once.
FEW_ROWS = 3

#: Stands for a sum of nothing, so that nothing is divided by 0.
_TINY = 1e-300
#: Just below 1: keeps what was rounded up within its group.
_BELOW_ONE = 1.0 - 2.0**-53


def draw_from_all(weights: FloatArray, draws: Sequence[float]) -> list[int]:
    """A token of each row, drawn in proportion to its weight.

    Args:
        weights: [rows, padded vocab] float32, 0 where padded.
        draws: one per row, uniform in [0, 1).
    """
    ends = ends_of(group_sums(weights))
    if len(weights) <= FEW_ROWS:
        rows = zip(weights, ends, draws, strict=True)
        return [fall(row, own, below(draw, float(own[-1])))[0] for row, own, draw in rows]
    totals = ends[:, -1]
    targets = np.minimum(np.array(draws) * totals, totals * _BELOW_ONE)
    token_ids: list[int] = fall_in_rows(weights, ends, targets)[0].tolist()
    return token_ids


def ends_of(sums: FloatArray) -> DoubleArray:
    """Where each group ends when they are laid end to end: [..., NUM_GROUPS], from their sums."""
    ends: DoubleArray = sums.astype(np.float64).cumsum(axis=-1)
    return ends


def fall(weights: FloatArray, ends: DoubleArray, target: float) -> tuple[int, float]:
    """The token that ``target`` falls on in one row, and where that token's part ends.

    Args:
        weights: [padded vocab] float32, not negative.
        ends: [NUM_GROUPS], of its groups.
        target: from 0 to below the last of ``ends``; of one beyond it nothing can be said.
    """
    group = int(ends.searchsorted(target, "right"))
    if group == NUM_GROUPS:
        return 0, 0.0
    start = float(ends[group - 1]) if group else 0.0
    length = max(float(ends[group]) - start, _TINY)
    inner = weights[group::NUM_GROUPS].astype(np.float64).cumsum()
    total = max(float(inner[-1]), _TINY)
    rest = min((target - start) * (total / length), total * _BELOW_ONE)
    place = int(inner.searchsorted(rest, "right"))
    return place * NUM_GROUPS + group, start + float(inner[place]) * (length / total)


def fall_in_rows(
    weights: FloatArray, ends: DoubleArray, targets: DoubleArray
) -> tuple[IdArray, DoubleArray]:
    """``fall`` in every row: [rows, padded vocab], [rows, NUM_GROUPS], [rows] -> two of [rows]."""
    num_rows = len(weights)
    rows = np.arange(num_rows)
    groups = (ends > targets[:, None]).argmax(axis=1)
    starts = np.where(groups > 0, ends[rows, groups - 1], 0.0)
    lengths = np.maximum(ends[rows, groups] - starts, _TINY)
    members = weights.reshape(num_rows, -1, NUM_GROUPS)[rows, :, groups]
    inner = members.astype(np.float64).cumsum(axis=1)
    totals = np.maximum(inner[:, -1], _TINY)
    rest = np.minimum((targets - starts) * (totals / lengths), totals * _BELOW_ONE)
    places = (inner > rest[:, None]).argmax(axis=1)
    return places * NUM_GROUPS + groups, starts + inner[rows, places] * (lengths / totals)


def below(draw: float, total: float) -> float:
    """``draw * total``, kept below ``total`` where it would be rounded up to it."""
    return min(draw * total, total * _BELOW_ONE)
