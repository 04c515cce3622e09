"""From logits to tokens, a batch at a time: ``SamplingPlan``, ``sample_batch``, ``sample``.

Passes over the whole vocabulary run on all rows together; what is left of a row after them is drawn
from alone (``model.sampling.draw``). Every operation is either elementwise or runs along one row in
an order fixed by the vocabulary's size, so a row gives the same token, bit for bit, whatever else
is in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.sampling.draw import (
    draw_from_all,
    draw_likely,
    draw_nucleus,
    draw_top_k,
    draw_typical,
)
from model.sampling.logit_edits import RowEdits, TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.random_numbers import stream_keys, uniform, uniforms
from model.sampling.ranking import NUM_GROUPS, group_maxima, group_sums
from model.state import FloatArray, IntArray

#: Returned for a row whose logits are not finite numbers.
NO_TOKEN = -1

#: For no more rows than this, plain integers are faster than arrays.
_FEW_ROWS = 8

_NOTHING: Mapping[int, Sequence[int]] = {}
_NO_COUNTS: Mapping[int, TokenCounts] = {}


class SamplingPlan:
    """How each row of a batch is sampled, prepared once for many steps. For one thread.

    Args:
        params: one per row.
        never: tokens never to be sampled, such as the unknown token; there must be others.
    """

    def __init__(self, params: Sequence[SamplingParams], never: Sequence[int] = ()) -> None:
        self._params = tuple(params)
        self._never = list(never)
        self._rows = np.arange(len(params))
        self._keys = [stream_keys(p.seed, p.candidate) for p in params]
        self._key_columns = np.array(self._keys, np.uint64).T
        temperatures = np.array([p.temperature or 1.0 for p in params])
        # The inverse of a temperature next to 0 must stay finite: 0 * inf is no number.
        self._inverse = np.minimum(1.0 / np.maximum(temperatures, 1e-30), 1e30).astype(np.float32)
        self._scaled = bool((self._inverse != 1.0).any())
        self._edits = {
            row: RowEdits(p, never)
            for row, p in enumerate(params)
            if p.logit_bias or p.has_penalties
        }
        drawn = [row for row, p in enumerate(params) if not p.is_greedy]
        self._all_greedy = not drawn
        self._ranked_rows = [row for row in drawn if params[row].top_k > 0]
        self._likely_rows = [row for row in drawn if _needs_only_the_likeliest(params[row])]
        self._typical_rows = [
            row for row in drawn if params[row].typical_p < 1.0 and not params[row].top_k
        ]
        others = {*self._ranked_rows, *self._likely_rows, *self._typical_rows}
        #: Rows that need the weight of every token, be it for the sum of them all.
        self._weighted_rows = [row for row in drawn if row not in others]
        # Kept from step to step: to get fresh memory of this size costs more than to fill it.
        self._values: FloatArray = np.empty((0, 0), np.float32)

    def sample(
        self,
        logits: FloatArray,
        positions: NDArray[np.int64],
        counts: Mapping[int, TokenCounts] = _NO_COUNTS,
        banned: Mapping[int, Sequence[int]] = _NOTHING,
    ) -> IntArray:
        """Draws one token per row.

        Args:
            logits: [batch, vocab] float32; not changed.
            positions: [batch], how many tokens each row's sequence has drawn before.
            counts: by row, what occurred so far; for rows with penalties.
            banned: by row, tokens not to be sampled this time.

        Returns:
            [batch] int32; ``NO_TOKEN`` for a row whose logits are not finite numbers.
        """
        tokens: IntArray
        if self._all_greedy and not self._edits and not banned:
            tokens = logits.argmax(axis=1).astype(np.int32)
            if not any((tokens == token_id).any() for token_id in self._never):
                tokens[~np.isfinite(logits[self._rows, tokens])] = NO_TOKEN
                return tokens
        values = self._edited(logits, counts, banned)
        tokens = values.argmax(axis=1).astype(np.int32)
        largest = values[self._rows, tokens]
        finite = np.isfinite(largest)
        all_finite = bool(finite.all())
        if not all_finite:
            values[~finite] = largest[~finite] = 0.0
        if not self._all_greedy:
            values -= largest[:, None]
            if self._scaled:
                values *= self._inverse[:, None]
            self._draw(values, self._uniforms(positions), tokens)
        if not all_finite:
            tokens[~finite] = NO_TOKEN
        return tokens

    def _edited(
        self,
        logits: FloatArray,
        counts: Mapping[int, TokenCounts],
        banned: Mapping[int, Sequence[int]],
    ) -> FloatArray:
        """A copy of the logits with bias, penalties and bans: [batch, padded vocab]."""
        num_rows, vocab_size = logits.shape
        width = -(-vocab_size // NUM_GROUPS) * NUM_GROUPS
        if self._values.shape != (num_rows, width):
            self._values = np.empty((num_rows, width), np.float32)
        values = self._values
        values[:, :vocab_size] = logits
        if width > vocab_size:
            values[:, vocab_size:] = -np.inf
        for token_id in self._never:
            values[:, token_id] = -np.inf
        for row in self._edits.keys() | banned.keys():
            edits = self._edits.get(row) or RowEdits(self._params[row], self._never)
            values[row, :vocab_size] = logits[row]
            edits.apply(values[row, :vocab_size], counts.get(row), banned.get(row, ()))
        return values

    def _uniforms(self, positions: NDArray[np.int64]) -> list[float]:
        if len(positions) > _FEW_ROWS:
            numbers: list[float] = uniforms(self._key_columns, positions.astype(np.uint64)).tolist()
            return numbers
        return [
            uniform(keys, position)
            for keys, position in zip(self._keys, positions.tolist(), strict=True)
        ]

    def _draw(self, scores: FloatArray, draws: Sequence[float], tokens: IntArray) -> None:
        """Replaces the tokens of the rows that are not greedy."""
        params = self._params
        for row in self._likely_rows:
            tokens[row] = draw_likely(scores[row], draws[row], params[row])
        if self._ranked_rows:
            maxima = group_maxima(_part(scores, self._ranked_rows))
            for row, row_maxima in zip(self._ranked_rows, maxima, strict=True):
                tokens[row] = draw_top_k(scores[row], row_maxima, draws[row], params[row])
        for row in self._typical_rows:
            weights = np.exp(scores[row])
            tokens[row] = draw_typical(scores[row], weights, draws[row], params[row])
        if self._weighted_rows:
            self._draw_weighed(_part(scores, self._weighted_rows), draws, tokens)

    def _draw_weighed(self, scores: FloatArray, draws: Sequence[float], tokens: IntArray) -> None:
        """Draws for the rows that need every token's weight; ``scores`` are theirs, and used up."""
        weights = np.exp(scores, out=scores)
        sums = group_sums(weights)
        for place, row in enumerate(self._weighted_rows):
            params, draw = self._params[row], draws[row]
            if params.top_p < 1.0:
                tokens[row] = draw_nucleus(weights[place], sums[place], draw, params)
            else:
                tokens[row] = draw_from_all(weights[place], sums[place], draw)


def _needs_only_the_likeliest(params: SamplingParams) -> bool:
    """Whether ``min_p`` alone picks the tokens, so that the others' weights do not matter."""
    return params.min_p > 0.0 and params.top_p == params.typical_p == 1.0 and not params.top_k


def _part(values: FloatArray, rows: list[int]) -> FloatArray:
    """Some rows of ``values``, without copying if they are all."""
    return values if len(rows) == len(values) else values[rows]


def sample_batch(
    logits: FloatArray,
    params: Sequence[SamplingParams],
    positions: Sequence[int],
    *,
    counts: Mapping[int, TokenCounts] = _NO_COUNTS,
    banned: Mapping[int, Sequence[int]] = _NOTHING,
    never: Sequence[int] = (),
) -> IntArray:
    """One token per row of ``logits`` [batch, vocab]; see ``SamplingPlan`` and its ``sample``."""
    plan = SamplingPlan(params, never)
    return plan.sample(logits, np.asarray(positions, np.int64), counts, banned)


def sample(
    logits: FloatArray,
    params: SamplingParams,
    position: int,
    *,
    counts: TokenCounts | None = None,
    banned: Sequence[int] = (),
    never: Sequence[int] = (),
) -> int:
    """One token from one row of ``logits`` [vocab]; as in a batch, bit for bit."""
    row_counts = {0: counts} if counts is not None else _NO_COUNTS
    row_banned = {0: banned} if banned else _NOTHING
    tokens = sample_batch(
        logits[None], [params], [position], counts=row_counts, banned=row_banned, never=never
    )
    return int(tokens[0])
