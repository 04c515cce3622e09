r"""The baseline: interpolated modified Kneser-Ney n-grams, the Markov model a network has to beat.

Chen & Goodman 1999, An empirical study of smoothing techniques for language modeling. With c(hw)
the count of token w behind context h, h' the context without its first token:

    P(w | h) = max(c(hw) - D(c(hw)), 0) / c(h) + backoff(h) P(w | h')
    backoff(h) = sum over w of D(c(hw)) / c(h);   1 where h was never seen
    P(w | nothing) ends in the uniform distribution over the vocabulary.

In all orders below the highest, c(hw) is not how often hw occurs but behind how many different
tokens it does (how often, where it begins a document). D is 0, D1, D2 or D3 for counts of 0, 1, 2
and more, from the number n_k of grams that have the count k in their order: with Y = n1 / (n1 +
2 n2), D1 = 1 - 2 Y n2 / n1, D2 = 2 - 3 Y n3 / n2, D3 = 3 - 4 Y n4 / n3.

A context never reaches across the start of a document (``training.ngram_counts``). Probabilities
over the whole vocabulary sum to 1 in every context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bundle.manifest import Score
from model.errors import ConfigurationError, TrainingError
from training.ngram_counts import (
    ABSENT,
    END_OF_TEXT_ID,
    GramCounts,
    context_reach,
    count_grams,
    find_grams,
)
from training.token_file import TokenArray

MAX_ORDER = 5

#: Where a corpus is too small or too regular to estimate discounts.
_PLAIN_DISCOUNTS = np.array([0.0, 0.5, 1.0, 1.5])


@dataclass(frozen=True)
class _Level:
    """One order, ready to be asked.

    Attributes:
        shares: [grams + 1] float32, max(c(hw) - D, 0) / c(h); 0 in the last place, which
            the number ``ABSENT`` (-1) reaches.
        backoffs: [contexts + 1] float32; 1 in the last place, likewise.
    """

    shares: NDArray[np.float32]
    backoffs: NDArray[np.float32]

    @classmethod
    def of(cls, table: GramCounts, counts: NDArray[np.int32], vocab_size: int) -> _Level:
        contexts = table.keys // vocab_size if table.num_contexts > 1 else np.zeros_like(table.keys)
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals = np.bincount(contexts, counts, table.num_contexts)
        removed = np.bincount(contexts, discounts, table.num_contexts)
        seen = totals > 0
        backoffs = np.ones(table.num_contexts + 1, np.float32)
        backoffs[:-1][seen] = removed[seen] / totals[seen]
        shares = np.zeros(len(counts) + 1, np.float32)
        shares[:-1] = (counts - discounts) / np.maximum(totals, 1.0)[contexts]
        return cls(shares, backoffs)

    def probabilities(
        self, grams: NDArray[np.int64], contexts: NDArray[np.int64], shorter: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """P(w | h) [tokens], where ``shorter`` is P(w | h')."""
        return self.shares[grams] + self.backoffs[contexts] * shorter


class NgramModel:
    """Kneser-Ney models of order 1 to ``max_order`` over the same token ids.

    Attributes:
        vocab_size: number of token ids.
        max_order: the highest order.
        num_tokens: ids learnt from.
    """

    def __init__(
        self,
        token_ids: TokenArray,
        vocab_size: int,
        *,
        max_order: int = MAX_ORDER,
        max_tokens: int = 40_000_000,
    ) -> None:
        """Learn from ``token_ids``.

        Args:
            token_ids: [tokens], documents each led by ``<|endoftext|>`` (id 0).
            vocab_size: number of token ids.
            max_order: 1 to 5.
            max_tokens: learn from the first so many, to bound memory (about 100 bytes per token).

        Raises:
            ConfigurationError: ``max_order`` is out of bounds.
            TrainingError: there are fewer than two tokens.
        """
        if not 1 <= max_order <= MAX_ORDER:
            raise ConfigurationError(f"max_order is {max_order}; it must be from 1 to {MAX_ORDER}")
        token_ids = np.asarray(token_ids[:max_tokens])
        if len(token_ids) < 2:
            raise TrainingError("an n-gram model needs at least two training tokens")
        self.vocab_size = vocab_size
        self.max_order = max_order
        self.num_tokens = len(token_ids)
        self._tables = count_grams(token_ids, vocab_size, max_order)
        self._highest = [_Level.of(table, table.counts, vocab_size) for table in self._tables]
        self._lower = [
            _Level.of(table, table.num_preceding, vocab_size) for table in self._tables[:-1]
        ]

    def logprobs(self, token_ids: TokenArray) -> dict[int, NDArray[np.float64]]:
        """For each order, the natural log of the probability of each token in its context.

        Args:
            token_ids: [tokens], documents each led by ``<|endoftext|>``. The first token has no
                context: it is given its unigram probability.

        Returns:
            Order to [tokens].
        """
        grams = find_grams(token_ids, self._tables, self.vocab_size)
        contexts = _contexts(grams, token_ids)
        probabilities = np.full(len(token_ids), 1.0 / self.vocab_size)
        logprobs = {}
        for order in range(1, self.max_order + 1):
            gram, context = grams[order - 1], contexts[order - 1]
            highest = self._highest[order - 1].probabilities(gram, context, probabilities)
            logprobs[order] = np.log(highest)
            if order < self.max_order:
                lower = self._lower[order - 1]
                probabilities = lower.probabilities(gram, context, probabilities)
        return logprobs

    def nats(self, token_ids: TokenArray) -> dict[int, float]:
        """For each order, the nats spent on all of ``token_ids`` but the first, together."""
        return {
            order: -float(logprobs[1:].sum())
            for order, logprobs in self.logprobs(token_ids).items()
        }

    def score(self, token_ids: TokenArray, num_bytes: int) -> dict[int, Score]:
        """For each order, how well all of ``token_ids`` but the first are predicted.

        Args:
            token_ids: as for ``logprobs``; at least two.
            num_bytes: UTF-8 bytes of their text, above zero.
        """
        num_tokens = len(token_ids) - 1
        return {
            order: Score(
                nats_per_token=nats / num_tokens,
                perplexity=math.exp(nats / num_tokens),
                bits_per_byte=nats / (math.log(2.0) * num_bytes),
                num_tokens=num_tokens,
                num_bytes=num_bytes,
            )
            for order, nats in self.nats(token_ids).items()
        }

    def distribution(
        self, context_ids: Sequence[int] | TokenArray, order: int | None = None
    ) -> NDArray[np.float64]:
        """The probability of every token [vocab] behind ``context_ids``.

        Args:
            context_ids: any number of ids; what lies before the last ``<|endoftext|>`` is ignored.
            order: of the model that is asked, 1 to ``max_order``; None: the highest.

        Raises:
            ConfigurationError: ``order`` is out of bounds.
        """
        order = self.max_order if order is None else order
        if not 1 <= order <= self.max_order:
            raise ConfigurationError(f"order is {order}; it must be from 1 to {self.max_order}")
        probabilities = np.full(self.vocab_size, 1.0 / self.vocab_size)
        levels = [*self._lower[: order - 1], self._highest[order - 1]]
        numbers = self._context_numbers(context_ids)
        for table, level, number in zip(self._tables, levels, numbers, strict=False):
            if number == ABSENT:
                break
            first_key = number * self.vocab_size
            start, end = np.searchsorted(table.keys, [first_key, first_key + self.vocab_size])
            probabilities *= level.backoffs[number]
            probabilities[table.keys[start:end] - first_key] += level.shares[start:end]
        return probabilities

    def top_next(
        self, context_ids: Sequence[int] | TokenArray, k: int, order: int | None = None
    ) -> list[tuple[int, float]]:
        """The ``k`` most likely next tokens with their probabilities, the most likely first."""
        probabilities = self.distribution(context_ids, order)
        ranked = np.argsort(-probabilities, kind="stable")[:k]
        return [(int(token_id), float(probabilities[token_id])) for token_id in ranked]

    def _context_numbers(self, context_ids: Sequence[int] | TokenArray) -> list[int]:
        """Numbers of the contexts of length 0, 1, ... that ``context_ids`` ends with."""
        context = np.array(context_ids[-(self.max_order - 1) :], np.uint32)
        if len(context) == 0 or self.max_order == 1:
            return [0]
        starts = np.flatnonzero(context == END_OF_TEXT_ID)
        context = context[starts[-1] :] if len(starts) else context
        grams = find_grams(context, self._tables[: len(context)], self.vocab_size)
        return [0, *(int(numbers[-1]) for numbers in grams)]


def _contexts(grams: list[NDArray[np.int64]], token_ids: TokenArray) -> list[NDArray[np.int64]]:
    """For each order, the number of the context of each token; ``grams`` as ``find_grams``."""
    reach = context_reach(token_ids)
    contexts = [np.zeros(len(token_ids), np.int64)]
    for length, numbers in enumerate(grams[:-1], start=1):
        context = np.full(len(token_ids), ABSENT, np.int64)
        context[1:] = numbers[:-1]
        context[reach < length] = ABSENT
        contexts.append(context)
    return contexts


def _discounts(counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """D for counts of 0, 1, 2, and 3 or more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if n.min() == 0.0:
        return _PLAIN_DISCOUNTS
    share = n[0] / (n[0] + 2.0 * n[1])
    steps = np.arange(1.0, 4.0)
    discounts = steps - (steps + 1.0) * share * n[1:] / n[:-1]
    if np.any(discounts <= 0.0):
        return _PLAIN_DISCOUNTS
    return np.array([0.0, *discounts])
