"""The quick encoder gives what the tokenizer gives, for every kind and any text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers import train_tokenizer
from training import corpus_encoder
from training.corpus_encoder import CorpusEncoder

PROSE = (
    "The people of Italy speak Italian, and in 1867 Rome wasn't its capital; it's now.\n\n"
    '“Where,” she asked, "do they speak French?" — In France--of course... (Naïve café.)\n'
)
KINDS = ("char", "word", "bpe")

any_text = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.text("  \t\n\r\x0b\x1c\x85\xa0\u2028\u3000", max_size=5),
        st.sampled_from(
            ["The", " people", "'s", "’t", "wasn't", " Italy", "café", "e\u0301", "日本"]
        ),
        st.sampled_from([",", ".", '."', "--", "—", "!\x1c", "<|endoftext|>", "a" * 70, "1867"]),
    ),
    max_size=14,
).map("".join)


@pytest.fixture(scope="module")
def tokenizers():
    return {kind: train_tokenizer(kind, [PROSE] * 3, 330) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(any_text, max_size=4))
def test_it_gives_the_ids_of_the_tokenizer(tokenizers, kind, texts):
    tokenizer = tokenizers[kind]
    encoder = CorpusEncoder(tokenizer)
    expected = [tokenizer.encode(text, parse_special=False) for text in texts]
    for _ in range(2):
        assert [token_ids.tolist() for token_ids in encoder.encode(texts)] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_when_it_has_to_forget(tokenizers, kind, monkeypatch):
    monkeypatch.setattr(corpus_encoder, "_MAX_REMEMBERED", 5)
    tokenizer = tokenizers[kind]
    encoder = CorpusEncoder(tokenizer)
    for text in [PROSE, PROSE.upper(), "x" * 100, "", PROSE]:
        [token_ids] = encoder.encode([text])
        assert token_ids.tolist() == tokenizer.encode(text)
        assert len(encoder) <= 5


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_prose_seen_before_is_looked_up(tokenizers, kind, monkeypatch):
    encoder = CorpusEncoder(tokenizers[kind])
    encoder.encode([PROSE * 2])
    monkeypatch.setattr(tokenizers[kind], "encode_batch", lambda texts, **_: [[]] * len(texts))
    [token_ids] = encoder.encode([PROSE * 3])
    assert token_ids.tolist() == tokenizers[kind].encode(PROSE * 3)


def test_ids_have_the_type_they_have_on_disk(tokenizers):
    assert CorpusEncoder(tokenizers["bpe"]).encode(["a"])[0].dtype == np.dtype("<u2")
