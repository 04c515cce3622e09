"""Counting grams: what is a gram, what is a context, and what is found again."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.ngram_counts import ABSENT, context_reach, count_grams, find_grams

VOCAB = 5
streams = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40).map(
    lambda ids: np.array([0, *ids], np.uint16)
)


def plain_counts(ids, order):
    grams = Counter()
    for last in range(1, len(ids)):
        first = last - order + 1
        if first >= 0 and 0 not in ids[first + 1 : last]:
            grams[tuple(ids[first : last + 1])] += 1
    return grams


def gram_of(tables, order, number):
    """The tokens of gram ``number``, spelt out from the keys."""
    context, last = divmod(int(tables[order - 1].keys[number]), VOCAB)
    return (*gram_of(tables, order - 1, context), last) if order > 1 else (last,)


def test_context_reaches_back_to_the_start_of_the_document():
    ids = np.array([0, 5, 6, 0, 0, 7, 0])
    assert context_reach(ids).tolist() == [0, 1, 2, 3, 1, 1, 2]


@given(streams, st.integers(2, 5))
def test_counts_are_those_of_a_plain_loop(ids, order):
    tables = count_grams(ids, VOCAB, 5)
    table = tables[order - 1]
    found = {gram_of(tables, order, n): int(count) for n, count in enumerate(table.counts)}
    assert found == plain_counts(ids.tolist(), order)
    assert np.all(np.diff(table.keys) > 0)
    assert table.num_contexts == len(tables[order - 2].keys)


@given(streams, streams)
def test_grams_are_found_again_and_others_are_absent(ids, other):
    tables = count_grams(ids, VOCAB, 4)
    for order, numbers in enumerate(find_grams(other, tables, VOCAB), start=1):
        known = plain_counts(ids.tolist(), order)
        for last, number in enumerate(numbers):
            first = last - order + 1
            gram = tuple(other[max(first, 0) : last + 1].tolist())
            if order == 1:
                assert number == gram[0]
            elif last > 0 and first >= 0 and 0 not in gram[1:-1] and gram in known:
                assert gram_of(tables, order, number) == gram
            else:
                assert number == ABSENT
