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
_FEW_ROWS = 3

#: Just below 1: keeps what was rounded up within its group.
_BELOW_ONE = 1.0 - 2.0**-53


def fall_from_all(weights: FloatArray, draws: Sequence[float], ends: DoubleArray) -> list[int]:
    """A token of each row, drawn in proportion to its weight.

    Args:
        weights: [rows, padded vocab] float32, 0 where padded.
        draws: one per row, uniform in [0, 1).
        ends: [rows, NUM_GROUPS], from ``ends_of_groups``.
    """
    if len(weights) <= _FEW_ROWS:
        return [fall(*row) for row in zip(weights, draws, ends, strict=True)]
    targets = below_in_rows(np.array(draws), ends[:, -1])
    token_ids: list[int] = _fall_in_rows(weights, ends, targets).tolist()
    return token_ids


def ends_of_groups(weights: FloatArray) -> DoubleArray:
    """Where each group ends: [rows, padded vocab] -> [rows, NUM_GROUPS]; the last is the total."""
    ends: DoubleArray = group_sums(weights).astype(np.float64).cumsum(axis=-1)
    return ends


def fall(weights: FloatArray, draw: float, ends: DoubleArray) -> int:
    """``fall_from_all`` for one row: [padded vocab], a number, [NUM_GROUPS]."""
    target = below(draw, float(ends[-1]))
    group = int(ends.searchsorted(target, "right"))
    start = float(ends[group - 1]) if group else 0.0
    length = float(ends[group]) - start
    inner = weights[group::NUM_GROUPS].astype(np.float64).cumsum()
    total = float(inner[-1])
    rest = min((target - start) * (total / length), total * _BELOW_ONE)
    return int(inner.searchsorted(rest, "right")) * NUM_GROUPS + group


def _fall_in_rows(weights: FloatArray, ends: DoubleArray, targets: DoubleArray) -> IdArray:
    """``fall`` in every row: [rows, padded vocab], [rows, NUM_GROUPS], [rows] -> [rows]."""
    num_rows = len(weights)
    rows = np.arange(num_rows)
    groups = (ends > targets[:, None]).argmax(axis=1)
    starts = np.where(groups > 0, ends[rows, groups - 1], 0.0)
    lengths = ends[rows, groups] - starts
    members = weights.reshape(num_rows, -1, NUM_GROUPS)[rows, :, groups]
    inner = members.astype(np.float64).cumsum(axis=1)
    totals = inner[:, -1]
    rest = np.minimum((targets - starts) * (totals / lengths), totals * _BELOW_ONE)
    token_ids: IdArray = (inner > rest[:, None]).argmax(axis=1) * NUM_GROUPS + groups
    return token_ids


def below(draw: float, total: float) -> float:
    """``draw * total``, kept below ``total`` where it would be rounded up to it."""
    return min(draw * total, total * _BELOW_ONE)


def below_in_rows(draws: DoubleArray, totals: DoubleArray) -> DoubleArray:
    """``below`` in every row."""
    targets: DoubleArray = np.minimum(draws * totals, totals * _BELOW_ONE)
    return targets
