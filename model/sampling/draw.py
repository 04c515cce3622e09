"""One draw from one row: with no filter, with filters by rank, with ``typical_p``.

The weight of a token is w = exp(s), where s = (logit - largest) / temperature is its *score*: the
largest weight is 1. The filters need the most likely tokens in order, but the vocabulary is never
sorted: a threshold known to lie below everything that can be kept picks a few candidates, and those
are sorted. Without filters nothing is sorted at all: the draw falls into one of the interleaved
groups, by their sums, and then on one of the group's tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.sampling.params import SamplingParams
from model.sampling.ranking import NUM_GROUPS, IdArray, kth_largest_bound, ranked
from model.state import FloatArray

#: A bold threshold to pick candidates by: tokens of at least this share of the probability to be
#: cut off. They mostly suffice, which is checked.
_BOLD_SHARE = 1 / 64

#: Where they do not, every so many-th weight tells about where the threshold lies.
_SAMPLE_STRIDE = 16

#: Weights below this (a share of 1e-38 of the largest) count as 0.
_SMALLEST = float(np.finfo(np.float32).tiny)
_SMALLEST_SCORE = math.log(_SMALLEST)


def draw_from_all(weights: FloatArray, sums: FloatArray, draw: float) -> int:
    """A token drawn in proportion to its weight.

    Args:
        weights: [padded vocab] float32, 0 where padded.
        sums: [NUM_GROUPS] float32, their sums over the interleaved groups.
        draw: uniform in [0, 1).
    """
    group, rest = _fall(sums, draw)
    place, _ = _fall(weights[group::NUM_GROUPS], rest)
    return place * NUM_GROUPS + group


def draw_nucleus(weights: FloatArray, sums: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what ``top_p`` and ``min_p`` leave; arguments as ``draw_from_all``."""
    total = float(sums.sum())
    mass = params.top_p * total
    least = max(params.min_p, _SMALLEST)
    for threshold in _floors(weights, (1.0 - params.top_p) * total):
        floor = max(threshold, least)
        token_ids = (weights >= np.float32(floor)).nonzero()[0]
        kept = weights[token_ids]
        ascending = np.sort(kept)
        cumulative = _running_sums(ascending[::-1])
        if floor == least or float(cumulative[-1]) >= mass:
            place = _place_in_nucleus(ascending[::-1], cumulative, draw, params, mass)
            break
        if params.min_p == 0.0:
            place = _place_before_the_cut(cumulative, draw, mass, floor)
            if place < len(kept):
                break
    weight = ascending[len(kept) - 1 - place]
    earlier_ties = place - (len(kept) - int(ascending.searchsorted(weight, "right")))
    return int(token_ids[(kept == weight).nonzero()[0][earlier_ties]])


def draw_likely(scores: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what ``min_p`` leaves.

    Args:
        scores: [padded vocab] float32, -inf where padded.
        draw: uniform in [0, 1).
        params: with ``min_p`` above 0.
    """
    # A little lower than exact; the weights themselves decide.
    floor = math.log(params.min_p) - 1e-3 if params.min_p > _SMALLEST else _SMALLEST_SCORE
    token_ids = (scores >= np.float32(floor)).nonzero()[0]
    weights = np.exp(scores[token_ids])
    weights[weights < params.min_p] = 0.0
    place, _ = _fall(weights, draw)
    return int(token_ids[place])


def draw_top_k(scores: FloatArray, maxima: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what ``top_k`` and all other filters leave.

    Args:
        scores: [padded vocab] float32, -inf where padded.
        maxima: [NUM_GROUPS] float32, the maxima of their interleaved groups, ascending.
        draw: uniform in [0, 1).
        params: with ``top_k`` above 0.
    """
    bound = kth_largest_bound(scores, maxima, params.top_k)
    token_ids = (scores >= bound).nonzero()[0]
    token_ids = ranked(token_ids, scores[token_ids])[: params.top_k]
    kept = scores[token_ids]
    weights = np.exp(kept)
    if params.typical_p < 1.0:
        order = np.sort(_typical(kept, weights, params.typical_p))
        token_ids, weights = token_ids[order], weights[order]
    mass = params.top_p * float(weights.sum(dtype=np.float64))
    return _draw_ranked(token_ids, weights, draw, params, mass)


def draw_typical(
    scores: FloatArray, weights: FloatArray, draw: float, params: SamplingParams
) -> int:
    """A token drawn from what ``typical_p``, then ``top_p`` and ``min_p`` leave.

    Args:
        scores: [padded vocab] float32, -inf where padded.
        weights: [padded vocab] float32, 0 where padded.
        draw: uniform in [0, 1).
        params: with ``typical_p`` below 1 and no ``top_k``.
    """
    token_ids = _typical(scores, weights, params.typical_p)
    token_ids = ranked(token_ids, scores[token_ids])
    kept = weights[token_ids]
    mass = params.top_p * float(kept.sum(dtype=np.float64))
    return _draw_ranked(token_ids, kept, draw, params, mass)


def _floors(weights: FloatArray, cut_off: float) -> Iterator[float]:
    """Thresholds to try, falling. ``cut_off`` is the weight that ``top_p`` leaves out."""
    yield min(cut_off * _BOLD_SHARE, 1.0)
    # About the weight below which all weights together make up nine tenths of what is cut off.
    sample = np.sort(weights[::_SAMPLE_STRIDE])
    place = int(sample.cumsum().searchsorted(0.9 * cut_off / _SAMPLE_STRIDE))
    yield float(sample[min(place, len(sample) - 1)])
    # Tokens below this, fewer than there are, do not even make up together what is cut off.
    yield min(cut_off / len(weights), 1.0)
    yield 0.0


def _place_before_the_cut(
    cumulative: NDArray[np.float64], draw: float, mass: float, floor: float
) -> int:
    """Where the draw falls among the largest weights, if that is sure before the cut is known.

    What is left weighs at least ``mass``, and less than that and the weight at the cut together,
    which is below ``floor``. Mostly the draw falls on the same place for both.

    Returns:
        The place; or, if it is not sure, the number of weights.
    """
    lowest, highest = cumulative.searchsorted((draw * mass, draw * (mass + floor)), "right")
    return int(lowest) if lowest == highest else len(cumulative)


def _typical(scores: FloatArray, weights: FloatArray, typical_p: float) -> IdArray:
    """Places of the tokens whose surprise is nearest the entropy, until they make up the mass.

    With p = w / sum(w), the surprise -log p of a token is as far from the entropy as its score is
    from the mean score. Ties go to the lowest place; at least one is kept.
    """
    scores = np.maximum(scores, np.float32(_SMALLEST_SCORE))  # 0 * -inf is no number
    total = float(weights.sum())
    mean = float((weights * scores).sum()) / total
    distances = np.abs(scores - np.float32(mean))
    mass = typical_p * total
    near: IdArray
    for share in (_BOLD_SHARE, 1 / 1024, 1 / len(weights)):
        # Wherever scores from here up to the largest, 0, lie, they are within reach of the mean.
        lowest = math.log(max((1.0 - typical_p) * total * share, _SMALLEST))
        reach = max(-mean, mean - lowest)
        near = (distances <= np.float32(reach)).nonzero()[0]
        if float(weights[near].sum()) >= mass:
            break
    near = ranked(near, -distances[near])
    cumulative = _running_sums(weights[near])
    return near[: int(cumulative.searchsorted(mass)) + 1]


def _draw_ranked(
    token_ids: IdArray, weights: FloatArray, draw: float, params: SamplingParams, mass: float
) -> int:
    """A token drawn from what ``top_p`` and ``min_p`` leave of tokens in descending order.

    Args:
        token_ids: [n], the candidates.
        weights: [n], theirs.
        draw: uniform in [0, 1).
        params: how far to go.
        mass: the weight at which ``top_p`` stops.
    """
    cumulative = _running_sums(weights)
    return int(token_ids[_place_in_nucleus(weights, cumulative, draw, params, mass)])


def _place_in_nucleus(
    weights: FloatArray,
    cumulative: NDArray[np.float64],
    draw: float,
    params: SamplingParams,
    mass: float,
) -> int:
    """Which of ``weights``, descending, is drawn from what ``top_p`` and ``min_p`` leave."""
    num_kept = len(weights)
    if params.top_p < 1.0:
        num_kept = min(num_kept, int(cumulative.searchsorted(mass)) + 1)
    if params.min_p > 0.0:
        likely = weights >= np.float32(params.min_p) * weights[0]
        num_kept = min(num_kept, int(np.count_nonzero(likely)))
    target = _below(draw, float(cumulative[num_kept - 1]))
    return int(cumulative.searchsorted(target, "right"))


def _fall(weights: FloatArray, draw: float) -> tuple[int, float]:
    """The place that the draw falls on, and how far into it, again in [0, 1]."""
    cumulative = _running_sums(weights)
    target = _below(draw, float(cumulative[-1]))
    place = int(cumulative.searchsorted(target, "right"))
    return place, 1.0 - (float(cumulative[place]) - target) / float(weights[place])


def _running_sums(weights: FloatArray) -> NDArray[np.float64]:
    # In float64; faster than asking cumsum for it.
    sums: NDArray[np.float64] = weights.astype(np.float64).cumsum()
    return sums


def _below(draw: float, total: float) -> float:
    """``draw * total``, kept below ``total`` where it would be rounded up to it."""
    return min(draw * total, math.nextafter(total, 0.0))
