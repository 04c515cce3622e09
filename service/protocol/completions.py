"""``POST /v1/completions``: the request and the answer, plain and streamed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from service.protocol.fields import Boolean, Real, String, Text, Whole, refuse
from service.protocol.parse import Request
from service.protocol.prompt import Prompts, States, Truncation, check_states
from service.protocol.sampling_fields import LogitBias, Stop, StopTokenIds, TopK
from service.protocol.stream_options import StreamOptionsField

#: With a ``suffix`` at least so many candidates are generated.
MIN_SUFFIX_CANDIDATES = 8

Share = Annotated[float, Real(0, 1)]


class CompletionRequest(Request):
    """Which text to go on with, and how; extensions of OpenAI's fields come after ``user``."""

    model: String | None = None
    prompt: Prompts = Field(default=("",), json_schema_extra={"default": ""})
    max_tokens: Annotated[int, Whole(0, "max_tokens")] = 16
    temperature: Annotated[float, Real(0, 2)] = 1.0
    top_p: Share = 1.0
    n: Annotated[int, Whole(1, "max_n")] = 1
    best_of: Annotated[int, Whole(1, "max_n")] | None = None
    stream: Boolean = False
    stream_options: StreamOptionsField | None = None
    logprobs: Annotated[int, Whole(0, "max_logprobs")] | None = None
    echo: Boolean = False
    stop: Stop = ()
    suffix: String | None = None
    presence_penalty: Annotated[float, Real(-2, 2)] = 0.0
    frequency_penalty: Annotated[float, Real(-2, 2)] = 0.0
    logit_bias: LogitBias = Field(default_factory=dict, json_schema_extra={"default": {}})
    seed: Annotated[int, Whole(-(2**63), 2**63 - 1)] | None = None
    user: Annotated[str, Text(0, 256)] | None = None
    top_k: TopK = 0
    min_p: Share = 0.0
    typical_p: Share = 1.0
    repetition_penalty: Annotated[float, Real(0.1, 10)] = 1.0
    min_tokens: Annotated[int, Whole(0, "max_tokens")] = 0
    ignore_eos: Boolean = False
    stop_token_ids: StopTokenIds = ()
    include_stop_str_in_output: Boolean = False
    truncate_prompt_tokens: Truncation | None = None
    add_special_tokens: Boolean = False
    parse_special: Boolean = True
    skip_special_tokens: Boolean = True
    return_token_ids: Boolean = False
    return_state: Boolean = False
    state: States | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise refuse(
                "invalid_value",
                f"best_of must be at least n, which is {self.n}, not {self.best_of}",
                "best_of",
            )
        if self.stream_options is not None and not self.stream:
            raise refuse(
                "invalid_value", "stream_options needs stream to be true", "stream_options"
            )
        if self.min_tokens > self.max_tokens:
            raise refuse(
                "invalid_value",
                f"min_tokens must be at most max_tokens, which is {self.max_tokens}, "
                f"not {self.min_tokens}",
                "min_tokens",
            )
        if self.stream and (self.best_of or self.n) > self.n:
            raise refuse(
                "invalid_value",
                f"best_of must be n, which is {self.n}, with stream, not {self.best_of}: the best "
                "are known when all are complete",
                "best_of",
            )
        if self.add_special_tokens and self.state is not None:
            raise refuse(
                "invalid_value",
                "add_special_tokens must be false with state, which goes on within a document",
                "add_special_tokens",
            )
        check_states(self.state, len(self.prompt))
        return self

    @property
    def num_candidates(self) -> int:
        """How many are generated for each prompt."""
        num_candidates = self.best_of or self.n
        return max(num_candidates, MIN_SUFFIX_CANDIDATES) if self.suffix else num_candidates

    @property
    def is_ranked(self) -> bool:
        """Whether the choices are the best of the candidates, known when all are complete."""
        return bool(self.suffix) or self.num_candidates > self.n


class PromptTokensDetails(BaseModel):
    """Of the prompt tokens: ``cached_tokens`` had been read before and were not read again."""

    cached_tokens: int


class Usage(BaseModel):
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, num_prompt: int, num_completion: int = 0, *, num_cached: int) -> Self:
        """The usage of so many prompt tokens, some of them cached, and so many sampled."""
        return cls(
            prompt_tokens=num_prompt,
            completion_tokens=num_completion,
            total_tokens=num_prompt + num_completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=num_cached),
        )


class Logprobs(BaseModel):
    """Four arrays of equal length: an entry per prompt token (``echo``), then per sampled token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One completion, or in a stream one more piece of it."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None
    state: str | None = None
    state_tokens: int | None = None
    state_offset: int | None = None


class Completion(BaseModel):
    """The answer. ``usage`` is absent from stream events unless asked for."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    seed: int
    choices: list[CompletionChoice]
    usage: Usage | None = None
