"""Scores as the API shows them."""

import numpy as np
import pytest

from model.tokenizers import train_tokenizer
from service.engine.request import TokenScores
from service.token_logprobs import TokenLogprobs


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("bpe", ["abc"], 257)


def scores(logprobs, top_token_ids, top_logprobs):
    return TokenScores(
        logprobs=np.asarray(logprobs, np.float32),
        top_token_ids=np.asarray(top_token_ids, np.int32),
        top_logprobs=np.asarray(top_logprobs, np.float32),
    )


def ids(tokenizer, text):
    return tokenizer.encode(text)


def test_the_token_itself_is_among_the_top(tokenizer):
    a, b, c = ids(tokenizer, "abc")
    entries = TokenLogprobs()
    entries.add(
        tokenizer, (a, c), scores([-0.5, -4.0], [[a, b], [a, b]], [[-0.5, -1.0], [-0.25, -2.0]])
    )
    assert entries.tokens == ["a", "c"]
    assert entries.logprobs == [-0.5, -4.0]
    assert [list(top.items()) for top in entries.tops] == [
        [("a", -0.5), ("b", -1.0)],
        [("a", -0.25), ("b", -2.0), ("c", -4.0)],
    ]


def test_no_top_leaves_the_token_itself(tokenizer):
    (a,) = ids(tokenizer, "a")
    entries = TokenLogprobs()
    entries.add(tokenizer, (a,), scores([-0.5], np.zeros((1, 0)), np.zeros((1, 0))))
    assert entries.tops == [{"a": -0.5}]


def test_values_have_a_floor(tokenizer):
    a, b = ids(tokenizer, "ab")
    entries = TokenLogprobs()
    entries.add(tokenizer, (a,), scores([-np.inf], [[b]], [[-1e9]]))
    assert entries.logprobs == [-9999.0]
    assert entries.tops == [{"b": -9999.0, "a": -9999.0}]


def test_tokens_that_are_no_utf8_keep_keys_of_their_own(tokenizer):
    first, second, third = ids(tokenizer, "\u20ac")
    entries = TokenLogprobs()
    entries.add(tokenizer, (first,), scores([-3.0], [[second, third]], [[-1.0, -2.0]]))
    assert entries.tops == [{r"bytes:\x82": -1.0, r"bytes:\xac": -2.0, r"bytes:\xe2": -3.0}]


def test_only_the_first_rows_are_taken_and_parts_are_cut_out(tokenizer):
    a, b = ids(tokenizer, "ab")
    entries = TokenLogprobs()
    entries.add_unscored(tokenizer, 0)
    entries.add(tokenizer, (a,), scores([-1.0, -2.0], [[a], [b]], [[-1.0], [-2.0]]))
    whole = entries.part(0, 2, (0, 5), shift=10)
    assert whole.tokens == ["<|endoftext|>", "a"]
    assert whole.token_logprobs == [None, -1.0]
    assert whole.top_logprobs == [None, {"a": -1.0}]
    assert whole.text_offset == [10, 15]
    assert entries.part(1, 2, (0, 5)).tokens == ["a"]
