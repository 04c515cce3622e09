"""From logits to tokens, a batch at a time: ``SamplingPlan``, ``sample_batch``, ``sample``.

Every operation is either elementwise or runs along one row in an order fixed by the vocabulary's
size, so a row gives the same token, bit for bit, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.sampling.candidates import NUM_GROUPS
from model.sampling.draw import RankFilters, draw_filtered, draw_from_all, draw_typical
from model.sampling.logit_edits import RowEdits, TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.random_numbers import stream_keys, uniforms
from model.state import FloatArray, IntArray

#: Returned for a row whose logits are not finite numbers.
NO_TOKEN = -1

_NOTHING: Mapping[int, Sequence[int]] = {}
_NO_COUNTS: Mapping[int, TokenCounts] = {}


class SamplingPlan:
    """How each row of a batch is sampled, prepared once for many steps.

    Args:
        params: one per row.
        never: tokens never to be sampled, such as the unknown token; there must be others.
    """

    def __init__(self, params: Sequence[SamplingParams], never: Sequence[int] = ()) -> None:
        self._params = tuple(params)
        self._never = list(never)
        self._rows = np.arange(len(params))
        self._keys = np.array([stream_keys(p.seed, p.candidate) for p in params], np.uint64).T
        temperatures = np.array([p.temperature or 1.0 for p in params])
        # The inverse of a temperature next to 0 must stay finite: 0 * inf is no number.
        self._inverse = np.minimum(1.0 / np.maximum(temperatures, 1e-30), 1e30).astype(np.float32)
        self._edits = {
            row: RowEdits(p, never)
            for row, p in enumerate(params)
            if p.logit_bias or p.has_penalties
        }
        drawn = [(row, p) for row, p in enumerate(params) if not p.is_greedy]
        self._typical = _index(row for row, p in drawn if p.typical_p < 1.0)
        self._filtered = _index(
            row for row, p in drawn if p.typical_p == 1.0 and _has_rank_filter(p)
        )
        self._plain = _index(
            row for row, p in drawn if p.typical_p == 1.0 and not _has_rank_filter(p)
        )
        self._filters = RankFilters(
            np.array([p.top_k for p in params], np.int64),
            np.array([p.top_p for p in params], np.float64),
            np.array([p.min_p for p in params], np.float32),
        )
        self._typical_p = np.array([p.typical_p for p in params], np.float64)

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
        all_greedy = not (self._plain.size or self._filtered.size or self._typical.size)
        if all_greedy and not self._edits and not banned:
            tokens = logits.argmax(axis=1).astype(np.int32)
            if not any((tokens == token_id).any() for token_id in self._never):
                tokens[~np.isfinite(logits[self._rows, tokens])] = NO_TOKEN
                return tokens
        values = self._edited(logits, counts, banned)
        tokens = values.argmax(axis=1).astype(np.int32)
        largest = values[self._rows, tokens]
        broken = ~np.isfinite(largest)
        if broken.any():
            values[broken] = largest[broken] = 0.0
        if not all_greedy:
            values -= largest[:, None]
            if (self._inverse != 1.0).any():
                values *= self._inverse[:, None]
            np.exp(values, out=values)
            self._draw(values, uniforms(self._keys, positions.astype(np.uint64)), tokens)
        tokens[broken] = NO_TOKEN
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
        values = np.empty((num_rows, width), np.float32)
        values[:, :vocab_size] = logits
        values[:, vocab_size:] = -np.inf
        values[:, self._never] = -np.inf
        for row in self._edits.keys() | banned.keys():
            edits = self._edits.get(row) or RowEdits(self._params[row], self._never)
            values[row, :vocab_size] = logits[row]
            edits.apply(values[row, :vocab_size], counts.get(row), banned.get(row, ()))
        return values

    def _draw(self, weights: FloatArray, draws: NDArray[np.float64], tokens: IntArray) -> None:
        """Replaces the tokens of the rows that are not greedy."""
        for rows in (self._plain, self._filtered, self._typical):
            if not rows.size:
                continue
            part = weights if rows.size == len(weights) else weights[rows]
            if rows is self._plain:
                tokens[rows] = draw_from_all(part, draws[rows])
            elif rows is self._filtered:
                tokens[rows] = draw_filtered(part, draws[rows], self._filters.of(rows))
            else:
                tokens[rows] = draw_typical(
                    part, draws[rows], self._filters.of(rows), self._typical_p[rows]
                )


def _index(rows: Iterable[int]) -> NDArray[np.intp]:
    return np.fromiter(rows, np.intp)


def _has_rank_filter(params: SamplingParams) -> bool:
    return params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0


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
