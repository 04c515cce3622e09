"""``POST /v1/next``: the most likely next tokens, and how well the prompt itself was predicted."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence

from flask import Blueprint, Response, request

from model.sampling import SamplingParams
from model.tokenizers.tokenizer import Tokenizer
from service.api.intake import take_request
from service.engine.request import Job, NextTokens
from service.front import Front
from service.job_run import JobResult, run_jobs
from service.peer import Peer
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts
from service.protocol.completions import Usage
from service.protocol.next_tokens import NextAnswer, NextData, NextEntry, NextRequest
from service.served_model import ServedModel
from service.token_logprobs import LOWEST_LOGPROB

#: Beyond it exp overflows; a perplexity of 1e300 says as much as one of 1e301.
_MAX_NATS = 690.0


def next_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("next", __name__)

    @blueprint.post("/v1/next", provide_automatic_options=False)
    def predict_next() -> Response:
        model, body = take_request(front, NextRequest)
        model.check_room(len(body.prompt))
        prompts = prepare_prompts(model, body.prompt, PromptOptions())
        answer_id = f"next-{uuid.uuid4().hex}"
        jobs = _jobs(model, body, prompts, answer_id, request.remote_addr or "unknown")
        results = run_jobs(model, jobs, Peer(request.environ))
        answer = NextAnswer(
            id=answer_id,
            object="next",
            created=int(time.time()),
            model=model.id,
            system_fingerprint=model.fingerprint,
            data=[_data(index, result, model.tokenizer) for index, result in enumerate(results)],
            usage=_usage(prompts),
        )
        return Response(answer.model_dump_json(ensure_ascii=True), mimetype="application/json")

    return blueprint


def _jobs(
    model: ServedModel,
    body: NextRequest,
    prompts: Sequence[PreparedPrompt],
    answer_id: str,
    client: str,
) -> list[Job]:
    now = time.monotonic()
    return [
        Job(
            job_id=f"{answer_id}-{index}",
            prompt_token_ids=prompt.token_ids,
            max_tokens=0,
            sampling=SamplingParams(temperature=body.temperature),
            prompt_logprobs=0,
            prompt_logprobs_from=1,
            next_top_k=min(body.top_k, model.tokenizer.vocab_size),
            deadline=now + model.settings.request_timeout_s,
            queue_deadline=now + model.settings.queue_timeout_s,
            client=client,
        )
        for index, prompt in enumerate(prompts)
    ]


def _data(index: int, result: JobResult, tokenizer: Tokenizer) -> NextData:
    assert result.finished is not None and result.finished.next is not None
    top = _top(result.finished.next, tokenizer)
    logprobs = result.prompt_logprobs
    total = math.fsum(logprobs)
    nats = -total / len(logprobs) if logprobs else None
    return NextData(
        index=index,
        top=top,
        coverage=math.fsum(entry.probability for entry in top),
        entropy=result.finished.next.entropy_bits,
        perplexity=None if nats is None else math.exp(min(nats, _MAX_NATS)),
        prompt_logprob=total,
        candidates=None,
        state=None,
    )


def _top(distribution: NextTokens, tokenizer: Tokenizer) -> list[NextEntry]:
    entries = []
    pairs = zip(distribution.token_ids.tolist(), distribution.logprobs.tolist(), strict=True)
    for token_id, logprob in pairs:
        shown = max(logprob, LOWEST_LOGPROB)
        entries.append(
            NextEntry(
                text=tokenizer.token_text(token_id),
                token_id=token_id,
                token_ids=[token_id],
                probability=math.exp(shown),
                logprob=shown,
            )
        )
    return entries


def _usage(prompts: Sequence[PreparedPrompt]) -> Usage:
    total = sum(len(prompt.token_ids) for prompt in prompts)
    return Usage(prompt_tokens=total, completion_tokens=0, total_tokens=total)
