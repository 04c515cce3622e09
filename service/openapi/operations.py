"""Every operation of the API, in the order of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from service.protocol.admin import AdminModelList, Reload, ReloadRequest
from service.protocol.completions import Completion, CompletionRequest
from service.protocol.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from service.protocol.explain import ExplainAnswer, ExplainRequest
from service.protocol.fill import FillAnswer, FillRequest
from service.protocol.next_tokens import NextAnswer, NextRequest
from service.protocol.parse import Request
from service.protocol.score import ScoreAnswer, ScoreRequest
from service.protocol.service_answers import Health, Model, ModelList, Ready, Version
from service.protocol.tokenizer import (
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeRequest,
    TokenizerInfo,
)

Key = Literal["api", "admin", None]


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        id: unique; ``operationId``.
        method: in lower case.
        path: with ``{name}`` for what varies.
        summary: one sentence.
        answer: of status 200: a shape, or the media type of what is no JSON.
        request: shape of the body, if there is one.
        body_required: whether the body may be absent.
        streams: whether the answer may be a stream of events, each an answer object.
        key: which key it asks for, where keys are configured.
        query: parameters after the ``?``, all strings and optional, with what they mean.
        path_parameter: what ``{name}`` stands for.
    """

    id: str
    method: Literal["get", "post"]
    path: str
    summary: str
    answer: type[BaseModel] | str
    request: type[Request] | None = None
    body_required: bool = True
    streams: bool = False
    key: Key = None
    query: tuple[tuple[str, str], ...] = ()
    path_parameter: tuple[str, str] | None = None


def _post(
    operation_id: str,
    path: str,
    summary: str,
    request: type[Request],
    answer: type[BaseModel],
    *,
    streams: bool = False,
) -> Operation:
    return Operation(
        operation_id, "post", path, summary, answer, request, streams=streams, key="api"
    )


_MODEL_QUERY = (("model", "which model; by default the first listed"),)

#: The tokenizer's operations have two paths each: under ``/v1``, and where clients look for them.
_TOKENIZER = tuple(
    operation
    for prefix, suffix in (("/v1", ""), ("", "AtRoot"))
    for operation in (
        _post(
            f"tokenize{suffix}",
            f"{prefix}/tokenize",
            "Text to token ids.",
            TokenizeRequest,
            TokenizeAnswer,
        ),
        _post(
            f"detokenize{suffix}",
            f"{prefix}/detokenize",
            "Token ids to text.",
            DetokenizeRequest,
            DetokenizeAnswer,
        ),
        Operation(
            f"getTokenizerInfo{suffix}",
            "get",
            f"{prefix}/tokenizer_info",
            "Kind, size and special tokens of the tokenizer.",
            TokenizerInfo,
            key="api",
            query=_MODEL_QUERY,
        ),
    )
)

OPERATIONS: tuple[Operation, ...] = (
    _post(
        "createCompletion",
        "/v1/completions",
        "Goes on with a text.",
        CompletionRequest,
        Completion,
        streams=True,
    ),
    _post(
        "predictNext",
        "/v1/next",
        "The likeliest next tokens or words.",
        NextRequest,
        NextAnswer,
    ),
    _post("scoreText", "/v1/score", "How likely a text is.", ScoreRequest, ScoreAnswer),
    _post(
        "fillBlank",
        "/v1/fill",
        "The words that fit a blank, by what stands on both sides.",
        FillRequest,
        FillAnswer,
    ),
    _post(
        "explainPrediction",
        "/v1/explain",
        "Which earlier words made the model expect what it does.",
        ExplainRequest,
        ExplainAnswer,
    ),
    _post(
        "createEmbedding",
        "/v1/embeddings",
        "Texts as vectors: the last layer's hidden state.",
        EmbeddingsRequest,
        EmbeddingsAnswer,
    ),
    *_TOKENIZER,
    Operation("listModels", "get", "/v1/models", "The models served.", ModelList, key="api"),
    Operation(
        "getModel",
        "get",
        "/v1/models/{name}",
        "One model served.",
        Model,
        key="api",
        path_parameter=("name", "the model's id"),
    ),
    Operation("getHealth", "get", "/health", "Whether the process lives.", Health),
    Operation("getReady", "get", "/ready", "Whether the service takes work.", Ready),
    Operation("getVersion", "get", "/version", "Versions of program, API and model.", Version),
    Operation(
        "getMetrics",
        "get",
        "/metrics",
        "Metrics, summed over workers.",
        "text/plain; version=0.0.4",
    ),
    Operation("getOpenApi", "get", "/openapi.json", "This document.", "application/json"),
    Operation("getReference", "get", "/docs", "This document as a page.", "text/html"),
    Operation("getIndex", "get", "/", "A page that names the endpoints.", "text/html"),
    Operation(
        "listAdminModels",
        "get",
        "/admin/models",
        "Every version of every model on disk.",
        AdminModelList,
        key="admin",
    ),
    Operation(
        "reloadModel",
        "post",
        "/admin/reload",
        "Goes over to another version of a model, without a pause.",
        Reload,
        ReloadRequest,
        body_required=False,
        key="admin",
    ),
)
