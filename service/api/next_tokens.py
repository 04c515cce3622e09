"""``POST /v1/next``: the most likely next tokens or words, and what was thought of the prompt."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, request

from model.sampling import SamplingParams
from model.tokenizers.tokenizer import Tokenizer
from service.api.intake import take_request
from service.engine.request import ALL_AT_ONCE, Job, NextTokens
from service.front import Front
from service.job_run import JobResult
from service.new_id import new_id
from service.peer import Peer
from service.prompts import PreparedPrompt, PromptOptions, prepare_prompts
from service.protocol.completions import Usage
from service.protocol.next_tokens import (
    NextAnswer,
    NextCandidate,
    NextData,
    NextEntry,
    NextRequest,
)
from service.recurrent_state import Snapshot
from service.request_states import RequestStates, open_states, request_states, snapshot_after
from service.served_model import ServedModel
from service.token_logprobs import LOWEST_LOGPROB
from service.tree_run import TreeResult, check_work, run_trees
from service.words.candidates import (
    Candidate,
    count_tokens,
    ranks,
    shares,
    tokenize_candidates,
)
from service.words.search import FoundWord, WordQuery, find_words
from service.words.text_score import perplexity
from service.words.token_tree_plan import (
    ROOT,
    Path,
    PathBundle,
    ScoredPath,
    TokenTreePlan,
    TreeWork,
    bundle_paths,
    score_bundles,
)
from service.words.vocabulary import WordVocabulary


def next_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("next", __name__)

    @blueprint.post("/v1/next", provide_automatic_options=False)
    def predict_next() -> Response:
        model, body = take_request(front, NextRequest)
        model.check_room(len(body.prompt), "prompt")
        prompts = prepare_prompts(model, body.prompt, PromptOptions())
        candidates = tokenize_candidates(model.tokenizer, body.candidates)
        check_work(len(prompts) * count_tokens(candidates), "candidates")
        states = request_states(front, model)
        snapshots = open_states(states, body.state, len(prompts))
        answer_id = new_id("next")
        vocabulary = model.word_vocabulary if body.unit == "word" else None
        jobs = _jobs(model, body, prompts, snapshots, answer_id)
        bundles = bundle_paths(Path(ROOT, candidate.token_ids) for candidate in candidates)
        shared = list(bundles) if len(jobs) > 1 else bundles
        works = [_work(model, body, vocabulary, shared) for _ in jobs]
        results = run_trees(model, jobs, works, Peer(request.environ))
        finished = [result.job for result in results]
        entries = _state_entries(states, body, prompts, snapshots, finished)
        answer = NextAnswer(
            id=answer_id,
            object="next",
            created=int(time.time()),
            model=model.id,
            system_fingerprint=model.fingerprint,
            data=[
                _data(index, result, model.tokenizer, candidates, entry)
                for index, (result, entry) in enumerate(zip(results, entries, strict=True))
            ],
            usage=Usage.of(
                sum(len(prompt.token_ids) for prompt in prompts),
                num_cached=sum(result.cached_tokens for result in finished),
            ),
        )
        return Response(_to_json(answer), mimetype="application/json")

    return blueprint


def _jobs(
    model: ServedModel,
    body: NextRequest,
    prompts: Sequence[PreparedPrompt],
    snapshots: Sequence[Snapshot | None],
    answer_id: str,
) -> list[Job]:
    now = time.monotonic()
    return [
        Job(
            job_id=f"{answer_id}-{index}",
            prompt_token_ids=prompt.token_ids,
            state=None if snapshot is None else snapshot.row,
            max_tokens=0,
            tokens_per_event=ALL_AT_ONCE,
            sampling=SamplingParams(temperature=body.temperature),
            prompt_logprobs=0,
            prompt_logprobs_from=1 if snapshot is None else 0,
            next_top_k=min(body.top_k, model.tokenizer.vocab_size),
            return_state=body.return_state,
            deadline=now + model.settings.request_timeout_s,
            queue_deadline=now + model.settings.queue_timeout_s,
            client=g.client,
        )
        for index, (prompt, snapshot) in enumerate(zip(prompts, snapshots, strict=True))
    ]


def _state_entries(
    states: RequestStates,
    body: NextRequest,
    prompts: Sequence[PreparedPrompt],
    snapshots: Sequence[Snapshot | None],
    results: Sequence[JobResult],
) -> list[dict[str, Any]]:
    """The fields that tell the state after each prompt."""
    if not body.return_state:
        return [{"state": None}] * len(prompts)
    entries = []
    for prompt, snapshot, result in zip(prompts, snapshots, results, strict=True):
        assert result.finished is not None and result.finished.state is not None
        after = snapshot_after(states, snapshot, prompt.token_ids, result.finished.state)
        entries.append(states.fields(after))
    return entries


@dataclass(frozen=True)
class _Found:
    """What the token tree behind a prompt told: words, unless tokens are wanted, and candidates."""

    words: list[FoundWord] | None
    scored: list[ScoredPath]


def _work(
    model: ServedModel,
    body: NextRequest,
    vocabulary: WordVocabulary | None,
    candidates: Iterable[PathBundle],
) -> TreeWork[_Found]:
    """Looks for words if there is a ``vocabulary`` of them, and scores ``candidates``."""
    plan = TokenTreePlan()
    words = None
    if vocabulary is not None:
        query = WordQuery(
            count=body.top_k,
            temperature=body.temperature,
            state_bytes=4 * model.bundle.config.state_size,
        )
        words = yield from find_words(vocabulary, plan, query)
    return _Found(words, (yield from score_bundles(plan, candidates)))


def _data(
    index: int,
    tree: TreeResult[_Found],
    tokenizer: Tokenizer,
    candidates: Sequence[Candidate],
    state: Mapping[str, Any],
) -> NextData:
    result = tree.job
    assert result.finished is not None and result.finished.next is not None
    words = tree.value.words
    top = _top(result.finished.next, tokenizer) if words is None else list(map(_entry, words))
    logprobs = result.prompt_logprobs
    total = math.fsum(logprobs)
    return NextData(
        index=index,
        top=top,
        coverage=math.fsum(entry.probability for entry in top),
        entropy=result.finished.next.entropy_bits,
        perplexity=perplexity(logprobs),
        prompt_logprob=total,
        candidates=_candidates(candidates, tree.value.scored) if candidates else None,
        **state,
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


def _entry(word: FoundWord) -> NextEntry:
    shown = max(word.whole_logprob, LOWEST_LOGPROB)
    return NextEntry(
        text=word.text,
        token_id=None,
        token_ids=list(word.token_ids),
        probability=math.exp(shown),
        logprob=shown,
    )


def _candidates(
    candidates: Sequence[Candidate], scored: Sequence[ScoredPath]
) -> list[NextCandidate]:
    logprobs = [path.logprob for path in scored]
    return [
        NextCandidate(
            index=index,
            text=candidate.text,
            token_ids=list(candidate.token_ids),
            logprob=max(logprob, LOWEST_LOGPROB),
            probability=math.exp(max(logprob, LOWEST_LOGPROB)),
            share=share,
            rank=rank,
        )
        for index, (candidate, logprob, share, rank) in enumerate(
            zip(candidates, logprobs, shares(logprobs), ranks(logprobs), strict=True)
        )
    ]


def _to_json(answer: NextAnswer) -> str:
    return answer.model_dump_json(ensure_ascii=True, exclude_unset=True)
