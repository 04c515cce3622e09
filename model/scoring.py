"""From logits to scores: logprobs, the most likely tokens, ranks, entropy, perplexity, bits.

Logprobs are natural logarithms of the model's own softmax, before temperature, bias, penalties and
filters. A row's numbers are the same, bit for bit, whatever batch it is in. With a ``kernel`` they
are worked out by the compiled passes over the vocabulary, which round sums otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.kernel.library import MOST_TOP_K, UNDECIDED, Kernel
from model.state import FloatArray, IntArray

#: No logprob is given out lower than this; a certainty of 1e-4343 is as good as none.
MIN_LOGPROB = -9999.0

#: So many rows at a time: what is worked on stays near the processor.
_ROWS_AT_A_TIME = 16

#: Stands for -inf where it is to be multiplied; its exp is 0.
_LOWEST = np.float32(-1e30)


def log_normalisers(logits: FloatArray, kernel: Kernel | None = None) -> NDArray[np.float64]:
    """log(sum(exp(logits))) of each row: [batch, vocab] float32 -> [batch] float64."""
    if kernel is not None:
        return kernel.normalise(logits)[0]
    largest = logits.max(axis=1)
    sums = np.empty(len(logits), np.float32)
    shifted = np.empty((min(len(logits), _ROWS_AT_A_TIME), logits.shape[1]), np.float32)
    for start in range(0, len(logits), _ROWS_AT_A_TIME):
        piece = slice(start, min(start + _ROWS_AT_A_TIME, len(logits)))
        weights = shifted[: piece.stop - start]
        np.subtract(logits[piece], largest[piece, None], out=weights)
        np.exp(weights, out=weights)
        weights.sum(axis=1, out=sums[piece])
    normalisers: NDArray[np.float64] = largest + np.log(sums.astype(np.float64))
    return normalisers


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logprobs of every token: [batch, vocab] float32 -> the same, at least ``MIN_LOGPROB``."""
    return _logprobs(logits, log_normalisers(logits)[:, None])


def token_logprobs(
    logits: FloatArray, token_ids: IntArray, normalisers: NDArray[np.float64] | None = None
) -> FloatArray:
    """Logprobs of one token per row.

    Args:
        logits: [batch, vocab] float32.
        token_ids: [batch], or [batch, n] for several tokens per row.
        normalisers: ``log_normalisers(logits)``, if at hand.

    Returns:
        float32 of the shape of ``token_ids``; equal to what ``log_softmax`` gives.
    """
    if normalisers is None:
        normalisers = log_normalisers(logits)
    rows = np.arange(len(logits))
    if token_ids.ndim == 1:
        return _logprobs(logits[rows, token_ids], normalisers)
    return _logprobs(logits[rows[:, None], token_ids], normalisers[:, None])


def top_tokens(logits: FloatArray, num_top: int, kernel: Kernel | None = None) -> IntArray:
    """The most likely tokens of each row, descending, ties to the lowest id.

    Args:
        logits: [batch, vocab] float32.
        num_top: how many; all if the vocabulary is smaller.
        kernel: what looks for them, if not NumPy.

    Returns:
        [batch, num_top] int32.
    """
    num_rows, vocab_size = logits.shape
    num_top = min(num_top, vocab_size)
    if kernel is not None and 1 < num_top <= MOST_TOP_K:
        top = kernel.top(logits, num_top)
        left = np.flatnonzero(top[:, 0] == UNDECIDED)
        if len(left):
            top[left] = top_tokens(logits[left], num_top)
        return top
    top = np.empty((num_rows, num_top), np.int32)
    if num_top == 1:
        top[:, 0] = logits.argmax(axis=1)
    elif num_top > 1:
        # The num_top-th largest logit bounds what has to be sorted.
        bounds = np.partition(logits, vocab_size - num_top, axis=1)[:, vocab_size - num_top]
        for row, bound in enumerate(bounds):
            token_ids = np.flatnonzero(logits[row] >= bound)
            order = np.argsort(-logits[row, token_ids], kind="stable")
            top[row] = token_ids[order[:num_top]]
    return top


def token_ranks(logits: FloatArray, token_ids: IntArray, kernel: Kernel | None = None) -> IntArray:
    """Place of one token per row in descending order, from 1, ties to the lowest id: [batch]."""
    if kernel is not None:
        return kernel.rank(logits, token_ids)
    own = logits[np.arange(len(logits)), token_ids]
    larger = logits > own[:, None]
    ranks = np.empty(len(logits), np.int32)
    # Row by row: along an axis NumPy counts many times more slowly.
    for row, token_id in enumerate(token_ids.tolist()):
        num_before = np.count_nonzero(logits[row, :token_id] == own[row])
        ranks[row] = 1 + np.count_nonzero(larger[row]) + num_before
    return ranks


def entropy_bits(logits: FloatArray, kernel: Kernel | None = None) -> NDArray[np.float64]:
    """Entropy -sum(p log2 p) of each row's distribution: [batch, vocab] -> [batch] float64."""
    if kernel is not None:
        return np.maximum(kernel.normalise(logits)[1] / math.log(2), 0.0)
    largest = logits.max(axis=1, keepdims=True)
    # Where a weight is 0 its term is: 0 times a number, not times -inf.
    shifted = np.maximum(logits - largest, _LOWEST)
    weights = np.exp(shifted)
    sums = weights.sum(axis=1, dtype=np.float64)
    # With p = w / sum(w): -sum(p log p) = log(sum(w)) - sum(w log w) / sum(w).
    terms = np.multiply(shifted, weights, out=shifted).sum(axis=1, dtype=np.float64)
    entropies: NDArray[np.float64] = (np.log(sums) - terms / sums) / math.log(2)
    return np.maximum(entropies, 0.0)


def perplexity(mean_logprob: float) -> float:
    """exp(-mean logprob), in tokens; infinite where that overflows."""
    return math.exp(-mean_logprob) if -mean_logprob < 709.0 else math.inf


def bits_per_byte(total_logprob: float, num_bytes: int) -> float:
    """Nats of a text over ln 2 and its bytes: comparable between tokenizers of any kind.

    Raises:
        ValueError: ``num_bytes`` is not positive.
    """
    if num_bytes <= 0:
        raise ValueError(f"num_bytes is {num_bytes}; bits per byte need a text that is not empty")
    return -total_logprob / (math.log(2) * num_bytes)


def _logprobs(logits: FloatArray, normalisers: NDArray[np.float64]) -> FloatArray:
    return np.maximum(logits - normalisers, MIN_LOGPROB).astype(np.float32)
