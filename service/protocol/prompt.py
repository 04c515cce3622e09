"""The forms of ``prompt`` and of every field that takes text or token ids: four shapes, one result.

Also what goes with a prompt: how much of it to keep, and the state it continues from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic_core import PydanticCustomError

from service.errors import shown
from service.protocol.fields import Limits, Shaped, refuse, refuse_type, whole_number

#: One prompt: text, or token ids of the vocabulary.
Prompt = str | tuple[int, ...]

_STRING = {"type": "string"}
_TEXT = {"type": "string", "minLength": 1}
_SEVERAL = {"type": "array", "minItems": 1, "x-maxItems-limit": "max_prompts"}

TOKEN_ID_SCHEMA = {"type": "integer", "minimum": 0, "x-maximum-limit": "last_token_id"}
TOKEN_IDS_SCHEMA = {"type": "array", "items": TOKEN_ID_SCHEMA}
#: Of a list that stands for one prompt; ``[]`` is none.
ONE_TOKEN_IDS_SCHEMA = {**TOKEN_IDS_SCHEMA, "minItems": 1}

PROMPT_SCHEMA = {
    "anyOf": [
        _STRING,
        {**_SEVERAL, "items": _STRING},
        ONE_TOKEN_IDS_SCHEMA,
        {**_SEVERAL, "items": TOKEN_IDS_SCHEMA},
    ]
}
#: The same where no prompt may be empty.
NON_EMPTY_PROMPT_SCHEMA = {
    "anyOf": [
        _TEXT,
        {**_SEVERAL, "items": _TEXT},
        ONE_TOKEN_IDS_SCHEMA,
        {**_SEVERAL, "items": ONE_TOKEN_IDS_SCHEMA},
    ]
}


def read_prompts(value: object, name: str, limits: Limits) -> tuple[Prompt, ...]:
    """The prompts in a string, a list of strings, a list of ids or a list of lists of ids.

    Refuses an empty list, mixed lists, ids outside the vocabulary and more than ``max_prompts``.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise refuse_type(name, "a string, or a list of strings, token ids or such lists", value)
    if not value:
        raise refuse("invalid_value", f"{name} must hold at least one prompt, not []", name)
    if _is_number(value[0]):
        return (read_token_ids(value, name, limits),)
    if len(value) > limits["max_prompts"]:
        raise refuse(
            "too_many_prompts",
            f"{name} must hold at most {limits['max_prompts']} prompts, not {len(value)}",
            name,
        )
    return tuple(
        _read_item(item, value[0], f"{name}[{index}]", limits) for index, item in enumerate(value)
    )


def _read_item(item: object, first: object, name: str, limits: Limits) -> Prompt:
    """One prompt of a list, of the same form as the list's first."""
    if isinstance(first, list):
        if not isinstance(item, list):
            raise refuse_type(name, "a list of token ids like the first", item)
        return read_token_ids(item, name, limits)
    if not isinstance(item, str):
        expected = "a string like the first" if isinstance(first, str) else "a string or a token id"
        raise refuse_type(name, expected, item)
    return item


def read_token_ids(values: Sequence[Any], name: str, limits: Limits) -> tuple[int, ...]:
    """The ids in a list; refuses what is no id of the vocabulary."""
    vocab_size = limits["vocab_size"]
    if all(type(value) is int and 0 <= value < vocab_size for value in values):
        return tuple(values)
    token_ids = []
    for index, value in enumerate(values):
        param = f"{name}[{index}]"
        if not _is_number(value):
            raise refuse_type(param, "a token id", value)
        token_ids.append(whole_number(value, param))
        if not 0 <= token_ids[-1] < vocab_size:
            raise _outside(param, value, vocab_size)
    return tuple(token_ids)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _outside(param: str, value: object, vocab_size: float) -> PydanticCustomError:
    return refuse(
        "invalid_token_id",
        f"{param} is {shown(value)}, which is no token id; ids are 0 to {vocab_size - 1}",
        param,
    )


def _read_truncation(value: object, name: str, limits: Limits) -> int:
    number = whole_number(value, name)
    if number == -1:
        return int(limits["max_prompt_tokens"])
    if number < 1:
        raise refuse("invalid_value", f"{name} must be -1 or at least 1, not {shown(value)}", name)
    return number


def _read_states(value: object, name: str, limits: Limits) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(state, str) for state in value):
        raise refuse_type(name, "a string or a list of strings", value)
    return tuple(value)


def check_states(states: str | tuple[str, ...] | None, num_prompts: int) -> None:
    """Refuses a list of states that has not one for each of so many prompts."""
    if isinstance(states, tuple) and len(states) != num_prompts:
        raise refuse(
            "invalid_value",
            f"state must be one string, or a list with one for each of the {num_prompts} prompts, "
            f"not {len(states)}",
            "state",
        )


Prompts = Annotated[tuple[Prompt, ...], Shaped(read_prompts, PROMPT_SCHEMA)]
Truncation = Annotated[
    int, Shaped(_read_truncation, {"type": "integer", "minimum": -1, "not": {"const": 0}})
]
States = Annotated[
    str | tuple[str, ...],
    Shaped(_read_states, {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}),
]
