"""Answers of the endpoints that take no body, and the error envelope."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class TokenizerSummary(BaseModel):
    """Kind and size of a model's tokenizer."""

    kind: Literal["char", "word", "bpe"]
    vocab_size: int


class Model(BaseModel):
    """A model served; ``max_model_len`` is policy, for a recurrent model has no window."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    object: Literal["model"]
    created: int
    owned_by: str
    version: str
    max_model_len: int
    tokenizer: TokenizerSummary
    embedding_dimensions: int
    state_bytes: int
    limits: dict[str, float]


class ModelList(BaseModel):
    """All models served; the first is the default."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Every engine takes work; sequences that run and wait."""

    status: Literal["ready"]
    model: str
    version: str
    running: int
    waiting: int


class Version(BaseModel):
    """Versions of program, API and default model."""

    version: str
    api: Literal["1"]
    model: str
    model_version: str
    system_fingerprint: str = Field(pattern=r"^fp_[0-9a-f]{12}$")


class ErrorDetail(BaseModel):
    """What was wrong, with which field."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(BaseModel):
    """Every answer that is not 2xx."""

    error: ErrorDetail
