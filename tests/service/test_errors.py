"""The table of errors is the contract's, and messages stay short."""

import pytest

from service.errors import ERROR_KINDS, ApiError, shown


@pytest.mark.parametrize("code", ERROR_KINDS)
def test_envelope(code):
    error = ApiError(code, "what was wrong", param="prompt[3]")
    assert error.body() == {
        "error": {
            "message": "what was wrong",
            "type": ERROR_KINDS[code].type,
            "param": "prompt[3]",
            "code": code,
        }
    }
    assert ("Retry-After" in error.headers) == (error.status == 503)


@pytest.mark.parametrize(("wanted", "sent"), [(0, "1"), (7, "7"), (1000, "120")])
def test_retry_after_is_1_to_120(wanted, sent):
    assert ApiError("overloaded", "full", retry_after_seconds=wanted).headers == {
        "Retry-After": sent
    }


def test_a_timed_out_request_is_not_sent_again():
    assert ApiError("request_timeout", "late").headers == {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.5, "1.5"),
        ("a\n", '"a\\n"'),
        ([], "[]"),
        ([1, 2], "a list"),
        ({}, "{}"),
        ({"a": 1}, "an object"),
        (10**60, "a huge number"),
    ],
)
def test_values_are_shown_as_json(value, text):
    assert shown(value) == text


def test_long_values_are_cut():
    assert len(shown("x" * 10**6)) < 100
