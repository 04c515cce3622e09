"""Which document goes where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CorpusError
from training.splits import DROPPED, SPLITS, document_hash, plan_splits

TRAIN, VALIDATION, TEST = (SPLITS.index(split) for split in ("train", "validation", "test"))


def plan(texts, fixed=None, validation_share=0.05, test_share=0.05):
    hashes = np.array([document_hash(text.encode()).identity for text in texts], np.uint64)
    sizes = np.array([len(text) for text in texts], np.int64)
    fixed = [DROPPED] * len(texts) if fixed is None else fixed
    return plan_splits(
        hashes,
        sizes,
        np.array(fixed, np.uint8),
        validation_share=validation_share,
        test_share=test_share,
    )


@given(st.lists(st.text(min_size=1, max_size=5), min_size=3, max_size=200, unique=True))
def test_every_split_gets_a_document_and_its_share(texts):
    made = plan(texts)
    assert made.num_dropped == 0
    assert sum(made.count(split) for split in SPLITS) == len(texts)
    for position in (VALIDATION, TEST):
        size = sum(len(t) for t, a in zip(texts, made.assignments, strict=True) if a == position)
        share = 0.05 * sum(map(len, texts))
        assert share <= size < share + 5


def test_shares_are_kept_whatever_the_sizes():
    texts = [f"{number} " * (1 + number % 50) for number in range(3000)]
    made = plan(texts, validation_share=0.1, test_share=0.2)
    sizes = np.array([len(text) for text in texts])
    for position, share in ((VALIDATION, 0.1), (TEST, 0.2), (TRAIN, 0.7)):
        assert sizes[made.assignments == position].sum() / sizes.sum() == pytest.approx(
            share, abs=0.002
        )


def test_the_order_of_reading_does_not_matter_and_growth_moves_little():
    texts = [f"document {number}" for number in range(1000)]
    made = plan(texts).assignments
    np.testing.assert_array_equal(plan(texts[::-1]).assignments[::-1], made)
    grown = plan([*texts, *(f"new {number}" for number in range(500))]).assignments[:1000]
    assert np.mean(grown != made) < 0.05


def test_repeated_documents_are_dropped_but_one():
    made = plan([str(number % 50) for number in range(200)])
    assert made.num_dropped == 150
    np.testing.assert_array_equal(np.flatnonzero(made.assignments != DROPPED), np.arange(50))


def test_given_documents_keep_their_split_and_are_not_trained_on():
    texts = ["a", "b", "c", "d", "e", "b", "b", "f"]
    fixed = [DROPPED] * 5 + [TEST, TEST, VALIDATION]
    made = plan(texts, fixed, validation_share=0.0, test_share=0.0)
    assert made.assignments.tolist() == [
        *(TRAIN, DROPPED, TRAIN, TRAIN, TRAIN),
        *(TEST, TEST, VALIDATION),
    ]


def test_a_share_of_zero_holds_out_nothing():
    made = plan([str(number) for number in range(100)], test_share=0.0, validation_share=0.1)
    assert made.count("test") == 0
    assert 8 <= made.count("validation") <= 14


@pytest.mark.parametrize("texts", [["a"], ["a", "b"], ["a"] * 50])
def test_too_few_different_documents_are_refused(texts):
    with pytest.raises(CorpusError, match="different documents, too few to train on some"):
        plan(texts)


def test_a_training_corpus_that_is_all_held_out_is_refused():
    with pytest.raises(CorpusError, match="only 0 different documents"):
        plan(["a", "a"], [DROPPED, TEST], 0.0, 0.0)


def test_the_hash_is_the_same_on_every_machine():
    assert document_hash(b"Italy") == (13287989220610568065, 10102579396703112595)
    assert document_hash(b"Italy") != document_hash(b"Italy ")
