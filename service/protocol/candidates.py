"""Fields that list candidates: texts, or lists of token ids, to be compared with each other."""

from __future__ import annotations

from typing import Annotated

from service.protocol.fields import Limits, Shaped, refuse, refuse_type
from service.protocol.prompt import ONE_TOKEN_IDS_SCHEMA, Prompt, read_token_ids

_MAX_CHARACTERS = 1024


def _read_list(value: object, name: str, limits: Limits) -> list[object]:
    if not isinstance(value, list):
        raise refuse_type(name, "a list", value)
    if len(value) > limits["max_candidates"]:
        raise refuse(
            "invalid_value",
            f"{name} must hold at most {limits['max_candidates']} entries, not {len(value)}",
            name,
        )
    return value


def _read_text(item: object, name: str) -> str:
    if not isinstance(item, str):
        raise refuse_type(name, "a string", item)
    if not 1 <= len(item) <= _MAX_CHARACTERS:
        raise refuse(
            "invalid_value",
            f"{name} must have 1 to {_MAX_CHARACTERS} characters, not {len(item)}",
            name,
        )
    return item


def _read_candidate(item: object, name: str, limits: Limits) -> Prompt:
    if not isinstance(item, list):
        return _read_text(item, name)
    if not item:
        raise refuse("invalid_value", f"{name} must hold at least one token id, not []", name)
    return read_token_ids(item, name, limits)


def _read_candidates(value: object, name: str, limits: Limits) -> tuple[Prompt, ...]:
    return tuple(
        _read_candidate(item, f"{name}[{index}]", limits)
        for index, item in enumerate(_read_list(value, name, limits))
    )


def _read_texts(value: object, name: str, limits: Limits) -> tuple[str, ...]:
    return tuple(
        _read_text(item, f"{name}[{index}]")
        for index, item in enumerate(_read_list(value, name, limits))
    )


_TEXT = {"type": "string", "minLength": 1, "maxLength": _MAX_CHARACTERS}

#: Texts and lists of token ids.
Candidates = Annotated[
    tuple[Prompt, ...],
    Shaped(
        _read_candidates,
        {
            "type": "array",
            "items": {"anyOf": [_TEXT, ONE_TOKEN_IDS_SCHEMA]},
            "x-maxItems-limit": "max_candidates",
        },
    ),
]
#: Texts only.
CandidateTexts = Annotated[
    tuple[str, ...],
    Shaped(_read_texts, {"type": "array", "items": _TEXT, "x-maxItems-limit": "max_candidates"}),
]
