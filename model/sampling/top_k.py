"""Draws from the ``top_k`` likeliest tokens and what other filters leave of them.

The vocabulary is not sorted: entries as large as some lower bound of the k-th largest are picked,
and those are put in order. For many rows at once and for a single one there are two ways of the
same arithmetic, bit for bit, for NumPy's calls take longer than what they do with one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.sampling.draw import draw_ranked, most_typical
from model.sampling.falling import below_in_rows
from model.sampling.params import SamplingParams
from model.sampling.ranking import (
    IdArray,
    kth_largest_bound,
    ranked,
    ranked_in_rows,
)
from model.state import FloatArray

#: For no more rows than this, one at a time is faster than all at once.
_FEW_ROWS = 2


def draw_top_k(
    logits: FloatArray,
    maxima: FloatArray,
    inverse_temperatures: FloatArray,
    draws: Sequence[float],
    params: Sequence[SamplingParams],
) -> list[int]:
    """A token of each row, drawn from what ``top_k`` and all other filters leave.

    Args:
        logits: [rows, padded vocab] float32, -inf where padded or forbidden.
        maxima: [rows, NUM_GROUPS], from ``group_maxima``; the last of a row is its largest logit.
        inverse_temperatures: [rows], what differences of logits are multiplied by.
        draws: one per row, uniform in [0, 1).
        params: one per row, with ``top_k`` above 0.
    """
    bounds = [
        kth_largest_bound(row, of_row, p.top_k)
        for row, of_row, p in zip(logits, maxima, params, strict=True)
    ]
    largest = maxima[:, -1]
    if len(logits) > _FEW_ROWS and all(p.typical_p == 1.0 for p in params):
        candidates = _likeliest(logits, bounds, [p.top_k for p in params])
        rows = np.arange(len(logits))[:, None]
        scores = logits[rows, candidates.token_ids] - largest[:, None]
        scores *= inverse_temperatures[:, None]
        return _draw_in_rows(candidates, scores, draws, params)
    token_ids = []
    for row, p in enumerate(params):
        likeliest = _likeliest_of_row(logits[row], bounds[row], p.top_k)
        scores = (logits[row, likeliest] - largest[row]) * inverse_temperatures[row]
        token_ids.append(_draw(likeliest, scores, draws[row], p))
    return token_ids


class _Candidates(NamedTuple):
    """The likeliest tokens of several rows, in order."""

    token_ids: IdArray
    """[rows, most in a row]; behind a row's own, anything."""
    counts: IdArray
    """[rows], how many there are in each."""


def _likeliest_of_row(logits: FloatArray, bound: np.float32, top_k: int) -> IdArray:
    """The ``top_k`` likeliest tokens of a row, in order, all of whose logits are >= ``bound``."""
    token_ids = (logits >= bound).nonzero()[0]
    return ranked(token_ids, logits[token_ids])[:top_k]


def _likeliest(
    logits: FloatArray, bounds: Sequence[np.float32], top_k: Sequence[int]
) -> _Candidates:
    """``_likeliest_of_row`` in every row."""
    num_rows, width = logits.shape
    places = np.flatnonzero(logits >= np.array(bounds)[:, None])
    rows, token_ids = np.divmod(places, width)
    num_found = np.bincount(rows, minlength=num_rows)
    token_ids = ranked_in_rows(token_ids, logits.ravel()[places], rows, num_found)
    return _Candidates(token_ids[:, : max(top_k)], np.minimum(num_found, top_k))


def _draw(token_ids: IdArray, scores: FloatArray, draw: float, params: SamplingParams) -> int:
    """A token drawn from what the other filters leave of ``token_ids``, which are in order."""
    weights = np.exp(scores)
    if params.typical_p < 1.0:
        order = np.sort(most_typical(scores, weights, params.typical_p))
        token_ids, weights = token_ids[order], weights[order]
    return draw_ranked(token_ids, weights, draw, params)


def _draw_in_rows(
    candidates: _Candidates,
    scores: FloatArray,
    draws: Sequence[float],
    params: Sequence[SamplingParams],
) -> list[int]:
    """``_draw`` in every row, without ``typical_p``."""
    token_ids, num_kept = candidates
    weights = np.exp(scores)
    weights[np.arange(weights.shape[1]) >= num_kept[:, None]] = 0.0
    ends = weights.astype(np.float64).cumsum(axis=1)
    mass = ends[:, -1] * [p.top_p for p in params]
    num_kept = np.minimum(num_kept, (ends < mass[:, None]).sum(axis=1) + 1)
    if any(p.min_p > 0.0 for p in params):
        least = np.array([p.min_p for p in params], np.float32) * weights[:, 0]
        num_kept = np.minimum(num_kept, (weights >= least[:, None]).sum(axis=1))
    rows = np.arange(len(ends))
    targets = below_in_rows(np.array(draws), ends[rows, num_kept - 1])
    chosen: list[int] = token_ids[rows, (ends > targets[:, None]).argmax(axis=1)].tolist()
    return chosen
