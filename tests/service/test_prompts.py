"""Prompts made ready: token ids, what is shown of them, and how long they may be."""

import functools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizers import train_tokenizer
from service.errors import ApiError
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts


@functools.cache
def tokenizer(kind="bpe"):
    return train_tokenizer(kind, ["In Italy we walked and talked. "] * 3, 280)


def model(kind="bpe", max_prompt_tokens=8):
    return SimpleNamespace(
        tokenizer=tokenizer(kind),
        longest_token_bytes=10,
        settings=SimpleNamespace(max_prompt_tokens=max_prompt_tokens),
    )


def prepare(prompt, **options):
    return PreparedPrompt(tokenizer(), prompt, PromptOptions(**options))


@given(st.text(max_size=30))
def test_text_is_echoed_as_it_came(text):
    prompt = prepare(text)
    assert prompt.echo == text
    assert prompt.pending == b""
    assert tokenizer().decode(prompt.token_ids) == text


@given(st.lists(st.integers(1, 256), max_size=12))
def test_token_ids_are_echoed_decoded_but_for_an_incomplete_character(token_ids):
    prompt = prepare(tuple(token_ids))
    raw = b"".join(map(tokenizer().token_bytes, token_ids))
    assert (prompt.echo.encode() + prompt.pending).decode("utf-8", "replace") == raw.decode(
        "utf-8", "replace"
    )
    assert len(prompt.offsets) == len(token_ids)


@given(st.text("In Italy\u20ac", max_size=20), st.integers(1, 9), st.booleans(), st.booleans())
def test_truncation_keeps_the_last_tokens(text, kept, begun, skipped):
    options = {"add_special_tokens": begun, "skip_special_tokens": skipped}
    whole = prepare(text, **options)
    cut = prepare(text, truncate_tokens=kept, **options)
    assert cut.token_ids == whole.token_ids[-kept:]
    assert whole.echo.endswith(cut.echo)
    dropped = len(whole.token_ids) - len(cut.token_ids)
    shift = len(whole.echo) - len(cut.echo)
    assert tuple(offset + shift for offset in cut.offsets) == whole.offsets[dropped:]


def test_the_start_token_in_front():
    end = tokenizer().end_of_text_id
    begun = prepare("In", add_special_tokens=True)
    assert begun.token_ids == (end, *tokenizer().encode("In"))
    assert begun.echo == "In"
    shown = prepare("In", add_special_tokens=True, skip_special_tokens=False)
    assert shown.echo == "<|endoftext|>In"
    assert shown.offsets == (0, len("<|endoftext|>"))


@pytest.mark.parametrize(
    ("prompts", "param"),
    [
        (((1,) * 9,), "prompt"),
        (("ab", (1,) * 9), "prompt[1]"),
        (("a b c d e f g h i j",), "prompt"),
        (("x" * 10_000_000,), "prompt"),
    ],
)
def test_prompts_too_long(prompts, param):
    with pytest.raises(ApiError) as caught:
        prepare_prompts(model(), prompts, PromptOptions())
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)
    assert "at most 8" in caught.value.message


def test_what_is_too_long_may_be_truncated():
    prompts = prepare_prompts(model(), ["x" * 1000], PromptOptions(truncate_tokens=8))
    assert len(prompts[0].token_ids) == 8
    with pytest.raises(ApiError):
        prepare_prompts(model(), ["x" * 1000], PromptOptions(truncate_tokens=9))
