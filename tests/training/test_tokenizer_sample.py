"""The sample a tokenizer learns from is bounded, even and independent of order."""

import random

from training.splits import document_hash
from training.tokenizer_sample import TokenizerSample


def sample_of(texts, max_characters):
    sample = TokenizerSample(max_characters)
    for ordinal, text in enumerate(texts):
        sample.offer(document_hash(text.encode()).lottery, ordinal, text)
        assert sample.num_characters <= max_characters
    return sample


def test_everything_is_kept_while_it_fits():
    sample = sample_of(["a", "bb", "ccc"], 6)
    assert list(sample.texts(lambda ordinal: True)) == ["a", "bb", "ccc"]
    assert list(sample.texts(lambda ordinal: ordinal != 1)) == ["a", "ccc"]


def test_it_is_bounded_and_does_not_depend_on_order():
    texts = [f"document number {number}" for number in range(5000)]
    kept = list(sample_of(texts, 20_000).texts(lambda ordinal: True))
    assert 5_000 <= sum(map(len, kept)) <= 20_000
    random.Random(1).shuffle(texts)
    assert set(sample_of(texts, 20_000).texts(lambda ordinal: True)) == set(kept)
    early = sum(int(text.split()[-1]) < 2500 for text in kept) / len(kept)
    assert 0.4 < early < 0.6


def test_one_long_document_is_better_than_none():
    sample = TokenizerSample(10)
    sample.offer(5, 0, "x" * 50)
    assert list(sample.texts(lambda ordinal: True)) == ["x" * 50]
