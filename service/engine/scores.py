"""From logits to what jobs asked to know about them, for the rows of one step together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.kernel.library import Kernel
from model.scoring import entropy_bits, log_normalisers, token_logprobs, token_ranks, top_tokens
from model.state import FloatArray, IntArray
from service.engine.request import NextTokens, TokenScores


class TokenRow:
    """The score of one token, on its way into ``TokenScores``."""

    __slots__ = ("logprob", "rank", "top_logprobs", "top_token_ids")

    def __init__(
        self, logprob: np.float32, top_token_ids: IntArray, top_logprobs: FloatArray, rank: int
    ) -> None:
        self.logprob = logprob
        self.top_token_ids = top_token_ids
        self.top_logprobs = top_logprobs
        self.rank = rank


def score_rows(
    logits: FloatArray,
    token_ids: IntArray,
    num_top: Sequence[int],
    with_ranks: bool,
    kernel: Kernel | None = None,
) -> list[TokenRow]:
    """Scores of one token per row.

    Args:
        logits: [rows, vocab].
        token_ids: [rows].
        num_top: how many of the most likely tokens each row wants.
        with_ranks: whether ranks are wanted; 0 otherwise.
        kernel: what passes over the vocabulary, if not NumPy; for all scores of an engine the same.
    """
    normalisers = log_normalisers(logits, kernel)
    logprobs = token_logprobs(logits, token_ids, normalisers)
    top_ids = top_tokens(logits, max(num_top), kernel)
    top_logprobs = token_logprobs(logits, top_ids, normalisers)
    ranks = (
        token_ranks(logits, token_ids, kernel) if with_ranks else np.zeros(len(logits), np.int32)
    )
    return [
        TokenRow(logprobs[row], top_ids[row, :top], top_logprobs[row, :top], int(ranks[row]))
        for row, top in enumerate(num_top)
    ]


def stack_scores(rows: Sequence[TokenRow]) -> TokenScores:
    """Scores of several tokens of one job as arrays."""
    return TokenScores(
        np.array([row.logprob for row in rows], np.float32),
        np.stack([row.top_token_ids for row in rows]),
        np.stack([row.top_logprobs for row in rows]),
    )


def next_tokens(
    logits: FloatArray, top_k: int, temperature: float, kernel: Kernel | None = None
) -> NextTokens:
    """The ``top_k`` most likely tokens by one row of ``logits`` [vocab].

    Their logprobs are at ``temperature``, if that is positive; the entropy is at 1.
    """
    row = logits[None]
    token_ids = top_tokens(row, top_k, kernel)
    scaled = row / np.float32(temperature) if temperature not in (0.0, 1.0) else row
    normalisers = log_normalisers(scaled, kernel)
    logprobs = token_logprobs(scaled, token_ids, normalisers)[0]
    coverage = min(1.0, float(np.exp(logprobs.astype(np.float64)).sum()))
    return NextTokens(token_ids[0], logprobs, coverage, float(entropy_bits(row, kernel)[0]))
