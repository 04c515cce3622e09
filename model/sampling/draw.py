"""One draw from one row with filters that leave few tokens or ask for their order.

The weight of a token is w = exp(s), where s = (logit - largest) / temperature is its *score*: the
largest weight is 1. The vocabulary is never sorted: a threshold known to lie below everything that
can be kept picks a few candidates, and those are sorted.
"""

from __future__ import annotations

import math

import numpy as np

from model.sampling.falling import DoubleArray, below
from model.sampling.params import SamplingParams
from model.sampling.ranking import IdArray, ranked
from model.state import FloatArray

#: A bold threshold to pick candidates by: tokens of at least this share of the probability to be
#: cut off. They mostly suffice, which is checked.
_BOLD_SHARE = 1 / 64

#: Weights below this (a share of 1e-38 of the largest) count as 0.
_SMALLEST = float(np.finfo(np.float32).tiny)
_SMALLEST_SCORE = math.log(_SMALLEST)


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
    cumulative = _running_sums(weights)
    target = below(draw, float(cumulative[-1]))
    return int(token_ids[int(cumulative.searchsorted(target, "right"))])


def draw_typical(scores: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what ``typical_p``, then ``top_p`` and ``min_p`` leave.

    Args:
        scores: [padded vocab] float32, -inf where padded.
        draw: uniform in [0, 1).
        params: with ``typical_p`` below 1 and no ``top_k``.
    """
    weights = np.exp(scores)
    token_ids = most_typical(scores, weights, params.typical_p)
    token_ids = ranked(token_ids, scores[token_ids])
    return draw_ranked(token_ids, weights[token_ids], draw, params)


def draw_ranked_nucleus(weights: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what ``top_p``, then ``min_p`` leave.

    Args:
        weights: [padded vocab] float32, 0 where padded; the largest 1 if there is a ``min_p``.
        draw: uniform in [0, 1).
        params: with ``top_p`` below 1.
    """
    total = float(weights.sum())
    mass = params.top_p * total
    # All tokens below such a weight together weigh less than what is cut off.
    never_kept = (total - mass) / len(weights) * (1.0 - 1e-3)
    floor = np.float32(max(params.min_p, never_kept, _SMALLEST))
    token_ids = (weights >= floor).nonzero()[0]
    token_ids = ranked(token_ids, weights[token_ids])
    return draw_ranked(token_ids, weights[token_ids], draw, params, mass)


def most_typical(scores: FloatArray, weights: FloatArray, typical_p: float) -> IdArray:
    """Places of the tokens whose surprise is nearest the entropy, until they make up the mass.

    Locally typical sampling (Meister et al. 2023). With p = w / sum(w), the surprise -log p of a
    token is as far from the entropy as its score is from the mean score. Ties go to the lowest
    place; at least one is kept.
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


def draw_ranked(
    token_ids: IdArray,
    weights: FloatArray,
    draw: float,
    params: SamplingParams,
    mass: float | None = None,
) -> int:
    """A token drawn from what ``top_p`` and ``min_p`` leave of tokens in descending order.

    Args:
        token_ids: [n], the candidates.
        weights: [n], theirs.
        draw: uniform in [0, 1).
        params: how far to go.
        mass: the weight at which ``top_p`` stops, where it is not that share of ``weights``.
    """
    ends = _running_sums(weights)
    num_kept = len(weights)
    if params.top_p < 1.0:
        mass = params.top_p * float(ends[-1]) if mass is None else mass
        num_kept = min(num_kept, int(ends.searchsorted(mass)) + 1)
    if params.min_p > 0.0:
        likely = weights >= np.float32(params.min_p) * weights[0]
        num_kept = min(num_kept, int(np.count_nonzero(likely)))
    target = below(draw, float(ends[num_kept - 1]))
    return int(token_ids[ends.searchsorted(target, "right")])


def _running_sums(weights: FloatArray) -> DoubleArray:
    # In float64; faster than asking cumsum for it.
    sums: DoubleArray = weights.astype(np.float64).cumsum()
    return sums
