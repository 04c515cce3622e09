"""``POST /v1/embeddings``: texts as vectors, from the last layer's hidden states."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence

import numpy as np
from flask import Blueprint, Response, g, request
from numpy.typing import NDArray

from model.config import ModelConfig
from model.state import FloatArray, RecurrentState
from service.api.intake import take_request
from service.engine.request import ALL_AT_ONCE, Job
from service.errors import ApiError
from service.front import Front
from service.job_run import run_jobs
from service.new_id import new_id
from service.peer import Peer
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts
from service.protocol.embeddings import (
    Embedding,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbeddingsUsage,
)
from service.request_record import current_record
from service.served_model import ServedModel
from service.tree_run import run_trees
from service.words.token_tree_plan import TokenTreePlan, sum_hidden


def embeddings_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("embeddings", __name__)

    @blueprint.post("/v1/embeddings", provide_automatic_options=False)
    def create_embeddings() -> Response:
        model, body = take_request(front, EmbeddingsRequest)
        _check_dimensions(model, body)
        model.check_room(len(body.input), "input")
        prompts = prepare_prompts(model, body.input, PromptOptions(param="input"))
        vectors = _pooled(model, prompts) if body.pooling == "mean" else _last(model, prompts)
        data = [
            Embedding(
                object="embedding",
                index=index,
                embedding=_encoded(_unit(vector) if body.normalize else vector, body),
            )
            for index, vector in enumerate(vectors)
        ]
        total = sum(len(prompt.token_ids) for prompt in prompts)
        current_record().note_usage(total, 0)
        answer = EmbeddingsAnswer(
            object="list",
            data=data,
            model=model.id,
            usage=EmbeddingsUsage(prompt_tokens=total, total_tokens=total),
        )
        return Response(answer.model_dump_json(ensure_ascii=True), mimetype="application/json")

    return blueprint


def _check_dimensions(model: ServedModel, body: EmbeddingsRequest) -> None:
    native = model.bundle.config.hidden_size
    if body.dimensions not in (None, native):
        raise ApiError(
            "invalid_value",
            f"dimensions must be null or {native}, the size of this model's vectors, "
            f"not {body.dimensions}",
            param="dimensions",
        )


def _pooled(model: ServedModel, prompts: Sequence[PreparedPrompt]) -> list[NDArray[np.float64]]:
    """The mean of the hidden states after each token."""
    jobs = [_job(model, index, (), return_state=False) for index in range(len(prompts))]
    works = [sum_hidden(TokenTreePlan(), prompt.token_ids) for prompt in prompts]
    results = run_trees(model, jobs, works, Peer(request.environ))
    return [
        result.value / len(prompt.token_ids)
        for result, prompt in zip(results, prompts, strict=True)
    ]


def _last(model: ServedModel, prompts: Sequence[PreparedPrompt]) -> list[NDArray[np.float64]]:
    """The hidden state after the last token."""
    jobs = [
        _job(model, index, prompt.token_ids, return_state=True)
        for index, prompt in enumerate(prompts)
    ]
    vectors = []
    for result in run_jobs(model, jobs, Peer(request.environ)):
        assert result.finished is not None and result.finished.state is not None
        row = np.frombuffer(result.finished.state, np.float32)
        vectors.append(last_hidden(row, model.bundle.config).astype(np.float64))
    return vectors


def last_hidden(row: FloatArray, config: ModelConfig) -> FloatArray:
    """The last layer's hidden state [hidden] in a state ``row`` [state_size]."""
    (hidden,) = RecurrentState(config, row[None]).hidden(config.num_layers - 1)
    return np.asarray(hidden)


def _job(model: ServedModel, index: int, token_ids: tuple[int, ...], *, return_state: bool) -> Job:
    now = time.monotonic()
    return Job(
        job_id=f"{new_id('embd')}-{index}",
        prompt_token_ids=token_ids,
        max_tokens=0,
        tokens_per_event=ALL_AT_ONCE,
        return_state=return_state,
        deadline=now + model.settings.request_timeout_s,
        queue_deadline=now + model.settings.queue_timeout_s,
        client=g.client,
    )


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """``vector`` at length 1; a vector of zeros stays as it is."""
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def _encoded(vector: NDArray[np.float64], body: EmbeddingsRequest) -> list[float] | str:
    values = vector.astype("<f4")
    if body.encoding_format == "base64":
        return base64.b64encode(values.tobytes()).decode("ascii")
    numbers: list[float] = values.tolist()
    return numbers
