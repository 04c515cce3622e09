"""The fields with rules of their own that say how to sample and when to stop."""

from __future__ import annotations

import re
from typing import Annotated, Any

from service.errors import shown
from service.protocol.fields import (
    Limits,
    Real,
    Shaped,
    Text,
    Whole,
    refuse,
    refuse_type,
    whole_number,
)
from service.protocol.prompt import TOKEN_ID_SCHEMA

MAX_STOP_CHARACTERS = 256
MAX_LOGIT_BIASES = 1024

_TOKEN_ID = re.compile(r"-?[0-9]{1,18}")
_BIAS = Real(-100, 100)
_STOP_STRING = Text(1, MAX_STOP_CHARACTERS)


def _read_stop(value: object, name: str, limits: Limits) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_STOP_STRING.validate(value, name, limits),)
    if not isinstance(value, list):
        raise refuse_type(name, "a string or a list of strings", value)
    _check_length(value, name, limits)
    return tuple(
        _STOP_STRING.validate(string, f"{name}[{index}]", limits)
        for index, string in enumerate(value)
    )


def _read_stop_token_ids(value: object, name: str, limits: Limits) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise refuse_type(name, "a list of token ids", value)
    _check_length(value, name, limits)
    token_ids = []
    for index, item in enumerate(value):
        param = f"{name}[{index}]"
        token_ids.append(whole_number(item, param))
        _check_in_vocabulary(token_ids[-1], param, limits)
    return tuple(dict.fromkeys(token_ids))


def _check_length(values: list[Any], name: str, limits: Limits) -> None:
    if len(values) > limits["max_stop"]:
        raise refuse(
            "invalid_value",
            f"{name} must have at most {limits['max_stop']} entries, not {len(values)}",
            name,
        )


def _read_logit_bias(value: object, name: str, limits: Limits) -> dict[int, float]:
    if not isinstance(value, dict):
        raise refuse_type(name, "an object of token ids and numbers", value)
    if len(value) > MAX_LOGIT_BIASES:
        raise refuse(
            "invalid_value",
            f"{name} must have at most {MAX_LOGIT_BIASES} entries, not {len(value)}",
            name,
        )
    biases: dict[int, float] = {}
    for key, bias in value.items():
        if _TOKEN_ID.fullmatch(key) is None:
            raise refuse("invalid_token_id", f"{shown(key)} in {name} is no token id", name)
        param = f"{name}.{key}"
        _check_in_vocabulary(int(key), param, limits)
        biases[int(key)] = _BIAS.validate(bias, param, limits)
    return biases


def _check_in_vocabulary(token_id: int, param: str, limits: Limits) -> None:
    if not 0 <= token_id < limits["vocab_size"]:
        raise refuse(
            "invalid_token_id",
            f"{param} names token {shown(token_id)}; ids are 0 to {limits['vocab_size'] - 1}",
            param,
        )


def _read_top_k(value: object, name: str, limits: Limits) -> int:
    number = whole_number(value, name)
    return 0 if number == -1 else Whole(0, "vocab_size").validate(number, name, limits)


_AT_MOST = {"type": "array", "x-maxItems-limit": "max_stop"}
_STOP_SCHEMA = {
    "anyOf": [_STOP_STRING.json_schema(), {**_AT_MOST, "items": _STOP_STRING.json_schema()}]
}
_BIASES = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]{1,18}$"},
    "additionalProperties": _BIAS.json_schema(),
    "maxProperties": MAX_LOGIT_BIASES,
}
_TOP_K_SCHEMA = {"type": "integer", "minimum": -1, "x-maximum-limit": "vocab_size"}

Stop = Annotated[tuple[str, ...], Shaped(_read_stop, _STOP_SCHEMA)]
StopTokenIds = Annotated[
    tuple[int, ...], Shaped(_read_stop_token_ids, {**_AT_MOST, "items": TOKEN_ID_SCHEMA})
]
LogitBias = Annotated[dict[int, float], Shaped(_read_logit_bias, _BIASES)]
TopK = Annotated[int, Shaped(_read_top_k, _TOP_K_SCHEMA)]
