"""``POST /v1/completions`` over real HTTP."""

import json

import pytest
from event_stream import events, join
from tiny_bundle import tiny_bundle

from model.tokenizers import Tokenizer
from service.protocol.completions import Completion

PROMPT = "In Italy, I had"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(tiny_bundle() / "1" / "tokenizer.json")


def test_an_answer_has_the_contracts_shape(service):
    body = service.complete(prompt=PROMPT, max_tokens=5)
    assert list(body) == [
        "id", "object", "created", "model", "system_fingerprint", "seed", "choices", "usage",
    ]  # fmt: skip
    assert list(body["choices"][0]) == [
        "index", "text", "logprobs", "finish_reason", "stop_reason",
    ]  # fmt: skip
    assert body["id"].startswith("cmpl-")
    Completion.model_validate(body)


def test_json_is_ascii(service):
    answer = service.post("/v1/completions", {"prompt": "\u65e5\u672c", "echo": True})
    assert answer.content.isascii()
    assert answer.json()["choices"][0]["text"].startswith("\u65e5\u672c")


def test_a_seed_fixes_the_answer_and_is_told(service):
    first = service.complete(prompt=PROMPT, seed=-5, max_tokens=30)
    again = service.complete(prompt=PROMPT, seed=-5, max_tokens=30)
    assert first["seed"] == -5
    assert first["choices"] == again["choices"]
    drawn = service.complete(prompt=PROMPT, max_tokens=30)
    repeated = service.complete(prompt=PROMPT, max_tokens=30, seed=drawn["seed"])
    assert repeated["choices"] == drawn["choices"]
    other = service.complete(prompt=PROMPT, max_tokens=30)
    assert other["seed"] != drawn["seed"]


def test_choices_of_several_prompts_are_in_order(service):
    both = service.complete(prompt=[PROMPT, "The"], n=3, seed=1, max_tokens=8)
    assert [choice["index"] for choice in both["choices"]] == list(range(6))
    alone = service.complete(prompt="The", n=3, seed=1, max_tokens=8)
    texts = [choice["text"] for choice in both["choices"]]
    assert texts[3:] == [choice["text"] for choice in alone["choices"]]
    single = service.complete(prompt="The", seed=1, max_tokens=8)
    assert single["choices"][0]["text"] == texts[3]


def test_usage_counts_each_prompt_once(service, tokenizer):
    length = len(tokenizer.encode(PROMPT))
    body = service.complete(prompt=[PROMPT, PROMPT], n=2, max_tokens=3, ignore_eos=True)
    details = body["usage"].pop("prompt_tokens_details")
    assert body["usage"] == {
        "prompt_tokens": 2 * length,
        "completion_tokens": 12,
        "total_tokens": 2 * length + 12,
    }
    assert 0 <= details["cached_tokens"] <= 2 * length


@pytest.mark.parametrize("prompt", ["", [""], [[]], None])
def test_the_empty_prompt(service, prompt):
    body = service.complete(prompt=prompt, seed=1, echo=True, logprobs=1, max_tokens=4)
    assert body["usage"]["prompt_tokens"] == 0
    logprobs = body["choices"][0]["logprobs"]
    assert None not in logprobs["token_logprobs"]
    assert len(logprobs["tokens"]) == 4


def test_token_ids_are_prompts_too(service, tokenizer):
    token_ids = tokenizer.encode(PROMPT)
    as_text = service.complete(prompt=PROMPT, seed=1)
    for prompt in (token_ids, [token_ids], [float(token_id) for token_id in token_ids]):
        assert service.complete(prompt=prompt, seed=1)["choices"] == as_text["choices"]


def test_nothing_is_generated_for_max_tokens_0(service):
    body = service.complete(prompt=PROMPT, max_tokens=0)
    assert body["choices"][0]["text"] == ""
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 0


def test_the_prompt_is_scored(service, tokenizer):
    length = len(tokenizer.encode(PROMPT))
    fields = {"prompt": PROMPT, "echo": True, "logprobs": 2, "seed": 1}
    scored = service.complete(max_tokens=0, **fields)["choices"][0]
    assert scored["text"] == PROMPT
    one_more = service.complete(max_tokens=1, **fields)["choices"][0]
    assert [len(values) for values in scored["logprobs"].values()] == [length] * 4
    assert [len(values) for values in one_more["logprobs"].values()] == [length + 1] * 4
    for name, values in scored["logprobs"].items():
        assert one_more["logprobs"][name][:length] == values
    assert scored["logprobs"]["token_logprobs"][0] is None
    assert scored["logprobs"]["top_logprobs"][0] is None


def test_logprobs_are_in_order_and_agree(service):
    body = service.complete(prompt=PROMPT, echo=True, logprobs=5, max_tokens=20, seed=3)
    logprobs = body["choices"][0]["logprobs"]
    rows = zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    )
    for token, logprob, top in list(rows)[1:]:
        assert top[token] == logprob
        assert 5 <= len(top) <= 6
        assert list(top.values()) == sorted(top.values(), reverse=True)
        assert -9999.0 <= logprob <= 0


def test_logprobs_do_not_depend_on_how_many_are_asked_for(service):
    fields = {"prompt": PROMPT, "seed": 3, "max_tokens": 10}
    many = service.complete(logprobs=20, **fields)["choices"][0]["logprobs"]
    none = service.complete(logprobs=0, **fields)["choices"][0]["logprobs"]
    cooler = service.complete(logprobs=0, temperature=0.1, echo=True, **fields)["choices"][0]
    assert many["token_logprobs"] == none["token_logprobs"]
    assert [list(top) for top in none["top_logprobs"]] == [[token] for token in none["tokens"]]
    assert cooler["logprobs"]["text_offset"][0] == 0


def test_every_logprob_has_a_fraction_or_exponent(service):
    answer = service.post("/v1/completions", {"prompt": PROMPT, "logprobs": 3, "temperature": 0})
    numbers = json.loads(answer.text, parse_int=lambda digits: f"integer {digits}")
    for logprob in numbers["choices"][0]["logprobs"]["token_logprobs"]:
        assert isinstance(logprob, float)


def test_offsets_point_at_the_tokens(service):
    body = service.complete(prompt=PROMPT, echo=True, logprobs=0, max_tokens=30, seed=4)
    choice = body["choices"][0]
    for token, offset in zip(
        choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True
    ):
        if token.startswith("bytes:"):
            continue
        assert choice["text"][offset : offset + len(token)] == token


SAMPLING = {
    "temperature": 0.1,
    "top_p": 0.2,
    "top_k": 2,
    "min_p": 0.5,
    "typical_p": 0.2,
    "presence_penalty": 2,
    "frequency_penalty": 2,
    "repetition_penalty": 10,
    "logit_bias": {"40": 100},
    "seed": 4,
}


def sampled(service, **fields):
    """The token ids of eight choices after a prompt of half the vocabulary."""
    fields = {"max_tokens": 12, "n": 8, "seed": 3, "ignore_eos": True} | fields
    body = service.complete(prompt=[list(range(2, 150))], return_token_ids=True, **fields)
    return [choice["token_ids"] for choice in body["choices"]]


@pytest.mark.parametrize("name", SAMPLING)
def test_every_way_to_sample_is_heeded(service, name):
    plain = sampled(service)
    other = sampled(service, **{name: SAMPLING[name]})
    assert other != plain
    if name in ("presence_penalty", "frequency_penalty"):  # over generated tokens alone
        assert [ids[0] for ids in other] == [ids[0] for ids in plain]
    if name == "repetition_penalty":  # over the prompt too
        assert [ids[0] for ids in other] != [ids[0] for ids in plain]


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 0}, {"min_p": 1}])
def test_where_one_token_is_left_it_is_the_likeliest(service, fields):
    assert sampled(service, **fields) == sampled(service, temperature=0)


def forced(tokenizer, text):
    """Fields that make the model say the one token that ``text`` is."""
    (token_id,) = tokenizer.encode(text)
    return {"logit_bias": {str(token_id): 100}}


def test_logit_bias_forces_and_forbids(service, tokenizer):
    body = service.complete(prompt=PROMPT, max_tokens=4, **forced(tokenizer, " and"))
    assert body["choices"][0]["text"] == " and" * 4
    (token_id,) = tokenizer.encode(" and")
    greedy = {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    best = service.complete(**greedy)["choices"][0]["token_ids"][0]
    other = service.complete(**greedy, logit_bias={str(best): -100})["choices"][0]
    assert other["token_ids"] != [best]
    assert token_id != best


@pytest.mark.parametrize(
    ("stop", "text", "found", "num_tokens"),
    [
        ("d a", " an", "d a", 2),
        (["zzz", "and and"], " ", "and and", 2),
        (["nd", "and", "d"], " ", "and", 1),
        (" and", "", " and", 1),
        ("x", " and" * 8, None, 8),
        (["and and and and and and and and"], " ", "and and and and and and and and", 8),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings(service, tokenizer, stop, text, found, num_tokens, stream):
    fields = {"prompt": PROMPT, "max_tokens": 8, "stop": stop, "logprobs": 0}
    fields |= forced(tokenizer, " and")
    if stream:
        chunks = events(service, fields | {"stream_options": {"include_usage": True}})
        choice, usage = join(chunks[:-1])[0], chunks[-1]["usage"]
    else:
        body = service.complete(**fields)
        choice, usage = body["choices"][0], body["usage"]
    assert choice["text"] == text
    assert choice["stop_reason"] == found
    assert choice["finish_reason"] == ("stop" if found else "length")
    assert usage["completion_tokens"] == num_tokens
    assert len(choice["logprobs"]["tokens"]) == num_tokens
    assert max(choice["logprobs"]["text_offset"]) <= len(text)


def test_stop_strings_are_not_searched_in_the_echo(service, tokenizer):
    body = service.complete(
        prompt=PROMPT, echo=True, max_tokens=2, stop="Italy", **forced(tokenizer, " and")
    )
    assert body["choices"][0]["text"] == PROMPT + " and and"


def test_the_stop_string_may_be_kept(service, tokenizer):
    fields = {"prompt": PROMPT, "stop": "d a", "include_stop_str_in_output": True}
    body = service.complete(**fields, **forced(tokenizer, " and"))
    assert body["choices"][0]["text"] == " and a"


def test_stop_token_ids(service, tokenizer):
    (token_id,) = tokenizer.encode(" and")
    fields = {"prompt": PROMPT, "stop_token_ids": [token_id], "logprobs": 0}
    fields |= forced(tokenizer, " and")
    choice = service.complete(**fields)["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (
        "",
        "stop",
        token_id,
    )
    assert choice["logprobs"]["tokens"] == [" and"]
    kept = service.complete(**fields, include_stop_str_in_output=True)["choices"][0]
    assert kept["text"] == " and"
    later = service.complete(**fields, min_tokens=3, max_tokens=6)
    assert later["usage"]["completion_tokens"] >= 3


def test_the_end_token_stops_and_is_listed(service, tokenizer):
    end = tokenizer.end_of_text_id
    fields = {"prompt": PROMPT, "logit_bias": {str(end): 100}, "logprobs": 0, "max_tokens": 3}
    body = service.complete(**fields)
    choice = body["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("", "stop", None)
    assert choice["logprobs"]["tokens"] == ["<|endoftext|>"]
    assert choice["logprobs"]["text_offset"] == [0]
    assert body["usage"]["completion_tokens"] == 1
    for more in ({"stop": ["<|endoftext|>"]}, {"max_tokens": 1}):
        assert service.complete(**fields | more)["choices"] == body["choices"]
    echoed = service.complete(**fields, echo=True)["choices"][0]
    assert echoed["logprobs"]["text_offset"][-1] == len(PROMPT)
    went_on = service.complete(**fields, ignore_eos=True)["choices"][0]
    assert went_on["finish_reason"] == "length"
    assert went_on["logprobs"]["tokens"] == ["<|endoftext|>"] * 3
    assert went_on["text"] == ""
    shown = service.complete(**fields, ignore_eos=True, skip_special_tokens=False)["choices"][0]
    assert shown["text"] == "<|endoftext|>" * 3
    least = service.complete(**fields, min_tokens=3)
    assert least["usage"]["completion_tokens"] == 3
    assert least["choices"][0]["finish_reason"] == "length"


def test_prompt_options(service, tokenizer):
    fields = {"prompt": PROMPT, "echo": True, "max_tokens": 0, "return_token_ids": True}
    token_ids = tokenizer.encode(PROMPT)
    plain = service.complete(**fields)["choices"][0]
    assert plain["prompt_token_ids"] == token_ids
    assert plain["token_ids"] == []
    cut = service.complete(**fields, truncate_prompt_tokens=2)
    assert cut["choices"][0]["prompt_token_ids"] == token_ids[-2:]
    assert cut["choices"][0]["text"] == tokenizer.decode(token_ids[-2:])
    assert cut["usage"]["prompt_tokens"] == 2
    begun = service.complete(**fields, add_special_tokens=True, logprobs=0)
    assert begun["choices"][0]["prompt_token_ids"] == [tokenizer.end_of_text_id, *token_ids]
    assert begun["choices"][0]["logprobs"]["token_logprobs"][0] is None
    assert begun["choices"][0]["logprobs"]["token_logprobs"][1] is not None
    assert begun["choices"][0]["text"] == PROMPT
    assert begun["usage"]["prompt_tokens"] == len(token_ids) + 1
    shown = service.complete(**fields, add_special_tokens=True, skip_special_tokens=False)
    assert shown["choices"][0]["text"] == "<|endoftext|>" + PROMPT


def test_the_start_token_is_not_read_twice(service, tokenizer):
    fields = {"max_tokens": 12, "seed": 9}
    bare = service.complete(prompt=PROMPT, **fields)["choices"]
    begun = service.complete(prompt=PROMPT, add_special_tokens=True, **fields)["choices"]
    assert begun == bare


def test_special_tokens_written_out(service, tokenizer):
    fields = {"prompt": "a<|endoftext|>b", "max_tokens": 0, "return_token_ids": True}
    parsed = service.complete(**fields)["choices"][0]["prompt_token_ids"]
    assert tokenizer.end_of_text_id in parsed
    plain = service.complete(**fields, parse_special=False, echo=True)["choices"][0]
    assert tokenizer.end_of_text_id not in plain["prompt_token_ids"]
    assert plain["text"] == "a<|endoftext|>b"


@pytest.mark.parametrize("echo", [False, True])
def test_a_prompt_may_end_inside_a_character(service, tokenizer, echo):
    euro = tokenizer.encode("\u20ac")
    assert len(euro) == 3
    fields = {"prompt": euro[:2], "echo": echo, "max_tokens": 1, "logprobs": 0}
    done = service.complete(**fields, logit_bias={str(euro[2]): 100})["choices"][0]
    assert done["text"] == "\u20ac"
    assert set(done["logprobs"]["text_offset"]) == {0}


def test_lone_surrogates_and_controls_are_text(service):
    body = service.complete(prompt="a\ud800\0\x1bb", echo=True, max_tokens=0)
    assert body["choices"][0]["text"] == "a\ufffd\0\x1bb"


def test_stream_of_several_choices_equals_the_plain_answer(service):
    fields = {"prompt": [PROMPT, "The", ""], "n": 2, "seed": 5, "max_tokens": 20}
    fields |= {"echo": True, "logprobs": 2, "return_token_ids": True}
    chunks = events(service, fields)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len({chunk["created"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    assert join(chunks) == service.complete(**fields)["choices"]


def test_the_echo_is_the_first_chunk(service):
    chunks = events(service, {"prompt": PROMPT, "echo": True, "logprobs": 0, "max_tokens": 3})
    first = chunks[0]["choices"][0]
    assert first["text"] == PROMPT
    assert first["logprobs"]["token_logprobs"][0] is None
    assert chunks[-1]["choices"][0]["text"] == ""


def test_usage_in_streams(service):
    # As load generators ask.
    fields = {"prompt": PROMPT, "max_tokens": 5, "ignore_eos": True, "stop": None}
    fields |= {"repetition_penalty": 1.0}
    chunks = events(service, fields | {"stream_options": {"include_usage": True}})
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    chunks = events(service, fields | {"stream_options": {"continuous_usage_stats": True}})
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 5
    assert all(chunk["choices"] for chunk in chunks)
    both = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(service, fields | {"stream_options": both})
    assert [chunk["choices"] == [] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[-2:]] == [5, 5]
