"""Every field of ``POST /v1/completions``: default, bounds, just outside, wrong types, null."""

import pytest

from service.errors import ApiError
from service.protocol.completions import CompletionRequest
from service.protocol.parse import UNSUPPORTED_FIELDS, parse_request
from service.protocol.stream_options import StreamOptions
from service.settings import Settings

LIMITS = {**Settings().limits(), "vocab_size": 100}


def parse(body, *, strict=False):
    return parse_request(CompletionRequest, body, LIMITS, strict=strict)


def refusal(body, *, strict=False):
    with pytest.raises(ApiError) as caught:
        parse(body, strict=strict)
    assert caught.value.status == 400
    assert caught.value.message
    return caught.value.code, caught.value.param


INTEGERS = {
    "max_tokens": (16, 0, 4096),
    "n": (1, 1, 20),
    "logprobs": (None, 0, 20),
    "seed": (None, -(2**63), 2**63 - 1),
    "top_k": (0, 0, 100),
}
NUMBERS = {
    "temperature": (1.0, 0, 2),
    "top_p": (1.0, 0, 1),
    "min_p": (0.0, 0, 1),
    "typical_p": (1.0, 0, 1),
    "presence_penalty": (0.0, -2, 2),
    "frequency_penalty": (0.0, -2, 2),
    "repetition_penalty": (1.0, 0.1, 10),
}
FLAGS = {
    "stream": False,
    "echo": False,
    "ignore_eos": False,
    "include_stop_str_in_output": False,
    "add_special_tokens": False,
    "parse_special": True,
    "skip_special_tokens": True,
    "return_token_ids": False,
}


@pytest.mark.parametrize("name", [*INTEGERS, *NUMBERS])
def test_numbers_have_defaults_and_bounds(name):
    default, low, high = {**INTEGERS, **NUMBERS}[name]
    assert getattr(parse({}).request, name) == default
    assert getattr(parse({name: None}).request, name) == default
    assert getattr(parse({name: low}).request, name) == low
    assert getattr(parse({name: high}).request, name) == high
    step = 1 if name in INTEGERS else 0.001
    below = low - step if name != "top_k" else -2
    assert refusal({name: below}) == ("invalid_value", name)
    assert refusal({name: high + step}) == ("invalid_value", name)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_may_be_written_with_a_point_and_nothing_else(name):
    assert getattr(parse({name: 16.0}).request, name) == 16
    assert type(getattr(parse({name: 16.0}).request, name)) is int
    for wrong in (True, "16", 1.5, [16], {}):
        assert refusal({name: wrong}) == ("invalid_type", name)
    for huge in (float("inf"), -float("inf"), 10**32 - 1, 1e300):
        assert refusal({name: huge}) == ("invalid_value", name)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_finite_numbers(name):
    for wrong in (True, "1", [1], {}):
        assert refusal({name: wrong}) == ("invalid_type", name)
    for huge in (float("inf"), -float("inf"), 10**400):
        assert refusal({name: huge}) == ("invalid_value", name)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_true_or_false(name):
    assert getattr(parse({}).request, name) is FLAGS[name]
    assert getattr(parse({name: None}).request, name) is FLAGS[name]
    for value in (True, False):
        assert getattr(parse({name: value}).request, name) is value
    for wrong in (0, 1, "true", []):
        assert refusal({name: wrong}) == ("invalid_type", name)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        (None, ("",)),
        ("", ("",)),
        ([""], ("",)),
        ([[]], ((),)),
        (["a", "b"], ("a", "b")),
        ([1, 2.0, 99], ((1, 2, 99),)),
        ([[1], [], [2, 3]], ((1,), (), (2, 3))),
        (["x"] * 128, ("x",) * 128),
    ],
)
def test_forms_of_prompt(prompt, prompts):
    assert parse({"prompt": prompt}).request.prompt == prompts


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        ([], "invalid_value", "prompt"),
        (5, "invalid_type", "prompt"),
        (True, "invalid_type", "prompt"),
        ({}, "invalid_type", "prompt"),
        ([True], "invalid_type", "prompt[0]"),
        ([None], "invalid_type", "prompt[0]"),
        (["a", 1], "invalid_type", "prompt[1]"),
        ([1, "a"], "invalid_type", "prompt[1]"),
        ([1, [2]], "invalid_type", "prompt[1]"),
        ([[1], 2], "invalid_type", "prompt[1]"),
        ([[1], ["a"]], "invalid_type", "prompt[1][0]"),
        ([1.5], "invalid_type", "prompt[0]"),
        ([1, True], "invalid_type", "prompt[1]"),
        ([100], "invalid_token_id", "prompt[0]"),
        ([1, -1], "invalid_token_id", "prompt[1]"),
        ([[1], [2, 100.0]], "invalid_token_id", "prompt[1][1]"),
        ([1e30], "invalid_token_id", "prompt[0]"),
        (["x"] * 129, "too_many_prompts", "prompt"),
        ([[1]] * 129, "too_many_prompts", "prompt"),
    ],
)
def test_prompts_refused(prompt, code, param):
    assert refusal({"prompt": prompt}) == (code, param)


@pytest.mark.parametrize(
    ("stop", "strings"),
    [
        (None, ()),
        ([], ()),
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ("x" * 256, ("x" * 256,)),
        (["y"] * 16, ("y",) * 16),
    ],
)
def test_forms_of_stop(stop, strings):
    assert parse({"stop": stop}).request.stop == strings


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"stop": ""}, "invalid_value", "stop"),
        ({"stop": ["a", ""]}, "invalid_value", "stop[1]"),
        ({"stop": "x" * 257}, "invalid_value", "stop"),
        ({"stop": ["y"] * 17}, "invalid_value", "stop"),
        ({"stop": [1]}, "invalid_type", "stop[0]"),
        ({"stop": 1}, "invalid_type", "stop"),
        ({"stop_token_ids": 1}, "invalid_type", "stop_token_ids"),
        ({"stop_token_ids": ["1"]}, "invalid_type", "stop_token_ids[0]"),
        ({"stop_token_ids": [1, 100]}, "invalid_token_id", "stop_token_ids[1]"),
        ({"stop_token_ids": [1] * 17}, "invalid_value", "stop_token_ids"),
        ({"logit_bias": []}, "invalid_type", "logit_bias"),
        ({"logit_bias": {"a": 1}}, "invalid_token_id", "logit_bias"),
        ({"logit_bias": {"": 1}}, "invalid_token_id", "logit_bias"),
        ({"logit_bias": {"1.0": 1}}, "invalid_token_id", "logit_bias"),
        ({"logit_bias": {"100": 1}}, "invalid_token_id", "logit_bias.100"),
        ({"logit_bias": {"-1": 1}}, "invalid_token_id", "logit_bias.-1"),
        ({"logit_bias": {"5": 100.5}}, "invalid_value", "logit_bias.5"),
        ({"logit_bias": {"5": "1"}}, "invalid_type", "logit_bias.5"),
        ({"logit_bias": {str(i): 0 for i in range(1025)}}, "invalid_value", "logit_bias"),
        ({"user": "u" * 257}, "invalid_value", "user"),
        ({"user": 1}, "invalid_type", "user"),
        ({"min_tokens": 17}, "invalid_value", "min_tokens"),
        ({"min_tokens": -1}, "invalid_value", "min_tokens"),
        ({"best_of": 0}, "invalid_value", "best_of"),
        ({"best_of": 21}, "invalid_value", "best_of"),
        ({"n": 3, "best_of": 2}, "invalid_value", "best_of"),
        ({"truncate_prompt_tokens": 0}, "invalid_value", "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": -2}, "invalid_value", "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": "1"}, "invalid_type", "truncate_prompt_tokens"),
        ({"stream_options": {}}, "invalid_value", "stream_options"),
        ({"stream": True, "stream_options": 1}, "invalid_type", "stream_options"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "invalid_type",
            "stream_options.include_usage",
        ),
        ({"suffix": 1}, "invalid_type", "suffix"),
        ({"best_of": 2, "stream": True}, "invalid_value", "best_of"),
        ({"state": "x", "add_special_tokens": True}, "invalid_value", "add_special_tokens"),
        ({"state": [1]}, "invalid_type", "state"),
        ({"state": ["x", 1]}, "invalid_type", "state"),
    ],
)
def test_other_fields_refused(body, code, param):
    assert refusal(body) == (code, param)


def test_other_fields_accepted():
    request = parse(
        {
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": None, "x": 1},
            "logit_bias": {"5": 100, "7": -100.0},
            "stop_token_ids": [3, 3.0, 4],
            "min_tokens": 16,
            "top_k": -1,
            "truncate_prompt_tokens": -1,
            "suffix": "",
            "user": "u" * 256,
            "best_of": 1,
            "return_state": False,
        }
    ).request
    assert request.stream_options == StreamOptions(include_usage=True)
    assert request.logit_bias == {5: 100.0, 7: -100.0}
    assert request.stop_token_ids == (3, 4)
    assert request.top_k == 0
    assert request.truncate_prompt_tokens == LIMITS["max_prompt_tokens"]


@pytest.mark.parametrize("name", [*sorted(UNSUPPORTED_FIELDS), "guided_regex", "guided_x"])
def test_fields_that_would_change_the_meaning_are_refused(name):
    for value in (1, "x", True, [1], {"a": 1}, 0, ""):
        assert refusal({name: value}) == ("unsupported_parameter", name)
    for harmless in (None, False, [], {}):
        assert parse({name: harmless}).ignored_fields == (name,)


def test_the_ordinary_response_format_is_fine():
    parse({"response_format": {"type": "text"}})
    assert refusal({"response_format": {"type": "json_object"}})[0] == "unsupported_parameter"


def test_unknown_fields_are_ignored_and_named():
    parsed = parse({"zeta": 1, "alpha": 2, "b\u00e4d": 3, "x y": 4, "a.b-c_9": 5})
    assert parsed.ignored_header() == "a.b-c_9,alpha,zeta"
    many = parse({f"field{number:02}": 1 for number in range(15)})
    assert many.ignored_header() == ",".join(f"field{number:02}" for number in range(10))
    assert parse({"prompt": "x"}).ignored_header() == ""


def test_unknown_fields_are_refused_if_asked():
    assert refusal({"zeta": 1, "alpha": 1}, strict=True) == ("unknown_parameter", "alpha")
    parse({"prompt": "x", "seed": None}, strict=True)


def test_the_message_names_value_and_bounds():
    with pytest.raises(ApiError, match="max_tokens must be from 0 to 4096, not 5000"):
        parse({"max_tokens": 5000})
    with pytest.raises(ApiError) as caught:
        parse({"temperature": "hot" * 1000})
    assert len(caught.value.message) < 200
