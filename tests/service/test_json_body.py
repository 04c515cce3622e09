"""What is a JSON object to the service, and what is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.json_body import MAX_DEPTH, parse_json_object

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


def nested_lists(depth):
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_reads_what_json_writes(value):
    assert parse_json_object(json.dumps(value).encode()) == value
    assert parse_json_object(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_invalid_json(body):
    try:
        assert isinstance(parse_json_object(body), dict)
    except ApiError as error:
        assert error.code == "invalid_json"


@pytest.mark.parametrize(
    ("body", "part_of_message"),
    [
        (b"", "empty"),
        (b"   ", "line 1"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{", "line 1, column 2"),
        (b'{"a":1,}', "line 1"),
        (b'{"a":1} x', "Extra data"),
        (b'\xef\xbb\xbf{"a":1}', "line 1"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":' + b"1" * 33 + b"}", "32 digits"),
        (b'{"a":-' + b"1" * 5000 + b"}", "32 digits"),
        (b'{"a":1,"b":2,"a":3}', '"a" occurs twice'),
        (b'{"b":[{"x":1,"x":1}]}', '"x" occurs twice'),
        (b'{"a":"\n"}', "control character"),
        (nested(MAX_DEPTH + 1), "nested deeper"),
        (nested_lists(MAX_DEPTH + 1), "nested deeper"),
        (nested(100_000), "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
    ],
)
def test_refuses(body, part_of_message):
    with pytest.raises(ApiError) as caught:
        parse_json_object(body)
    assert caught.value.code == "invalid_json"
    assert part_of_message in caught.value.message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":' + b"1" * 32 + b"}", {"a": int("1" * 32)}),
        (b'{"a":1e999}', {"a": float("inf")}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"x\\ud800y"}', {"a": "x\ufffdy"}),
        (b'{"\\uDFFF":["\\udc00"]}', {"\ufffd": ["\ufffd"]}),
        (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),
    ],
)
def test_accepts(body, value):
    assert parse_json_object(body) == value


@pytest.mark.parametrize("make", [nested, nested_lists])
def test_the_deepest_allowed(make):
    assert isinstance(parse_json_object(make(MAX_DEPTH)), dict)
