"""Where tokens begin in a text, for every kind of tokenizer, known words or not."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers import train_tokenizer
from service.text_offsets import decoded_offsets, offsets_in_text

LEARNT = ["The cat's naps, in May 1999: 12 caf\u00e9s.\nThey\u2019ll sit. \u20ac5 "] * 3
texts = st.text(
    st.sampled_from("Tthe cats'in\u20195 19\n\t.,\u00e9\u20ac\U0001f600\u0301\u65e5Zq"), max_size=40
)


@functools.cache
def tokenizer(kind):
    return train_tokenizer(kind, LEARNT, 270 if kind == "bpe" else 22)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
@given(text=texts)
def test_each_known_token_stands_at_its_offset(kind, text):
    subject = tokenizer(kind)
    token_ids = subject.encode(text)
    offsets = offsets_in_text(subject, text, token_ids, parse_special=True)
    assert len(offsets) == len(token_ids)
    assert list(offsets) == sorted(offsets)
    assert not offsets or offsets[0] == 0
    for token_id, offset in zip(token_ids, offsets, strict=True):
        name = subject.token_text(token_id)
        if token_id != subject.unknown_id and not name.startswith("bytes:"):
            assert text[offset:].startswith(name)


@pytest.mark.parametrize("kind", ["char", "word"])
@given(text=texts)
def test_each_piece_of_text_is_one_token_again(kind, text):
    subject = tokenizer(kind)
    token_ids = subject.encode(text)
    offsets = [*offsets_in_text(subject, text, token_ids, parse_special=True), len(text)]
    for token_id, start, stop in zip(token_ids, offsets, offsets[1:], strict=False):
        assert start < stop
        if token_id == subject.unknown_id and kind == "char":
            assert stop == start + 1


def test_special_names_count_as_text():
    subject = tokenizer("word")
    text = "The<|endoftext|> Zyx naps"
    token_ids = subject.encode(text)
    offsets = offsets_in_text(subject, text, token_ids, parse_special=True)
    pieces = [text[a:b] for a, b in zip(offsets, [*offsets[1:], len(text)], strict=True)]
    assert pieces[:3] == ["The", "<|endoftext|>", " Zyx"]


def test_tokens_of_one_character_share_its_offset():
    text, offsets = decoded_offsets([b"a", b"\xe2", b"\x82", b"\xac", b"b"])
    assert text == "a\u20acb"
    assert offsets == (0, 1, 1, 1, 2)


def test_an_incomplete_character_at_the_end_is_left_out():
    assert decoded_offsets([b"a", b"\xe2", b"\x82"]) == ("a", (0, 1, 1))
