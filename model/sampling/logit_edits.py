"""What changes single logits before anything else looks at them: bias, penalties, bans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model.sampling.params import FORBIDDING_BIAS, FORCING_BIAS, SamplingParams
from model.state import FloatArray, IntArray


class TokenCounts:
    """How often each token occurred in one sequence, for the penalties.

    ``repetition_penalty`` is about the prompt and what was generated, the others about the latter.
    """

    def __init__(self, vocab_size: int, prompt_token_ids: Iterable[int] = ()) -> None:
        self._generated = np.zeros(vocab_size, np.float32)
        self._seen: dict[int, None] = dict.fromkeys(prompt_token_ids)
        self._seen_ids: IntArray | None = None

    def add(self, token_id: int) -> None:
        """Notes that ``token_id`` was generated."""
        self._generated[token_id] += 1
        if token_id not in self._seen:
            self._seen[token_id] = None
            self._seen_ids = None

    def penalise(self, logits: FloatArray, params: SamplingParams) -> None:
        """Applies the penalties of ``params`` to ``logits`` [vocab] in place: repetition first."""
        if self._seen_ids is None:
            self._seen_ids = np.fromiter(self._seen, np.int32, len(self._seen))
        ids = self._seen_ids
        values = logits[ids]
        penalty = np.float32(params.repetition_penalty)
        values = np.where(values > 0, values / penalty, values * penalty)
        counts = self._generated[ids]
        values -= np.float32(params.frequency_penalty) * counts
        values -= np.float32(params.presence_penalty) * (counts > 0)
        logits[ids] = values


class RowEdits:
    """The edits of one sequence: its ``logit_bias`` and the tokens that may never be sampled."""

    def __init__(self, params: SamplingParams, never: Sequence[int]) -> None:
        self._params = params
        self._never = np.array(never, np.intp)
        self._bias_ids = np.fromiter(params.logit_bias, np.intp, len(params.logit_bias))
        biases = np.fromiter(params.logit_bias.values(), np.float32, len(params.logit_bias))
        self._biases = biases
        self._forbidden = self._bias_ids[biases <= FORBIDDING_BIAS]
        self._forced = self._bias_ids[biases >= FORCING_BIAS]

    def apply(
        self, logits: FloatArray, counts: TokenCounts | None, banned: Sequence[int] = ()
    ) -> None:
        """Edits ``logits`` [vocab] in place; forbidden tokens become -inf.

        Where nothing would be left, the sequence's own wishes yield: first its ``logit_bias``
        (forced tokens that are banned, or every token forbidden), then ``banned``.

        Args:
            logits: one row, finite.
            counts: what occurred so far; needed when there are penalties.
            banned: tokens not to be sampled at this position.
        """
        logits[self._bias_ids] += self._biases
        if counts is not None and self._params.has_penalties:
            counts.penalise(logits, self._params)
        if not (self._forced.size or self._forbidden.size or banned):
            logits[self._never] = -np.inf
            return
        banned_ids = np.array(banned, np.intp)
        hard = np.concatenate([self._never, banned_ids])
        forced = np.setdiff1d(self._forced, hard)
        if forced.size:
            _keep_only(logits, forced)
            return
        allowed = np.ones(logits.shape, bool)
        for forbidden in (np.concatenate([hard, self._forbidden]), hard, self._never):
            allowed[:] = True
            allowed[forbidden] = False
            if allowed.any():
                break
        logits[~allowed] = -np.inf


class BatchEdits:
    """The edits of the rows of a batch, prepared once for many steps.

    Args:
        params: one per row.
        never: tokens never to be sampled.
    """

    def __init__(self, params: Sequence[SamplingParams], never: Sequence[int]) -> None:
        self._params = params
        self._never = never
        self._edits = {
            row: RowEdits(p, never)
            for row, p in enumerate(params)
            if p.logit_bias or p.has_penalties
        }

    def rows(self, banned: Mapping[int, Sequence[int]]) -> set[int]:
        """The rows that have edits of their own, or in ``banned`` tokens not to be sampled now."""
        return self._edits.keys() | banned.keys()

    def apply(
        self,
        row: int,
        logits: FloatArray,
        counts: Mapping[int, TokenCounts],
        banned: Mapping[int, Sequence[int]],
    ) -> None:
        """Edits ``logits`` [vocab] of row ``row`` in place: ``RowEdits.apply``."""
        edits = self._edits.get(row) or RowEdits(self._params[row], self._never)
        edits.apply(logits, counts.get(row), banned.get(row, ()))


def _keep_only(logits: FloatArray, token_ids: np.ndarray) -> None:
    kept = logits[token_ids]
    logits[:] = -np.inf
    logits[token_ids] = kept
