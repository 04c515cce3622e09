"""``POST /v1/explain``: which earlier words made the model expect this one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from itertools import count

from flask import Blueprint, Response, g, request

from service.api.intake import take_request
from service.engine.request import ALL_AT_ONCE, Job
from service.errors import ApiError
from service.front import Front
from service.new_id import new_id
from service.peer import Peer
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts
from service.protocol.completions import Usage
from service.protocol.explain import (
    Contribution,
    ExplainAnswer,
    ExplainRequest,
    ExplainTarget,
)
from service.request_record import current_record
from service.served_model import ServedModel
from service.token_logprobs import LOWEST_LOGPROB
from service.tree_run import check_work, run_trees
from service.words.candidates import Candidate, tokenize_candidates
from service.words.leave_one_out import (
    DividedPrompt,
    LeaveOneOut,
    Unit,
    divide_tokens,
    divide_words,
    leave_one_out,
)
from service.words.search import WordQuery, find_words
from service.words.token_tree_plan import ResultT, TokenTreePlan, TreeWork, likeliest_token


def explain_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("explain", __name__)

    @blueprint.post("/v1/explain", provide_automatic_options=False)
    def explain() -> Response:
        model, body = take_request(front, ExplainRequest)
        model.check_room(1, "prompt")
        (prompt,) = prepare_prompts(model, [body.prompt], PromptOptions())
        given = _target(model, body)
        divided = _divided(model, body, prompt)
        runner = _Runner(model)
        target = given or _likeliest(runner, body, prompt)
        work = leave_one_out(TokenTreePlan(), divided, target.token_ids)
        result = runner.run(divided.shared, work)
        total = len(prompt.token_ids)
        current_record().note_usage(total, 0)
        answer = ExplainAnswer(
            id=runner.answer_id,
            object="explanation",
            created=int(time.time()),
            model=model.id,
            system_fingerprint=model.fingerprint,
            target=ExplainTarget(
                text=target.text,
                token_ids=list(target.token_ids),
                logprob=max(result.logprob, LOWEST_LOGPROB),
                probability=math.exp(max(result.logprob, LOWEST_LOGPROB)),
            ),
            unit=body.unit,
            method=body.method,
            contributions=_contributions(divided.units, result),
            ranking=result.ranking,
            usage=Usage.of(total, num_cached=runner.cached_tokens),
        )
        return Response(answer.model_dump_json(ensure_ascii=True), mimetype="application/json")

    return blueprint


class _Runner:
    """Runs the jobs of one request, one after the other, within its time.

    Attributes:
        cached_tokens: of the prompt of the first, those that were not read again.
    """

    def __init__(self, model: ServedModel) -> None:
        self.cached_tokens = 0
        self.answer_id = new_id("expl")
        self.model = model
        self._peer = Peer(request.environ)
        self._numbers = count()
        self._deadline = time.monotonic() + model.settings.request_timeout_s

    def run(self, prompt: tuple[int, ...], work: TreeWork[ResultT]) -> ResultT:
        """What ``work`` on the tree behind ``prompt`` ends with."""
        number = next(self._numbers)
        job = Job(
            job_id=f"{self.answer_id}-{number}",
            prompt_token_ids=prompt,
            max_tokens=0,
            tokens_per_event=ALL_AT_ONCE,
            deadline=self._deadline,
            queue_deadline=time.monotonic() + self.model.settings.queue_timeout_s,
            client=g.client,
        )
        (result,) = run_trees(self.model, [job], [work], self._peer)
        if number == 0:
            self.cached_tokens = result.job.cached_tokens
        return result.value


def _target(model: ServedModel, body: ExplainRequest) -> Candidate | None:
    if body.target is None:
        return None
    prepare_prompts(model, [body.target], PromptOptions(param="target"))
    (target,) = tokenize_candidates(model.tokenizer, [body.target])
    return target


def _likeliest(runner: _Runner, body: ExplainRequest, prompt: PreparedPrompt) -> Candidate:
    """The most likely next unit."""
    model = runner.model
    if body.unit == "token":
        token_id = runner.run(prompt.token_ids, likeliest_token(TokenTreePlan()))
        return Candidate(model.tokenizer.token_text(token_id), (token_id,))
    query = WordQuery(count=1, state_bytes=4 * model.bundle.config.state_size)
    work = find_words(model.word_vocabulary, TokenTreePlan(), query)
    words = runner.run(prompt.token_ids, work)
    if not words:
        raise ApiError(
            "invalid_value",
            "the model expects no word after this prompt; say which target to explain",
            param="target",
        )
    return Candidate(words[0].text, words[0].token_ids)


def _divided(model: ServedModel, body: ExplainRequest, prompt: PreparedPrompt) -> DividedPrompt:
    if body.unit == "word":
        return divide_words(
            model.tokenizer,
            prompt.echo,
            prompt.token_ids,
            body.max_units,
            partial(check_work, param="max_units"),
        )
    return divide_tokens(
        model.tokenizer, prompt.token_ids, prompt.offsets, len(prompt.echo), body.max_units
    )


def _contributions(units: Sequence[Unit], result: LeaveOneOut) -> list[Contribution]:
    rows = zip(units, result.without, result.deltas, result.shares, strict=True)
    return [
        Contribution(
            index=index,
            text=unit.text,
            start=unit.start,
            end=unit.end,
            logprob_without=max(logprob, LOWEST_LOGPROB),
            delta=delta,
            share=share,
        )
        for index, (unit, logprob, delta, share) in enumerate(rows)
    ]
