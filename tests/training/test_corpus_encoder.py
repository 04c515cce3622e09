"""The quick encoder gives what the tokenizer gives, for every kind and any text."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from model.tokenizers import train_tokenizer
from model.tokenizers.kinds import BPE_PATTERN, WORD_PATTERN
from training import stretch_table, stretches
from training.corpus_encoder import CorpusEncoder
from training.stretches import cut_texts

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
            ["The", " people", "'s", "’t", "wasn't", " Italy", "café", "e\u0301", "日本", "'", "’"]
        ),
        st.text("aZé9٣²Ⅷ,.-(_$+'’“日。\u0301\u200b\u180e\ufeff😀 \n", max_size=8),
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
    monkeypatch.setattr(stretch_table, "MAX_STRETCHES", 5)
    tokenizer = tokenizers[kind]
    encoder = CorpusEncoder(tokenizer)
    for text in [PROSE, PROSE.upper(), "x" * 100, "", PROSE] * 3:
        [token_ids] = encoder.encode([text])
        assert token_ids.tolist() == tokenizer.encode(text)
        assert len(encoder) <= 5 + len(PROSE)


def test_a_table_grows_with_what_it_holds(tokenizers):
    encoder = CorpusEncoder(tokenizers["bpe"])
    texts = [" ".join(map(str, range(start, start + 4_000))) for start in range(0, 20_000, 4_000)]
    for _ in range(2):
        encoded = encoder.encode(texts)
        assert [ids.tolist() for ids in encoded] == tokenizers["bpe"].encode_batch(texts)
    assert len(encoder) == 20_000


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_stretches_of_one_hash_are_told_apart(tokenizers, kind, monkeypatch):
    monkeypatch.setattr(stretches, "_MULTIPLIER", 1)
    stretches._powers.cache_clear()
    try:
        encoder = CorpusEncoder(tokenizers[kind])
        for text in ("on no", "no on", PROSE, PROSE[::-1]):
            [token_ids] = encoder.encode([text])
            assert token_ids.tolist() == tokenizers[kind].encode(text)
    finally:
        stretches._powers.cache_clear()


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_prose_seen_before_is_looked_up(tokenizers, kind, monkeypatch):
    encoder = CorpusEncoder(tokenizers[kind])
    encoder.encode([PROSE * 2])
    monkeypatch.setattr(tokenizers[kind], "encode_batch", lambda texts, **_: [[]] * len(texts))
    [token_ids] = encoder.encode([PROSE * 3])
    assert token_ids.tolist() == tokenizers[kind].encode(PROSE * 3)


def test_ids_have_the_type_they_have_on_disk(tokenizers):
    assert CorpusEncoder(tokenizers["bpe"]).encode(["a"])[0].dtype == np.dtype("<u2")


@functools.cache
def splitter(pattern):
    return Split(Regex(pattern), "isolated")


def pieces_of(pattern, text):
    return [piece for piece, _ in splitter(pattern).pre_tokenize_str(text)]


def assert_no_piece_is_cut(pattern, texts):
    cut = cut_texts(texts)
    ends = [*cut.text_starts[1:], len(cut.starts)]
    for text, start, end in zip(texts, cut.text_starts, ends, strict=True):
        parts = [cut[index] for index in range(start, end)]
        assert "".join(parts) == text
        if len(parts) > 1:
            pieces = [piece for part in parts for piece in pieces_of(pattern, part)]
            assert pieces == pieces_of(pattern, text), parts


@pytest.mark.parametrize("pattern", [BPE_PATTERN, WORD_PATTERN])
def test_no_piece_of_a_tokenizer_is_ever_cut(pattern):
    """All texts of four characters, of every class and of those that patterns treat apart."""
    texts = ["".join(four) for four in itertools.product("sT1,'日\u0301\u2028 \n", repeat=4)]
    assert_no_piece_is_cut(pattern, texts)


@pytest.mark.parametrize("pattern", [BPE_PATTERN, WORD_PATTERN])
def test_every_character_is_of_the_class_that_the_patterns_see(pattern):
    characters = [chr(code_point) for code_point in range(0x20, 0x30000, 31)]
    texts = [f"a{c}b,{c}1{c} {c}.{c}" for c in characters if not "\ud800" <= c < "\ue000"]
    assert_no_piece_is_cut(pattern, texts)
