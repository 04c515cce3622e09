"""Scores against the textbook: by NumPy, and by the compiled passes if there is a compiler."""

import math

import numpy as np
import pytest
from compiled_kernel import compiled_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from model import scoring
from model.scoring import MIN_LOGPROB, bits_per_byte, log_softmax, perplexity, token_logprobs

#: ``kernel``: what works them out in place of NumPy, if anything.
COUNTING = {}


@pytest.fixture(scope="module", autouse=True, params=["numpy", "compiled"])
def _who_counts(request):
    COUNTING["kernel"] = compiled_kernel() if request.param == "compiled" else None


def log_normalisers(logits):
    return scoring.log_normalisers(logits, **COUNTING)


def top_tokens(logits, num_top):
    return scoring.top_tokens(logits, num_top, **COUNTING)


def token_ranks(logits, token_ids):
    return scoring.token_ranks(logits, token_ids, **COUNTING)


def entropy_bits(logits):
    return scoring.entropy_bits(logits, **COUNTING)


def random_logits(rows=5, vocab_size=300, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (rows, vocab_size)).astype(np.float32)


@given(st.integers(1, 6), st.integers(2, 900), st.sampled_from([0.0, 1.0, 20.0, 300.0]))
@settings(max_examples=40)
def test_log_softmax_is_that_of_the_textbook(rows, vocab_size, scale):
    logits = random_logits(rows, vocab_size, scale)
    expected = special.log_softmax(logits.astype(np.float64), axis=1)
    assert np.allclose(log_softmax(logits), expected, rtol=1e-6, atol=2e-6)
    assert log_softmax(logits).dtype == np.float32


@given(st.integers(1, 6), st.integers(2, 900), st.sampled_from([0.0, 1.0, 20.0, 300.0]))
@settings(max_examples=40)
def test_normalisers_are_those_of_the_textbook(rows, vocab_size, scale):
    logits = random_logits(rows, vocab_size, scale)
    expected = special.logsumexp(logits.astype(np.float64), axis=1)
    assert np.allclose(log_normalisers(logits), expected, rtol=1e-7, atol=2e-6)


def test_a_row_is_scored_the_same_in_any_batch():
    logits = random_logits(64, 8192)
    together = log_softmax(logits)
    for rows in ([0], [63], [5, 2], range(7, 40)):
        assert (log_softmax(logits[list(rows)]) == together[list(rows)]).all()
    normalisers, entropies = log_normalisers(logits), entropy_bits(logits)
    for rows in ([0], [63], [5, 2], range(7, 40)):
        assert (log_normalisers(logits[list(rows)]) == normalisers[list(rows)]).all()
        assert (entropy_bits(logits[list(rows)]) == entropies[list(rows)]).all()


def test_token_logprobs_pick_from_log_softmax():
    logits = random_logits()
    everything = log_softmax(logits)
    token_ids = np.array([0, 299, 4, 4, 7], np.int32)
    assert (token_logprobs(logits, token_ids) == everything[np.arange(5), token_ids]).all()
    several = np.array([[1, 2], [3, 299], [0, 0], [5, 6], [8, 7]], np.int32)
    picked = token_logprobs(logits, several, scoring.log_normalisers(logits))
    assert (picked == np.take_along_axis(everything, several, axis=1)).all()


def test_no_logprob_is_below_the_lowest():
    logits = np.array([[0.0, -1e6, -math.inf]], np.float32)
    assert log_softmax(logits)[0].tolist() == [0.0, MIN_LOGPROB, MIN_LOGPROB]
    assert token_logprobs(logits, np.array([2], np.int32)).tolist() == [MIN_LOGPROB]


@pytest.mark.parametrize("vocab_size", [20, 300, 8192])
@pytest.mark.parametrize("num_top", [0, 1, 2, 20, 128, 129, 299, 300, 1000])
def test_top_tokens_are_those_of_a_full_sort(num_top, vocab_size):
    logits = np.round(random_logits(vocab_size=vocab_size))  # rounded, so that there are ties
    logits[1] = 0.0
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :num_top]
    assert top_tokens(logits, num_top).tolist() == expected.tolist()


def test_a_rank_is_the_place_in_a_full_sort():
    logits = np.round(random_logits(rows=40))
    order = np.argsort(-logits, axis=1, kind="stable")
    token_ids = order[np.arange(40), np.arange(40)].astype(np.int32)
    assert token_ranks(logits, token_ids).tolist() == list(range(1, 41))


def test_the_top_logprob_is_the_tokens_own_iff_it_is_the_likeliest():
    logits = random_logits(rows=50, scale=0.001)
    top = top_tokens(logits, 1)[:, 0]
    best = token_logprobs(logits, top)
    assert (best == log_softmax(logits).max(axis=1)).all()
    assert (token_ranks(logits, top) == 1).all()


def test_entropy_of_known_distributions():
    logits = np.array([[0, 0, 0, 0], [0, 0, -math.inf, -math.inf], [90, 0, 0, 0]], np.float32)
    assert np.allclose(entropy_bits(logits), [2.0, 1.0, 0.0])
    logits = random_logits()
    p = special.softmax(logits.astype(np.float64), axis=1)
    assert np.allclose(entropy_bits(logits), -(p * np.log2(p)).sum(axis=1), rtol=1e-5)


def test_perplexity_of_a_fair_die_is_six():
    assert perplexity(math.log(1 / 6)) == pytest.approx(6)
    assert perplexity(-1e9) == math.inf


def test_bits_per_byte_of_coin_tosses():
    assert bits_per_byte(8 * math.log(0.5), 4) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="num_bytes is 0"):
        bits_per_byte(-1.0, 0)
