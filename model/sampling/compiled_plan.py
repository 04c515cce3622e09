"""``SamplingPlan`` with the common rows drawn by compiled passes over the vocabulary.

Both draw by the same definition, from the same random numbers, in the same order of tokens; only
sums are rounded otherwise. What the passes leave (``typical_p``, small nuclei and those with
``min_p``) NumPy draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model.kernel.library import (
    GREEDY,
    LIKELY,
    MOST_TOP_K,
    NUCLEUS,
    ROW,
    TOP_K,
    UNDECIDED,
    Drawer,
    Kernel,
)
from model.sampling.logit_edits import BatchEdits, TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.random_numbers import UniformSteps, stream_keys
from model.sampling.sampler import (
    NO_COUNTS,
    NOTHING,
    SamplingPlan,
    Way,
    inverse_temperatures,
    way_of,
)
from model.state import FloatArray, IntArray

_WAYS = {
    Way.GREEDY: GREEDY,
    Way.TOP_K: TOP_K,
    Way.NUCLEUS: NUCLEUS,
    Way.ALL: NUCLEUS,
    Way.LIKELY: LIKELY,
}


class CompiledSamplingPlan:
    """As ``SamplingPlan``. For one thread.

    Args:
        params: one per row.
        never: tokens never to be sampled, ``MOST_NEVER`` at most; there must be others.
        kernel: what draws.
    """

    def __init__(
        self, params: Sequence[SamplingParams], never: Sequence[int], kernel: Kernel
    ) -> None:
        self._params = tuple(params)
        self._never = list(dict.fromkeys(never))
        self._never_ids = np.array(self._never, np.int64)
        self._kernel = kernel
        self._uniforms = UniformSteps([stream_keys(p.seed, p.candidate) for p in params])
        self._rows = np.zeros(len(params), ROW)
        self._rows["way"] = [_compiled_way(p) for p in params]
        self._rows["top_k"] = [min(p.top_k, MOST_TOP_K) for p in params]
        self._rows["inverse_temperature"] = inverse_temperatures(params)
        self._rows["min_p"] = [p.min_p for p in params]
        self._rows["top_p"] = [p.top_p for p in params]
        self._edits = BatchEdits(self._params, self._never)
        self._drawer: Drawer | None = None
        self._left: tuple[list[int], SamplingPlan] | None = None

    def sample(
        self,
        logits: FloatArray,
        positions: Sequence[int],
        counts: Mapping[int, TokenCounts] = NO_COUNTS,
        banned: Mapping[int, Sequence[int]] = NOTHING,
    ) -> IntArray:
        """As ``SamplingPlan.sample``."""
        if not (logits.flags.c_contiguous and logits.flags.writeable):
            logits = logits.copy()
        draws = self._uniforms.at(list(positions))
        edited = {row: logits[row].copy() for row in self._edits.rows(banned)}
        for row in edited:
            self._edits.apply(row, logits[row], counts, banned)
        tokens = self._drawer_for(logits.shape[1]).draw(logits, draws)
        for row, before in edited.items():
            logits[row] = before
        if UNDECIDED in tokens.tolist():
            left = np.flatnonzero(tokens == UNDECIDED).tolist()
            tokens[left] = self._plan_of(left).sample(
                logits[left],
                [positions[row] for row in left],
                {place: counts[row] for place, row in enumerate(left) if row in counts},
                {place: banned[row] for place, row in enumerate(left) if row in banned},
            )
        return tokens

    def _drawer_for(self, vocab_size: int) -> Drawer:
        if self._drawer is None or self._drawer.vocab_size != vocab_size:
            self._drawer = self._kernel.drawer(self._rows, self._never_ids, vocab_size)
        return self._drawer

    def _plan_of(self, rows: list[int]) -> SamplingPlan:
        """NumPy's for some rows, which are mostly the same as in the step before."""
        if self._left is None or self._left[0] != rows:
            self._left = rows, SamplingPlan([self._params[row] for row in rows], self._never)
        return self._left[1]


def _compiled_way(params: SamplingParams) -> int:
    """How the kernel draws a row with ``params``; 0 if it does not."""
    way = way_of(params)
    if way is Way.TOP_K and (params.top_k > MOST_TOP_K or params.typical_p < 1.0):
        return 0
    return _WAYS.get(way, 0)
