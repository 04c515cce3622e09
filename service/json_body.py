"""Reading a request's body: bytes -> a JSON object, or an error that says what is wrong with it.

Stricter than ``json.loads``: no NaN, no doubled names, bounded depth and digits. Lone surrogates,
which no text may hold, become U+FFFD here, before anything else sees them.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, NoReturn

from service.errors import ApiError

MAX_DEPTH = 64
MAX_INTEGER_DIGITS = 32

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json_object(body: bytes) -> dict[str, Any]:
    """The object written in ``body``, UTF-8.

    Raises:
        ApiError: ``invalid_json``; the message says what and where.
    """
    if not body:
        raise _invalid("the body is empty; expected a JSON object")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid(
            f"{error.msg} at line {error.lineno}, column {error.colno} of the body"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise _invalid("the body must be a JSON object")
    _check_depth(value)
    if _SURROGATE_ESCAPE.search(body):
        replaced: dict[str, Any] = _replace_surrogates(value)
        return replaced
    return value


def replace_lone_surrogates(text: str) -> str:
    """``text`` with U+FFFD in place of every lone surrogate."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _invalid(message: str) -> ApiError:
    return ApiError("invalid_json", message)


def _too_deep() -> ApiError:
    return _invalid(f"the body is nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is not JSON; numbers must be finite")


def _parse_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise _invalid(f"an integer has more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        in_step = itertools.zip_longest(pairs, value)
        double = next(pair[0] for pair, kept in in_step if pair[0] != kept)
        raise _invalid(f"the name {json.dumps(double[:80])} occurs twice in one object")
    return value


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant,
    parse_int=_parse_integer,
    object_pairs_hook=_object_without_duplicates,
)


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _replace_surrogates(value: object) -> Any:  # noqa: ANN401  JSON in, JSON out
    """A copy of ``value``, no deeper than ``MAX_DEPTH``, without lone surrogates."""
    if isinstance(value, str):
        return replace_lone_surrogates(value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            replace_lone_surrogates(name): _replace_surrogates(item) for name, item in value.items()
        }
    return value
