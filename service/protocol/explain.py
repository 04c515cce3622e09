"""``POST /v1/explain``: which parts of a prompt made the model expect this."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from service.protocol.completions import Usage
from service.protocol.fields import Limits, OneOf, Shaped, String, Whole, refuse, refuse_type
from service.protocol.parse import Request
from service.protocol.prompt import ONE_TOKEN_IDS_SCHEMA, Prompt, read_prompts

_PROMPT_SCHEMA = {"anyOf": [{"type": "string"}, ONE_TOKEN_IDS_SCHEMA]}
_TARGET_SCHEMA = {"anyOf": [{"type": "string", "minLength": 1}, ONE_TOKEN_IDS_SCHEMA]}


def _read_prompt(value: object, name: str, limits: Limits) -> Prompt:
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        raise refuse_type(name, "one string or one list of token ids", value)
    (prompt,) = read_prompts(value, name, limits)
    return prompt


def _read_target(value: object, name: str, limits: Limits) -> Prompt:
    prompt = _read_prompt(value, name, limits)
    if not prompt:
        raise refuse("invalid_value", f"{name} must not be empty", name)
    return prompt


class ExplainRequest(Request):
    """A prompt, and what to explain by it.

    What would have to read more than 4,194,304 tokens one by one is refused; ``max_units`` makes
    it less.
    """

    model: String | None = None
    prompt: Annotated[Prompt, Shaped(_read_prompt, _PROMPT_SCHEMA)]
    target: Annotated[Prompt, Shaped(_read_target, _TARGET_SCHEMA)] | None = None
    unit: Annotated[Literal["word", "token"], OneOf(("word", "token"))] = "word"
    method: Annotated[Literal["leave_one_out"], OneOf(("leave_one_out",))] = "leave_one_out"
    max_units: Annotated[int, Whole(1, 512)] = 256


class ExplainTarget(BaseModel):
    """What is explained."""

    text: str
    token_ids: list[int]
    logprob: float
    probability: float


class Contribution(BaseModel):
    """What one unit of the prompt contributed; ``start`` and ``end`` are in characters."""

    index: int
    text: str
    start: int
    end: int
    logprob_without: float
    delta: float
    share: float


class ExplainAnswer(BaseModel):
    """The answer; ``ranking`` holds the ``index`` of the contributions by falling ``delta``."""

    id: str
    object: Literal["explanation"] = "explanation"
    created: int
    model: str
    system_fingerprint: str
    target: ExplainTarget
    unit: Literal["word", "token"]
    method: Literal["leave_one_out"]
    contributions: list[Contribution]
    ranking: list[int]
    usage: Usage
