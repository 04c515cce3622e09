"""``POST /v1/embeddings``: texts as vectors; the request and the answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from service.protocol.fields import Boolean, Limits, OneOf, Shaped, String, Text, Whole, refuse
from service.protocol.parse import Request
from service.protocol.prompt import NON_EMPTY_PROMPT_SCHEMA, Prompt, read_prompts


def _read_input(value: object, name: str, limits: Limits) -> tuple[Prompt, ...]:
    prompts = read_prompts(value, name, limits)
    for index, prompt in enumerate(prompts):
        if not prompt:
            param = name if value == "" else f"{name}[{index}]"
            raise refuse("invalid_value", f"{param} must not be empty", param)
    return prompts


class EmbeddingsRequest(Request):
    """Texts to be vectors; extensions of OpenAI's fields come after ``user``."""

    model: String | None = None
    input: Annotated[tuple[Prompt, ...], Shaped(_read_input, NON_EMPTY_PROMPT_SCHEMA)]
    encoding_format: Annotated[Literal["float", "base64"], OneOf(("float", "base64"))] = "float"
    dimensions: Annotated[int, Whole(1, 2**31 - 1)] | None = None
    user: Annotated[str, Text(0, 256)] | None = None
    pooling: Annotated[Literal["mean", "last"], OneOf(("mean", "last"))] = "mean"
    normalize: Boolean = True


class EmbeddingsUsage(BaseModel):
    """Token counts of one request."""

    prompt_tokens: int
    total_tokens: int


class Embedding(BaseModel):
    """One input as a vector: numbers, or in base64 their bytes as little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """The answer, one entry of ``data`` for each input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
