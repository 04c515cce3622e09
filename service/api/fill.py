"""``POST /v1/fill``: the word for a blank that both sides of it support."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flask import Blueprint, Response, g, request

from service.api.intake import take_request
from service.engine.request import ALL_AT_ONCE, Job
from service.front import Front
from service.new_id import new_id
from service.peer import Peer
from service.prompts import PromptOptions, prepare_prompts
from service.protocol.completions import Usage
from service.protocol.fill import FillAnswer, FillEntry, FillRequest
from service.request_record import current_record
from service.served_model import ServedModel
from service.token_logprobs import LOWEST_LOGPROB
from service.tree_run import check_work, run_trees
from service.words.blank import Gap
from service.words.candidates import count_tokens, tokenize_candidates
from service.words.fill import FilledWord, FillQuery, coverage, fill_blank
from service.words.token_tree_plan import TokenTreePlan


def fill_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("fill", __name__)

    @blueprint.post("/v1/fill", provide_automatic_options=False)
    def fill() -> Response:
        model, body = take_request(front, FillRequest)
        model.check_room(1, "text")
        gap = body.gap
        left, right = _sides(model, body, gap)
        query = _query(model, body, gap, right)
        work = fill_blank(model.word_vocabulary, TokenTreePlan(), query)
        answer_id = new_id("fill")
        now = time.monotonic()
        job = Job(
            job_id=answer_id,
            prompt_token_ids=left,
            max_tokens=0,
            tokens_per_event=ALL_AT_ONCE,
            deadline=now + model.settings.request_timeout_s,
            queue_deadline=now + model.settings.queue_timeout_s,
            client=g.client,
        )
        (result,) = run_trees(model, [job], [work], Peer(request.environ))
        words = result.value
        total = len(left) + len(right)
        current_record().note_usage(total, 0)
        answer = FillAnswer(
            id=answer_id,
            object="fill",
            created=int(time.time()),
            model=model.id,
            system_fingerprint=model.fingerprint,
            filled=gap.filled(words[0].text if words else ""),
            pool_size=len(words),
            prior_coverage=coverage(words),
            data=_entries(words[: body.top_n]),
            usage=Usage.of(total, num_cached=result.job.cached_tokens),
        )
        return Response(answer.model_dump_json(ensure_ascii=True), mimetype="application/json")

    return blueprint


def _sides(
    model: ServedModel, body: FillRequest, gap: Gap
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens of the left side, and those of the right side that count."""
    left_name, right_name = ("prefix", "suffix") if body.text is None else ("text", "text")
    (left,) = prepare_prompts(model, [gap.left], PromptOptions(param=left_name))
    (right,) = prepare_prompts(model, [gap.right], PromptOptions(param=right_name))
    return left.token_ids, right.token_ids[: body.max_right_tokens]


def _query(model: ServedModel, body: FillRequest, gap: Gap, right: tuple[int, ...]) -> FillQuery:
    texts = [gap.lead + candidate for candidate in body.candidates]
    candidates = tokenize_candidates(model.tokenizer, texts)
    num_words = len(candidates) or body.pool
    num_tokens = count_tokens(candidates) + num_words * len(right)
    check_work(num_tokens, "candidates" if candidates else "pool")
    return FillQuery(
        lead=gap.lead,
        right=right,
        whole=gap.wants_whole_word,
        pool=body.pool,
        candidates=tuple(candidates),
        state_bytes=4 * model.bundle.config.state_size,
    )


def _entries(words: Sequence[FilledWord]) -> list[FillEntry]:
    return [
        FillEntry(
            rank=rank,
            text=word.text,
            token_ids=list(word.token_ids),
            probability=word.probability,
            prior=word.prior,
            prior_rank=word.prior_rank,
            logprob_left=max(word.logprob_left, LOWEST_LOGPROB),
            logprob_right=max(word.logprob_right, LOWEST_LOGPROB),
            logprob=max(word.logprob, LOWEST_LOGPROB),
        )
        for rank, word in enumerate(words, start=1)
    ]
