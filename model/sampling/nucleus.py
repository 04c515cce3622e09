"""Draws from the nucleus (``top_p``) without looking for its end: rejection sampling.

A token is drawn from the whole vocabulary and taken if it is in the nucleus, else another is drawn:
what comes out is distributed as the nucleus is (von Neumann 1951). Whether a token is in it takes
one look over the row: it is, if what is likelier weighs less than ``top_p`` of everything. With
``top_p`` 0.95 one draw in twenty, at most, is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.sampling.draw import draw_ranked_nucleus
from model.sampling.falling import DoubleArray, fall, fall_from_all
from model.sampling.params import SamplingParams
from model.sampling.random_numbers import next_uniform
from model.state import FloatArray

#: Whoever has been rejected so often has a small nucleus, whose tokens can as well be put in order.
_MAX_REJECTED = 3


def draw_nuclei(
    weights: FloatArray,
    draws: Sequence[float],
    ends: DoubleArray,
    params: Sequence[SamplingParams],
) -> list[int]:
    """A token of each row, drawn from what ``top_p`` leaves.

    Args:
        weights: [rows, padded vocab] float32, 0 where padded.
        draws: one per row, uniform in [0, 1).
        ends: [rows, NUM_GROUPS], from ``ends_of_groups``.
        params: one per row, with ``top_p`` below 1.
    """
    token_ids = fall_from_all(weights, draws, ends)
    totals: list[float] = ends[:, -1].tolist()
    for row, token_id in enumerate(token_ids):
        if not _is_in_nucleus(weights[row], token_id, totals[row], params[row].top_p):
            token_ids[row] = _draw_again(weights[row], draws[row], ends[row], params[row])
    return token_ids


def _draw_again(weights: FloatArray, draw: float, ends: DoubleArray, params: SamplingParams) -> int:
    """A token of one row whose first, drawn with ``draw``, was rejected."""
    for _ in range(_MAX_REJECTED - 1):
        draw = next_uniform(draw)
        token_id = fall(weights, draw, ends)
        if _is_in_nucleus(weights, token_id, float(ends[-1]), params.top_p):
            return token_id
    return draw_ranked_nucleus(weights, next_uniform(draw), params)


def _is_in_nucleus(weights: FloatArray, token_id: int, total: float, top_p: float) -> bool:
    """Whether what is likelier than ``token_id`` weighs less than ``top_p`` of ``total``.

    Of tokens of the same weight the lowest id counts as the likeliest; the likeliest of all is
    always in.
    """
    weight = weights[token_id]
    # It is in, too, if what is less likely weighs more than what is cut off: some of it will do.
    cut_off = (1.0 - top_p) * total
    if float(weight) > cut_off:
        return True
    some = weights[: len(weights) // 4]
    clipped = float(np.minimum(some, weight).sum())
    if clipped > cut_off:
        num_above = int(np.count_nonzero(some >= weight))
        if clipped - float(weight) * num_above > cut_off:
            return True
    # All that is likelier, as what it has above ``weight`` and ``weight`` for each: adding up the
    # clipped weights is twice as fast as picking some of them, and no less exact.
    above = total - float(np.minimum(weights, weight).sum())
    rank = int(np.count_nonzero(weights > weight))
    rank += int(np.count_nonzero(weights[:token_id] == weight))
    return rank == 0 or above + float(weight) * rank < top_p * total
