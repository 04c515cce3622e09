"""From logits to tokens, a batch at a time, by NumPy: ``SamplingPlan``.

Passes over the whole vocabulary run on all rows together. Every operation is either elementwise or
runs along one row in an order fixed by the vocabulary's size, so a row gives the same token, bit
for bit, whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.sampling.draw import draw_likely, draw_ranked_nucleus, draw_typical
from model.sampling.falling import DoubleArray, ends_of_groups, fall_from_all
from model.sampling.logit_edits import BatchEdits, TokenCounts
from model.sampling.nucleus import draw_nuclei
from model.sampling.params import SamplingParams
from model.sampling.random_numbers import UniformSteps, stream_keys
from model.sampling.ranking import group_maxima, padded_width
from model.sampling.top_k import draw_top_k
from model.state import FloatArray, IntArray

_Number = TypeVar("_Number", np.float32, np.float64)

#: Returned for a row whose logits are not finite numbers.
NO_TOKEN = -1

#: So many rows at a time: what is worked on stays near the processor.
_ROWS_AT_A_TIME = 32

#: Where all weights together are within these bounds, they are as exact in float32 as if the
#: largest logit had been subtracted first, which would be two more passes over the vocabulary.
_LEAST_TOTAL, _MOST_TOTAL = 1e-12, 1e17

#: Of a nucleus with less than this share of the whole, most draws would be rejected.
_SMALL_NUCLEUS = 0.5

NOTHING: Mapping[int, Sequence[int]] = {}
NO_COUNTS: Mapping[int, TokenCounts] = {}


class Way(Enum):
    """How a row's token is drawn once its logits are known."""

    GREEDY = auto()
    TOP_K = auto()
    TYPICAL = auto()
    LIKELY = auto()
    RANKED_NUCLEUS = auto()
    NUCLEUS = auto()
    ALL = auto()


#: Ways that do without the largest logit of a row, or find it by the way.
_OF_THEIR_OWN = (Way.NUCLEUS, Way.ALL, Way.TOP_K)


def way_of(params: SamplingParams) -> Way:
    """How a row with ``params`` is drawn."""
    if params.is_greedy:
        return Way.GREEDY
    if params.top_k:
        return Way.TOP_K
    if params.typical_p < 1.0:
        return Way.TYPICAL
    if params.top_p == 1.0:
        return Way.LIKELY if params.min_p > 0.0 else Way.ALL
    small = params.min_p > 0.0 or params.top_p < _SMALL_NUCLEUS
    return Way.RANKED_NUCLEUS if small else Way.NUCLEUS


def inverse_temperatures(params: Sequence[SamplingParams]) -> FloatArray:
    """What logits are multiplied by: [rows] float32, 1 for greedy rows."""
    temperatures = np.array([p.temperature or 1.0 for p in params])
    # The inverse of a temperature next to 0 must stay finite: 0 * inf is no number.
    inverse: FloatArray = np.minimum(1.0 / np.maximum(temperatures, 1e-30), 1e30).astype(np.float32)
    return inverse


class SamplingPlan:
    """How each row of a batch is sampled, prepared once for many steps. For one thread.

    Args:
        params: one per row.
        never: tokens never to be sampled, such as the unknown token; there must be others.
    """

    def __init__(self, params: Sequence[SamplingParams], never: Sequence[int] = ()) -> None:
        self._params = tuple(params)
        self._never = list(never)
        self._uniforms = UniformSteps([stream_keys(p.seed, p.candidate) for p in params])
        self._inverse = inverse_temperatures(params)
        self._edits = BatchEdits(self._params, self._never)
        self._scaled = bool((self._inverse != 1.0).any())
        rows: dict[Way, list[int]] = {}
        for row, p in enumerate(params):
            rows.setdefault(way_of(p), []).append(row)
        self._all_greedy = rows.keys() <= {Way.GREEDY}
        self._of_their_own = tuple((way, rows.pop(way)) for way in _OF_THEIR_OWN if way in rows)
        self._any_greedy = bool(rows.pop(Way.GREEDY, None))
        self._by_largest = tuple(rows.items())
        self._edited = _Memory()
        self._weights = _Memory()

    def sample(
        self,
        logits: FloatArray,
        positions: Sequence[int],
        counts: Mapping[int, TokenCounts] = NO_COUNTS,
        banned: Mapping[int, Sequence[int]] = NOTHING,
    ) -> IntArray:
        """Draws one token per row.

        Args:
            logits: [batch, vocab] float32; as they were when this returns.
            positions: one per row, how many tokens each row's sequence has drawn before.
            counts: by row, what occurred so far; for rows with penalties.
            banned: by row, tokens not to be sampled this time.

        Returns:
            [batch] int32; ``NO_TOKEN`` for a row whose logits are not finite numbers.
        """
        if self._edits.rows(banned) or padded_width(logits.shape[1]) != logits.shape[1]:
            return self._sample(self._edited_copy(logits, counts, banned), positions)
        if not self._never:
            return self._sample(logits, positions)
        if not logits.flags.writeable:
            logits = logits.copy()
        hidden = [logits[:, token_id].copy() for token_id in self._never]
        for token_id in self._never:
            logits[:, token_id] = -np.inf
        try:
            return self._sample(logits, positions)
        finally:
            for token_id, column in zip(self._never, hidden, strict=True):
                logits[:, token_id] = column

    def _sample(self, values: FloatArray, positions: Sequence[int]) -> IntArray:
        """``sample`` of logits that are edited: [batch, padded vocab]."""
        tokens = np.empty(len(values), np.int32)
        draws = [] if self._all_greedy else self._uniforms.at(list(positions)).tolist()
        if self._any_greedy or self._by_largest:
            self._draw_by_largest(values, draws, tokens)
        for way, rows in self._of_their_own:
            for start in range(0, len(rows), _ROWS_AT_A_TIME):
                piece = rows[start : start + _ROWS_AT_A_TIME]
                if way is Way.TOP_K:
                    tokens[piece] = self._draw_top_k(piece, values, draws)
                else:
                    tokens[piece] = self._draw_weighted(way, piece, values, draws)
        return tokens

    def _draw_by_largest(
        self, values: FloatArray, draws: Sequence[float], tokens: IntArray
    ) -> None:
        """Fills in the tokens of the rows for which the largest logit is looked for first."""
        if self._any_greedy:
            tokens[:] = values.argmax(axis=1)
            largest = values[np.arange(len(values)), tokens]
        else:
            largest = values.max(axis=1)
        broken = _broken(largest)
        for way, rows in self._by_largest:
            for row in rows:
                if row not in broken:
                    scores = (values[row] - largest[row]) * self._inverse[row]
                    tokens[row] = _DRAW_ONE[way](scores, draws[row], self._params[row])
        if broken:
            tokens[broken] = NO_TOKEN

    def _edited_copy(
        self,
        logits: FloatArray,
        counts: Mapping[int, TokenCounts],
        banned: Mapping[int, Sequence[int]],
    ) -> FloatArray:
        """The logits with bias, penalties and bans: [batch, padded vocab]."""
        num_rows, vocab_size = logits.shape
        width = padded_width(vocab_size)
        values = self._edited.rows(num_rows, width)
        values[:, :vocab_size] = logits
        values[:, vocab_size:] = -np.inf
        for token_id in self._never:
            values[:, token_id] = -np.inf
        for row in self._edits.rows(banned):
            values[row, :vocab_size] = logits[row]
            self._edits.apply(row, values[row, :vocab_size], counts, banned)
        return values

    def _draw_top_k(self, rows: list[int], values: FloatArray, draws: Sequence[float]) -> list[int]:
        """The tokens of ``rows``, of which few logits matter; ``NO_TOKEN`` of broken ones."""
        logits = _part(values, rows)
        maxima = group_maxima(logits)
        broken = _broken(maxima[:, -1])
        if broken:
            logits = logits.copy()
            logits[broken] = maxima[broken] = 0.0
        tokens = draw_top_k(
            logits,
            maxima,
            _part(self._inverse, rows),
            [draws[row] for row in rows],
            [self._params[row] for row in rows],
        )
        for place in broken:
            tokens[place] = NO_TOKEN
        return tokens

    def _draw_weighted(
        self, way: Way, rows: list[int], values: FloatArray, draws: Sequence[float]
    ) -> list[int]:
        """The tokens of ``rows``, which need every token's weight; ``NO_TOKEN`` of broken ones."""
        weights = self._weights.rows(len(rows), values.shape[1])
        logits = _part(values, rows)
        if self._scaled:
            logits = np.multiply(logits, _part(self._inverse, rows)[:, None], out=weights)
        with np.errstate(over="ignore", invalid="ignore"):
            np.exp(logits, out=weights)
            ends = ends_of_groups(weights)
        broken = self._shift(rows, values, weights, ends)
        wanted = [draws[row] for row in rows]
        if way is Way.NUCLEUS:
            tokens = draw_nuclei(weights, wanted, ends, [self._params[row] for row in rows])
        else:
            tokens = fall_from_all(weights, wanted, ends)
        for place in broken:
            tokens[place] = NO_TOKEN
        return tokens

    def _shift(
        self, rows: list[int], values: FloatArray, weights: FloatArray, ends: DoubleArray
    ) -> list[int]:
        """Mends weights that are too large or small: with the largest logit subtracted.

        Returns the places in ``rows`` of those whose logits are not finite; their weights are 1.
        """
        broken = []
        totals: list[float] = ends[:, -1].tolist()
        for place, total in enumerate(totals):
            if _LEAST_TOTAL <= total <= _MOST_TOTAL:
                continue
            row = rows[place]
            largest = values[row].max()
            if np.isfinite(largest):
                weights[place] = np.exp((values[row] - largest) * self._inverse[row])
            else:
                weights[place] = 1.0
                broken.append(place)
            ends[place] = ends_of_groups(weights[place : place + 1])[0]
        return broken


def _draw_ranked_nucleus(scores: FloatArray, draw: float, params: SamplingParams) -> int:
    return draw_ranked_nucleus(np.exp(scores), draw, params)


#: How a token of one row is drawn from its scores.
_DRAW_ONE = {
    Way.TYPICAL: draw_typical,
    Way.LIKELY: draw_likely,
    Way.RANKED_NUCLEUS: _draw_ranked_nucleus,
}


def _broken(largest: FloatArray) -> list[int]:
    """The rows whose largest logit [rows] is no finite number."""
    # One that is not makes the sum so; cheaper for few rows than with arrays.
    if math.isfinite(sum(largest.tolist())):
        return []
    broken: list[int] = np.flatnonzero(~np.isfinite(largest)).tolist()
    return broken


def _part(values: NDArray[_Number], rows: list[int]) -> NDArray[_Number]:
    """Some rows (ascending) of ``values``, without copying if they lie together."""
    first, last = rows[0], rows[-1]
    return values[first : last + 1] if last - first == len(rows) - 1 else values[rows]


class _Memory:
    """Rows to work on, kept from step to step: fresh memory costs more to get than to fill."""

    def __init__(self) -> None:
        self._values: FloatArray = np.empty((0, 0), np.float32)

    def rows(self, num_rows: int, width: int) -> FloatArray:
        """[num_rows, width], with whatever is in there."""
        if self._values.shape[0] < num_rows or self._values.shape[1] != width:
            self._values = np.empty((num_rows, width), np.float32)
        return self._values[:num_rows]
