"""``POST /v1/score``: how likely a text is, as a whole and token by token."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, request

from service.api.intake import take_request
from service.engine.request import ALL_AT_ONCE, Job
from service.front import Front
from service.job_run import JobResult, run_jobs
from service.new_id import new_id
from service.peer import Peer
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts
from service.protocol.completions import Usage
from service.protocol.prompt import Prompt
from service.protocol.score import ScoreAnswer, ScoreData, ScoreLogprobs, ScoreRequest
from service.recurrent_state import Snapshot
from service.request_record import current_record
from service.request_states import RequestStates, open_states, request_states, snapshot_after
from service.served_model import ServedModel
from service.token_logprobs import LOWEST_LOGPROB, TokenLogprobs
from service.words.text_score import score_text


def score_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("score", __name__)

    @blueprint.post("/v1/score", provide_automatic_options=False)
    def score() -> Response:
        model, body = take_request(front, ScoreRequest)
        model.check_room(len(body.input), "input")
        texts = _texts(model, body)
        states = request_states(front, model)
        for text, snapshot in zip(texts, open_states(states, body.state, len(texts)), strict=True):
            text.go_on_from(snapshot)
        answer_id = new_id("score")
        jobs = [_job(model, body, text, f"{answer_id}-{i}") for i, text in enumerate(texts)]
        results = run_jobs(model, jobs, Peer(request.environ))
        total = sum(len(job.prompt_token_ids) for job in jobs)
        current_record().note_usage(total, 0)
        answer = ScoreAnswer(
            id=answer_id,
            object="score",
            created=int(time.time()),
            model=model.id,
            system_fingerprint=model.fingerprint,
            data=[
                _data(
                    index,
                    text,
                    result,
                    _per_token(model, text, result) if body.per_token else None,
                    _state_fields(states, text, result),
                )
                for index, (text, result) in enumerate(zip(texts, results, strict=True))
            ],
            usage=Usage.of(total, num_cached=sum(result.cached_tokens for result in results)),
        )
        return Response(
            answer.model_dump_json(ensure_ascii=True, exclude_unset=True),
            mimetype="application/json",
        )

    return blueprint


@dataclass
class _Text:
    """An input with what conditions it."""

    input: PreparedPrompt
    context: PreparedPrompt
    score_first_token: bool
    before: Snapshot | None = None

    def go_on_from(self, snapshot: Snapshot | None) -> None:
        """The state that the context, or else the input, goes on from."""
        self.before = snapshot
        if not self.context.token_ids:
            self.input.before = snapshot

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All that is read."""
        return (*self.context.token_ids, *self.input.token_ids)

    @property
    def first_scored(self) -> int:
        """Index in the input of the first token that is scored."""
        if self.context.token_ids or self.before is not None:
            return 0
        if self.input.opens_document or not self.score_first_token:
            return min(1, len(self.input.token_ids))
        return 0


def _texts(model: ServedModel, body: ScoreRequest) -> list[_Text]:
    given = body.context.prompts
    contexts = _prepare(model, body, "context", given, [bool(context) for context in given])
    contexts = contexts if body.context.each else contexts * len(body.input)
    opens = [not context.token_ids for context in contexts]
    inputs = _prepare(model, body, "input", body.input, opens)
    return [
        _Text(text, context, body.score_first_token)
        for text, context in zip(inputs, contexts, strict=True)
    ]


def _prepare(
    model: ServedModel,
    body: ScoreRequest,
    name: str,
    texts: Sequence[Prompt],
    opens: Sequence[bool],
) -> list[PreparedPrompt]:
    """``texts``, which the field ``name`` holds; those that ``opens`` may get a start token."""
    prepared = []
    for index, (text, may_begin) in enumerate(zip(texts, opens, strict=True)):
        options = PromptOptions(
            param=name if len(texts) == 1 else f"{name}[{index}]",
            add_special_tokens=body.add_special_tokens and may_begin,
            parse_special=body.parse_special,
        )
        prepared += prepare_prompts(model, [text], options)
    return prepared


def _job(model: ServedModel, body: ScoreRequest, text: _Text, job_id: str) -> Job:
    now = time.monotonic()
    return Job(
        job_id=job_id,
        prompt_token_ids=text.token_ids,
        state=None if text.before is None else text.before.row,
        max_tokens=0,
        tokens_per_event=ALL_AT_ONCE,
        prompt_logprobs=body.top_logprobs if body.per_token else 0,
        prompt_logprobs_from=len(text.context.token_ids) + text.first_scored,
        return_state=body.return_state,
        deadline=now + model.settings.request_timeout_s,
        queue_deadline=now + model.settings.queue_timeout_s,
        client=g.client,
    )


def _state_fields(states: RequestStates, text: _Text, result: JobResult) -> dict[str, Any]:
    assert result.finished is not None
    if result.finished.state is None:
        return {"state": None}
    after = snapshot_after(states, text.before, text.token_ids, result.finished.state)
    return states.fields(after)


def _data(
    index: int,
    text: _Text,
    result: JobResult,
    per_token: ScoreLogprobs | None,
    state: Mapping[str, Any],
) -> ScoreData:
    logprobs = [max(logprob, LOWEST_LOGPROB) for logprob in result.prompt_logprobs]
    scored = _scored_text(text)
    num_bytes = len(scored.encode("utf-8"))
    totals = score_text(logprobs, len(scored), num_bytes)
    return ScoreData(
        index=index,
        **totals._asdict(),
        scored_tokens=len(logprobs),
        characters=len(scored),
        bytes=num_bytes,
        is_greedy=all(rank == 1 for rank in _ranks(result)),
        logprobs=per_token,
        **state,
    )


def _scored_text(text: _Text) -> str:
    """The text of the scored tokens."""
    if text.first_scored == len(text.input.token_ids):
        return ""
    return text.input.echo[text.input.offsets[text.first_scored] :]


def _ranks(result: JobResult) -> list[int]:
    return [rank for part in result.prompt_scored for rank in part.ranks.tolist()]


def _per_token(model: ServedModel, text: _Text, result: JobResult) -> ScoreLogprobs:
    tokenizer = model.tokenizer
    token_ids, first = text.input.token_ids, text.first_scored
    entries = TokenLogprobs()
    for token_id in token_ids[:first]:
        entries.add_unscored(tokenizer, token_id)
    for part in result.prompt_scored:
        start = part.start - len(text.context.token_ids)
        entries.add(tokenizer, token_ids[start:], part.scores)
    return ScoreLogprobs(
        tokens=entries.tokens,
        token_ids=list(token_ids),
        token_logprobs=entries.logprobs,
        top_logprobs=entries.tops,
        text_offset=list(text.input.offsets),
        ranks=[*[None] * first, *_ranks(result)],
    )
