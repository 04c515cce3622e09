"""A stream, joined, is the plain answer: for hundreds of random requests."""

from event_stream import events, join
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import TEXTS

KINDS = ("bpe", "char", "word")
#: Every tiny vocabulary has as many tokens at least.
NUM_TOKENS = 20

texts = st.one_of(
    st.text(max_size=12),
    st.text(st.sampled_from("aà\u0301e日本ا\U0001f600\u200d\n \0"), max_size=8),
    st.builds(lambda text, start, stop: text[start:stop], st.sampled_from(TEXTS),
              st.integers(0, 30), st.integers(0, 60)),
)  # fmt: skip
token_ids = st.lists(st.integers(0, NUM_TOKENS - 1), min_size=1, max_size=8)
prompts = st.one_of(
    texts,
    token_ids,
    st.lists(texts, min_size=1, max_size=3),
    st.lists(token_ids, max_size=2, min_size=1),
)
stops = st.one_of(
    st.sampled_from(["e", "a", " I", "\ufffd", "é"]),
    st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4),
)

#: What a request may say beside the model, the prompt, ``seed`` and ``max_tokens``. Not ``suffix``
#: and a greater ``best_of``, which a stream gives in one chunk and not at all.
OPTIONAL = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0.01, 1),
    "top_k": st.integers(0, NUM_TOKENS),
    "min_p": st.floats(0, 0.9),
    "typical_p": st.floats(0.1, 1),
    "n": st.integers(1, 3),
    "echo": st.booleans(),
    "logprobs": st.integers(0, 5),
    "stop": stops,
    "include_stop_str_in_output": st.booleans(),
    "stop_token_ids": token_ids,
    "min_tokens": st.integers(0, 3),
    "ignore_eos": st.booleans(),
    "skip_special_tokens": st.booleans(),
    "parse_special": st.booleans(),
    "add_special_tokens": st.booleans(),
    "truncate_prompt_tokens": st.integers(1, 5),
    "return_token_ids": st.booleans(),
    "logit_bias": st.dictionaries(
        st.integers(0, NUM_TOKENS - 1).map(str), st.floats(-100, 12), max_size=4
    ),
    "repetition_penalty": st.floats(0.5, 2),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
}
requests = st.fixed_dictionaries(
    {
        "model": st.sampled_from(KINDS),
        "prompt": prompts,
        "seed": st.integers(-(2**63), 2**63 - 1),
        "max_tokens": st.integers(3, 24),
    },
    optional=OPTIONAL,
)


def check(service, fields):
    """The plain answer, which the stream's chunks add up to."""
    plain = service.complete(**fields)
    chunks = events(service, fields | {"stream_options": {"include_usage": True}})
    assert join(chunks[:-1]) == plain["choices"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][name] == plain["usage"][name]
    assert all(chunk["seed"] == plain["seed"] for chunk in chunks)
    return plain


@settings(max_examples=300)
@given(fields=requests)
def test_any_request(service_of_all_kinds, fields):
    check(service_of_all_kinds, fields)


@settings(max_examples=100)
@given(fields=requests, at=st.data())
def test_a_stop_string_that_does_occur(service_of_all_kinds, fields, at):
    """Cut out of the very text that comes without it, wherever tokens and characters begin."""
    fields = fields | {"stop": None, "min_tokens": 0, "echo": False}
    text = service_of_all_kinds.complete(**fields)["choices"][0]["text"]
    if text:
        start = at.draw(st.integers(0, len(text) - 1), label="start")
        length = at.draw(st.integers(1, 6), label="length")
        stopped = check(service_of_all_kinds, fields | {"stop": text[start : start + length]})
        assert stopped["choices"][0]["finish_reason"] == "stop"
