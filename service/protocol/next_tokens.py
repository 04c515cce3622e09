"""``POST /v1/next``: what comes next; the request and the answer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from service.protocol.candidates import Candidates
from service.protocol.completions import Usage
from service.protocol.fields import (
    Boolean,
    Limits,
    OneOf,
    Shaped,
    String,
    Whole,
    finite_number,
    refuse,
)
from service.protocol.parse import Request
from service.protocol.prompt import Prompts, States, check_states

#: Below it all probability lies on the most likely token anyway, and quotients would overflow.
_MIN_TEMPERATURE = 1e-6


def _read_temperature(value: object, name: str, limits: Limits) -> float:
    number = finite_number(value, name)
    if not 0 < number <= 2:
        raise refuse("invalid_value", f"{name} must be above 0 and at most 2, not {number}", name)
    return max(number, _MIN_TEMPERATURE)


PositiveTemperature = Annotated[
    float,
    Shaped(_read_temperature, {"type": "number", "exclusiveMinimum": 0, "maximum": 2}),
]


class NextRequest(Request):
    """Prompts, and what may come next.

    The tokens of all ``candidates`` times the prompts may be 4,194,304 at most.
    """

    model: String | None = None
    prompt: Prompts = Field(default=("",), json_schema_extra={"default": ""})
    state: States | None = None
    return_state: Boolean = False
    top_k: Annotated[int, Whole(1, "max_top_k")] = 10
    unit: Annotated[Literal["token", "word"], OneOf(("token", "word"))] = "token"
    temperature: PositiveTemperature = 1.0
    candidates: Candidates = ()

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        check_states(self.state, len(self.prompt))
        return self


class NextEntry(BaseModel):
    """One thing that may come next."""

    text: str
    token_id: int | None
    token_ids: list[int]
    probability: float
    logprob: float


class NextCandidate(BaseModel):
    """One text that was asked about; ``share`` is its part among all of them, ``rank`` from 1."""

    index: int
    text: str
    token_ids: list[int]
    logprob: float
    probability: float
    share: float
    rank: int


class NextData(BaseModel):
    """What comes next after one prompt; ``state_tokens`` and ``state_offset`` go with a state.

    ``coverage`` is the sum of the probabilities in ``top``; ``entropy`` is of the whole next-token
    distribution, in bits; ``perplexity`` and ``prompt_logprob`` are of the prompt tokens after the
    first.
    """

    index: int
    top: list[NextEntry]
    coverage: float
    entropy: float
    perplexity: float | None
    prompt_logprob: float
    candidates: list[NextCandidate] | None
    state: str | None = None
    state_tokens: int | None = None
    state_offset: int | None = None


class NextAnswer(BaseModel):
    """The answer, one entry of ``data`` for each prompt."""

    id: str
    object: Literal["next"] = "next"
    created: int
    model: str
    system_fingerprint: str
    data: list[NextData]
    usage: Usage
