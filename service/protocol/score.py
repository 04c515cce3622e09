"""``POST /v1/score``: how likely a text is; the request and the answer."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

from service.protocol.completions import Usage
from service.protocol.fields import Boolean, Limits, Shaped, String, Whole, refuse
from service.protocol.parse import Request
from service.protocol.prompt import (
    PROMPT_SCHEMA,
    Prompt,
    Prompts,
    States,
    check_states,
    read_prompts,
)


class Contexts(NamedTuple):
    """What conditions the inputs: one text for all of them, or ``each`` has one."""

    prompts: tuple[Prompt, ...] = ("",)
    each: bool = False


def _read_contexts(value: object, name: str, limits: Limits) -> Contexts:
    if value == []:
        return Contexts()
    each = isinstance(value, list) and isinstance(value[0], str | list)
    return Contexts(read_prompts(value, name, limits), each)


#: ``[]`` is none.
_CONTEXT_SCHEMA = {"anyOf": [*PROMPT_SCHEMA["anyOf"], {"type": "array", "maxItems": 0}]}


class ScoreRequest(Request):
    """Texts to be scored, each in its context."""

    model: String | None = None
    input: Prompts
    context: Annotated[Contexts, Shaped(_read_contexts, _CONTEXT_SCHEMA)] = Field(
        default=Contexts(), json_schema_extra={"default": ""}
    )
    score_first_token: Boolean = False
    top_logprobs: Annotated[int, Whole(0, "max_logprobs")] = 0
    per_token: Boolean = True
    state: States | None = None
    return_state: Boolean = False
    add_special_tokens: Boolean = False
    parse_special: Boolean = True

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        num_contexts = len(self.context.prompts)
        if self.context.each and num_contexts != len(self.input):
            raise refuse(
                "invalid_value",
                f"context must be one text or a list with one for each of the {len(self.input)} "
                f"inputs, not {num_contexts}",
                "context",
            )
        if self.add_special_tokens and self.state is not None:
            raise refuse(
                "invalid_value",
                "add_special_tokens must be false with state, which goes on within a document",
                "add_special_tokens",
            )
        check_states(self.state, len(self.input))
        return self


class ScoreLogprobs(BaseModel):
    """Arrays of equal length, an entry for each token of the input; null where it is unscored."""

    tokens: list[str]
    token_ids: list[int]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    ranks: list[int | None]


class ScoreData(BaseModel):
    """How likely one input is; all but ``logprobs`` is over the tokens that are scored."""

    index: int
    total_logprob: float
    mean_logprob: float | None
    scored_tokens: int
    perplexity: float | None
    bits_per_token: float | None
    characters: int
    bytes: int
    bits_per_character: float | None
    bits_per_byte: float | None
    is_greedy: bool
    logprobs: ScoreLogprobs | None
    state: str | None
    state_tokens: int | None = None
    state_offset: int | None = None


class ScoreAnswer(BaseModel):
    """The answer, one entry of ``data`` for each input."""

    id: str
    object: Literal["score"] = "score"
    created: int
    model: str
    system_fingerprint: str
    data: list[ScoreData]
    usage: Usage
