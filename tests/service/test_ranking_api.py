"""``best_of`` and ``suffix`` over real HTTP: the order equals one's own computation."""

import math
from collections import Counter

import pytest
from event_stream import events, join
from running_service import wait_until

KINDS = ("bpe", "char", "word")
PROMPT = "One day in"
SUFFIX = " and walked."


@pytest.fixture
def call(service_of_all_kinds):
    """Posts to ``/v1/completions``; the answer must be 200."""

    def post(**fields):
        answer = service_of_all_kinds.post("/v1/completions", fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


def counts(body):
    """The tokens counted, but for what happened to be cached."""
    return {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens")}


def tokenize(service, kind, text):
    return service.post("/v1/tokenize", {"model": kind, "prompt": text}).json()["tokens"]


def ranked(scores, count):
    """Indices of the highest scores, descending."""
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:count]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"stop": ["a", "1"]}, {"max_tokens": 0}, {"echo": True}])
def test_best_of_takes_the_highest_mean_logprob(call, kind, more):
    fields = {"model": kind, "prompt": PROMPT, "seed": 5, "max_tokens": 7, "logprobs": 0} | more
    everything = call(**fields, n=9)
    plain = call(**fields | {"echo": False}, n=9)
    means = [
        math.fsum(choice["logprobs"]["token_logprobs"])
        / max(1, len(choice["logprobs"]["token_logprobs"]))
        for choice in plain["choices"]
    ]
    chosen = call(**fields, n=3, best_of=9)
    order = ranked(means, 3)
    expected = [everything["choices"][j] | {"index": rank} for rank, j in enumerate(order)]
    assert chosen["choices"] == expected
    assert counts(chosen) == counts(everything)
    unasked = call(**fields | {"logprobs": None}, n=3, best_of=9)
    texts = [choice["text"] for choice in unasked["choices"]]
    assert texts == [choice["text"] for choice in expected]
    assert unasked["choices"][0]["logprobs"] is None


def test_best_of_equal_to_n_leaves_the_order(call):
    fields = {"model": "bpe", "prompt": PROMPT, "seed": 5, "n": 4}
    assert call(**fields, best_of=4)["choices"] == call(**fields)["choices"]


def test_prompts_are_ranked_by_themselves(call):
    fields = {"model": "char", "seed": 2, "n": 2, "best_of": 5, "max_tokens": 5}
    both = call(**fields, prompt=[PROMPT, "In"])["choices"]
    assert [choice["index"] for choice in both] == [0, 1, 2, 3]
    for number, prompt in enumerate([PROMPT, "In"]):
        alone = call(**fields, prompt=prompt)["choices"]
        assert [c["text"] for c in alone] == [c["text"] for c in both[2 * number : 2 * number + 2]]


def joint_logprob(call, service, kind, choice, suffix):
    """log P(completion, suffix | prompt), read as one prompt and scored by its echo."""
    num_covered = choice["state_tokens"] - len(choice["prompt_token_ids"])
    rest = tokenize(service, kind, choice["text"][choice["state_offset"] :])
    token_ids = choice["prompt_token_ids"] + choice["token_ids"][:num_covered] + rest
    token_ids += tokenize(service, kind, suffix)
    scored = call(model=kind, prompt=[token_ids], echo=True, logprobs=0, max_tokens=0)
    logprobs = scored["choices"][0]["logprobs"]["token_logprobs"]
    return math.fsum(logprobs[len(choice["prompt_token_ids"]) :])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"stop": ["e", "4", "d"]}, {"logit_bias": {"0": 4}}])
def test_suffix_ranks_by_what_follows(service_of_all_kinds, call, kind, more):
    fields = {"model": kind, "prompt": PROMPT, "seed": 8, "max_tokens": 5} | more
    fields |= {"return_token_ids": True, "return_state": True}
    everything = call(**fields, n=8)
    scores = [
        joint_logprob(call, service_of_all_kinds, kind, choice, SUFFIX)
        for choice in everything["choices"]
    ]
    chosen = call(**fields, n=3, suffix=SUFFIX)
    texts = [choice["text"] for choice in chosen["choices"]]
    assert texts == [everything["choices"][j]["text"] for j in ranked(scores, 3)]
    assert counts(chosen) == counts(everything)


def test_suffix_ranks_as_many_as_best_of(service_of_all_kinds, call):
    fields = {"model": "bpe", "prompt": PROMPT, "seed": 8, "max_tokens": 4, "ignore_eos": True}
    assert call(**fields, suffix="!", best_of=3)["usage"]["completion_tokens"] == 8 * 4
    assert call(**fields, suffix="!", best_of=12)["usage"]["completion_tokens"] == 12 * 4
    assert call(**fields, suffix="")["choices"] == call(**fields)["choices"]


def test_suffix_goes_on_from_a_state(service_of_all_kinds, call):
    fields = {"model": "bpe", "seed": 8, "max_tokens": 4, "suffix": SUFFIX, "n": 4}
    token_ids = tokenize(service_of_all_kinds, "bpe", PROMPT)
    read = call(model="bpe", prompt=[token_ids[:2]], max_tokens=0, return_state=True)
    resumed = call(**fields, prompt=[token_ids[2:]], state=read["choices"][0]["state"])
    assert resumed["choices"] == call(**fields, prompt=[token_ids])["choices"]


@pytest.mark.parametrize("echo", [False, True])
def test_with_suffix_each_text_arrives_in_one_chunk(service_of_all_kinds, call, echo):
    fields = {"model": "bpe", "prompt": [PROMPT, "In"], "suffix": SUFFIX, "n": 2, "seed": 4}
    fields |= {"logprobs": 1, "echo": echo}
    chunks = events(service_of_all_kinds, fields)
    choices = call(**fields)["choices"]
    assert join(chunks) == choices
    assert Counter(chunk["choices"][0]["index"] for chunk in chunks) == Counter(
        {choice["index"]: 2 + echo for choice in choices}
    )


def test_a_ranked_stream_begins_when_its_request_runs(service_of_all_kinds):
    """Not when the best are known."""
    fields = {"model": "bpe", "prompt": PROMPT, "suffix": SUFFIX, "max_tokens": 4096}
    fields |= {"ignore_eos": True, "stream": True}
    with service_of_all_kinds.post("/v1/completions", fields, stream=True) as answer:
        assert answer.status_code == 200
        wait_until(lambda: service_of_all_kinds.load()[0] > 0, "it is seen to run", 10)
    wait_until(lambda: service_of_all_kinds.load() == (0, 0), "its end is noticed")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"best_of": 2, "stream": True}, "invalid_value", "best_of"),
        ({"best_of": 2, "n": 3}, "invalid_value", "best_of"),
        ({"suffix": "a" * 40_000}, "context_length_exceeded", "suffix"),
        ({"suffix": "a", "prompt": ["a"] * 33}, "too_many_sequences", "prompt"),
        ({"best_of": 20, "prompt": ["a"] * 13}, "too_many_sequences", "prompt"),
        ({"suffix": ["a"]}, "invalid_type", "suffix"),
    ],
)
def test_refusals(service, fields, code, param):
    answer = service.post("/v1/completions", {"prompt": "a", **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
