"""Counting n-grams of token ids by sorting, in arrays: the raw material of ``training.ngram``.

A *gram* of order n is a token and the n - 1 before it, its *context*. ``<|endoftext|>`` (id 0) may
stand first in a context, where it says that the document begins, but not later: nothing is counted
or looked up across the start of a document. The very first token is only context.

Every gram of order n has a number, its position in the ascending ``keys`` of that order. A key is
made of the number of the context, a gram of order n - 1, and the last token; so the keys of any
order fit 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.token_file import TokenArray

END_OF_TEXT_ID = 0
#: The number of a gram that was not seen, or that would reach across the start of a document.
ABSENT = -1


@dataclass(frozen=True)
class GramCounts:
    """All different grams of one order.

    Attributes:
        keys: [grams] int64, ascending: number of the context times ``vocab_size`` + last token.
        counts: [grams] int32, how often each occurs.
        num_preceding: [grams] int32, how many different tokens each was seen behind; its count
            where it begins a document, as nothing can stand before it. Empty in the highest order.
        num_contexts: grams of the order below; 1 for order 1, whose only context is empty.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int32]
    num_preceding: NDArray[np.int32]
    num_contexts: int


def count_grams(token_ids: TokenArray, vocab_size: int, max_order: int) -> list[GramCounts]:
    """The grams of order 1 to ``max_order`` of ``token_ids`` [tokens].

    Takes some 50 bytes per token at its peak, result included.
    """
    reach = context_reach(token_ids)
    numbers = token_ids.astype(np.int32)
    keys = np.arange(vocab_size, dtype=np.int64)
    counts = np.bincount(token_ids[1:], minlength=vocab_size).astype(np.int32)
    begins_document = np.zeros(vocab_size, np.bool_)
    num_contexts = 1
    tables = []
    for order in range(2, max_order + 1):
        positions = np.flatnonzero(reach >= order - 1)
        longer_keys, inverse, longer_counts, examples = _number_grams(
            numbers[positions - 1].astype(np.int64) * vocab_size + token_ids[positions]
        )
        examples = positions[examples]
        preceding = np.bincount(numbers[examples], minlength=len(keys)).astype(np.int32)
        num_preceding = np.where(begins_document, counts, preceding)
        tables.append(GramCounts(keys, counts, num_preceding, num_contexts))
        num_contexts, keys, counts = len(keys), longer_keys, longer_counts
        begins_document = token_ids[examples - order + 1] == END_OF_TEXT_ID
        numbers = np.full(len(token_ids), ABSENT, np.int32)
        numbers[positions] = inverse
    return [*tables, GramCounts(keys, counts, np.zeros(0, np.int32), num_contexts)]


def context_reach(token_ids: TokenArray) -> NDArray[np.int32]:
    """How many tokens before each [tokens] are context of it: back to the start of its document.

    The ``<|endoftext|>`` that starts the document is counted. A token ``<|endoftext|>`` itself has
    the document that it ends as its context.
    """
    positions = np.arange(len(token_ids), dtype=np.int32)
    starts = np.where(token_ids == END_OF_TEXT_ID, positions, 0)
    latest_start = np.maximum.accumulate(starts)
    reach = np.zeros(len(token_ids), np.int32)
    reach[1:] = positions[1:] - latest_start[:-1]
    return reach


def find_grams(
    token_ids: TokenArray, tables: list[GramCounts], vocab_size: int
) -> list[NDArray[np.int64]]:
    """For each order, the number of the gram that ends at each of ``token_ids`` [tokens]."""
    reach = context_reach(token_ids)
    found = [token_ids.astype(np.int64)]
    for order, table in enumerate(tables[1:], start=2):
        contexts = np.full(len(token_ids), ABSENT, np.int64)
        contexts[1:] = found[-1][:-1]
        contexts[reach < order - 1] = ABSENT
        found.append(_look_up(table.keys, contexts, token_ids, vocab_size))
    return found


def _look_up(
    keys: NDArray[np.int64], contexts: NDArray[np.int64], last: TokenArray, vocab_size: int
) -> NDArray[np.int64]:
    """Positions in ``keys`` of the grams made of ``contexts`` and ``last``; ``ABSENT`` if none."""
    if len(keys) == 0:
        return np.full(len(contexts), ABSENT, np.int64)
    wanted = contexts * vocab_size + last
    numbers = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((contexts != ABSENT) & (keys[numbers] == wanted), numbers, ABSENT)


def _number_grams(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Different keys; number of each; count of each different one; where one of them stands.

    As ``np.unique`` does, with half the memory.
    """
    order = np.argsort(keys)
    ascending = keys[order]
    is_new = np.ones(len(keys), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=is_new[1:])
    starts = np.flatnonzero(is_new)
    inverse = np.empty(len(keys), np.int32)
    inverse[order] = np.cumsum(is_new, dtype=np.int32) - 1
    counts = np.diff(starts, append=len(keys)).astype(np.int32)
    return ascending[starts], inverse, counts, order[starts]
