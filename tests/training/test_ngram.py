"""The n-gram baseline against a definition in plain dictionaries, read off the paper."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ConfigurationError, TrainingError
from training.ngram import NgramModel

VOCAB = 6


class PlainKneserNey:
    """Modified Kneser-Ney of one order over token lists; documents are led by token 0."""

    def __init__(self, token_ids, order):
        self.order = order
        self.counts = {n: Counter() for n in range(1, order + 1)}
        for i in range(1, len(token_ids)):
            for n in range(1, order + 1):
                gram = tuple(token_ids[i - n + 1 : i + 1])
                if i - n + 1 >= 0 and 0 not in gram[1:-1]:
                    self.counts[n][gram] += 1
        self.used = {order: dict(self.counts[order])}
        for n in range(1, order):
            preceding = defaultdict(set)
            for gram in self.counts[n + 1]:
                preceding[gram[1:]].add(gram[0])
            self.used[n] = {
                gram: count if n > 1 and gram[0] == 0 else len(preceding[gram])
                for gram, count in self.counts[n].items()
            }
        self.discounts = {n: self._discounts(self.used[n]) for n in self.used}

    @staticmethod
    def _discounts(counts):
        n = {k: sum(1 for count in counts.values() if count == k) for k in range(1, 5)}
        if min(n.values()) == 0:
            return [0, 0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return [0, *found] if min(found) > 0 else [0, 0.5, 1.0, 1.5]

    def probability(self, context, token):
        if 0 in context:
            context = context[len(context) - 1 - context[::-1].index(0) :]
        return self._probability(tuple(context[max(0, len(context) - self.order + 1) :]), token)

    def _probability(self, context, token):
        n = len(context) + 1
        shorter = self._probability(context[1:], token) if context else 1 / VOCAB
        behind = {g[-1]: c for g, c in self.used[n].items() if g[:-1] == context}
        total = sum(behind.values())
        if total == 0:
            return shorter
        discount = {w: self.discounts[n][min(c, 3)] for w, c in behind.items()}
        share = (behind.get(token, 0) - discount.get(token, 0)) / total
        return share + sum(discount.values()) / total * shorter


documents = st.lists(
    st.lists(st.integers(1, VOCAB - 1), min_size=0, max_size=12), min_size=1, max_size=8
)


def stream(texts):
    return np.array([token for text in texts for token in [0, *text]] + [0], np.uint16)


@given(documents, documents, st.integers(1, 5))
def test_probabilities_are_those_of_the_plain_definition(training, held_out, order):
    ids, test_ids = stream(training), stream(held_out)
    plain = PlainKneserNey(ids.tolist(), order)
    expected = [
        math.log(plain.probability(test_ids[:i].tolist(), int(test_ids[i])))
        for i in range(len(test_ids))
    ]
    found = NgramModel(ids, VOCAB).logprobs(test_ids)[order]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_estimated_discounts_are_those_of_the_plain_definition():
    generator = np.random.default_rng(3)
    text = np.minimum(generator.geometric(0.35, 4000), VOCAB - 1)
    ids = np.where(generator.random(4000) < 0.05, 0, text)
    ids[0] = 0
    for order in range(1, 4):
        plain = PlainKneserNey(ids.tolist(), order)
        found = NgramModel(ids.astype(np.uint16), VOCAB, max_order=order).logprobs(ids[:300])
        expected = [math.log(plain.probability(ids[:i].tolist(), ids[i])) for i in range(300)]
        np.testing.assert_allclose(found[order], expected, atol=1e-5)
        assert len(found) == order
    assert plain.discounts[3] != [0, 0.5, 1.0, 1.5], "the sample should allow an estimate"


@given(documents, st.lists(st.integers(0, VOCAB - 1), max_size=6), st.integers(1, 5))
def test_distribution_sums_to_one_and_agrees_with_logprobs(training, context, order):
    model = NgramModel(stream(training), VOCAB)
    distribution = model.distribution(context, order)
    assert distribution.min() > 0.0
    assert distribution.sum() == pytest.approx(1.0, abs=1e-6)
    if context:
        for token in range(VOCAB):
            ids = np.array([*context, token], np.uint16)
            logprob = model.logprobs(ids)[order][-1]
            assert distribution[token] == pytest.approx(math.exp(logprob), abs=1e-6)


def test_no_context_reaches_across_the_start_of_a_document():
    ids = stream([[1, 2, 3], [4, 5, 1], [1, 2, 3], [4, 5, 2]] * 5)
    model = NgramModel(ids, VOCAB)
    np.testing.assert_array_equal(model.distribution([1, 2, 3, 0]), model.distribution([5, 0]))
    same = model.logprobs(np.array([0, 1, 2, 3, 0, 4, 5]))[5][-2:]
    np.testing.assert_array_equal(same, model.logprobs(np.array([0, 5, 1, 2, 0, 4, 5]))[5][-2:])


def test_higher_orders_use_longer_contexts():
    sentence = [1, 2, 1, 3, 1, 2, 1, 4]
    model = NgramModel(stream([sentence] * 20), VOCAB)
    score = model.score(stream([sentence]), num_bytes=8)
    assert [score[order].nats_per_token for order in range(1, 6)] == sorted(
        (score[order].nats_per_token for order in range(1, 6)), reverse=True
    )
    assert model.top_next([2, 1], k=1)[0][0] in (3, 4)
    assert model.top_next([3, 1, 2, 1], k=1)[0][0] == 4
    assert model.top_next([0, 1, 2, 1], k=1)[0][0] == 3


def test_top_next_ranks_the_most_likely_first_and_the_lower_id_among_equals():
    model = NgramModel(stream([[2, 3]] * 3), VOCAB)
    ranked = model.top_next([], k=VOCAB)
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert [token for token, _ in ranked[-3:]] == [1, 4, 5]
    assert sum(p for _, p in ranked) == pytest.approx(1.0, abs=1e-6)


def test_score_says_the_same_in_all_units():
    ids = stream([[1, 2, 3, 1, 2], [2, 2, 1]])
    model = NgramModel(ids, VOCAB)
    nats = model.nats(ids)
    for order, score in model.score(ids, num_bytes=7).items():
        assert score.num_tokens == len(ids) - 1
        assert score.nats_per_token * score.num_tokens == pytest.approx(nats[order])
        assert score.perplexity == pytest.approx(math.exp(score.nats_per_token))
        assert score.bits_per_byte * 7 * math.log(2) == pytest.approx(nats[order])


def test_max_tokens_bounds_what_is_learnt():
    ids = stream([[1, 2, 3]] * 10)
    model = NgramModel(ids, VOCAB, max_tokens=12)
    assert model.num_tokens == 12
    np.testing.assert_array_equal(
        model.distribution([1]), NgramModel(ids[:12], VOCAB).distribution([1])
    )


def test_bad_orders_and_too_little_text_are_refused():
    ids = stream([[1, 2, 3]])
    with pytest.raises(ConfigurationError, match="max_order is 6; it must be from 1 to 5"):
        NgramModel(ids, VOCAB, max_order=6)
    with pytest.raises(ConfigurationError, match="order is 3; it must be from 1 to 2"):
        NgramModel(ids, VOCAB, max_order=2).distribution([1], 3)
    with pytest.raises(TrainingError, match="at least two"):
        NgramModel(ids[:1], VOCAB)
