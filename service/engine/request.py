"""What an engine is asked and what it answers: ``Job`` and its events. Owns no behaviour.

A job is one sequence: it reads its prompt, then samples up to ``max_tokens`` tokens, then ends.
Its events are, in this order: one ``Started``; ``PromptScored`` in pieces, if asked for;
``Sampled``, as many as it takes; a ``Grown`` for each growth of its token tree, if it grows one
(``growth.py``); one ``Finished``. A job that never left the queue has only that.

The engine feeds ``<|endoftext|>`` itself: a prompt starts from the *initial state*, the state after
that token, and wherever the token stands in a prompt or is generated (``ignore_eos``) a new
document begins: the state after it is the initial state, whatever came before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.sampling import SamplingParams
from model.state import FloatArray, IntArray
from service.engine.growth import Grown, Growth

FinishReason = Literal["stop", "length", "cancelled", "error"]
ErrorCode = Literal[
    "queue_timeout",  # waited past ``queue_deadline``
    "request_timeout",  # ran past ``deadline``
    "invalid_job",  # a token id or the state does not fit the model
    "step_failed",  # the network failed on a step this job was part of
    "shutting_down",  # the engine's time to drain ran out
]


#: ``tokens_per_event`` of a job that nobody reads along with.
ALL_AT_ONCE = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One sequence to read and continue.

    Attributes:
        job_id: unique among the jobs its submitter has open.
        prompt_token_ids: what to read; may be empty.
        state: the row to continue from, ``state_size`` float32 as bytes; None: the initial state.
        max_tokens: how many tokens to sample at most; 0 samples none.
        sampling: how to sample them.
        min_tokens: the end token and ``stop_token_ids`` are not sampled before so many tokens.
        ignore_eos: go on after the end token.
        stop_token_ids: tokens that end the job; sampled and reported, then nothing more.
        logprobs: with every sampled token its logprob and the N most likely tokens (N may be 0).
        prompt_logprobs: score the prompt's tokens: each one's logprob, rank and the N most likely.
        prompt_logprobs_from: index of the first prompt token to score; those before are only read.
        next_top_k: after the last token, the K most likely next tokens. Their probabilities are
            at ``sampling.temperature`` if that is positive; the entropy never is.
        return_state: send the state at the end.
        growth: after the prompt, grow a token tree, beginning with this. The job samples nothing
            and keeps its slot until a growth is the last; the end of the prompt is what its
            ``next`` distribution and its state are about.
        tokens_per_event: gather so many sampled tokens before an event; what is left comes with
            the end. More than 1 saves work wherever nobody reads along: then the start and the
            scores of a short prompt, too, come only with what follows them.
        deadline: ``time.monotonic()`` seconds after which the job fails with ``request_timeout``.
        queue_deadline: the same for waiting: ``queue_timeout`` unless started by then.
        client: whom admission is to be fair to (any opaque string).
    """

    job_id: str
    prompt_token_ids: tuple[int, ...] = ()
    state: bytes | None = None
    max_tokens: int = 16
    sampling: SamplingParams = field(default_factory=SamplingParams)
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprobs_from: int = 0
    next_top_k: int | None = None
    return_state: bool = False
    growth: Growth | None = None
    tokens_per_event: int = 1
    deadline: float | None = None
    queue_deadline: float | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """Logprobs of tokens under the model: raw log-softmax, never below -9999.0.

    Attributes:
        logprobs: [tokens] float32, of the tokens themselves.
        top_token_ids: [tokens, N] int32, the N most likely at each place, descending, ties to the
            lowest id; N may be 0. They hold the token itself only if it is among them.
        top_logprobs: [tokens, N] float32, theirs.
    """

    logprobs: FloatArray
    top_token_ids: IntArray
    top_logprobs: FloatArray


@dataclass(frozen=True, slots=True)
class Started:
    """The job left the queue.

    Attributes:
        job_id: of which job.
        cached_tokens: prompt tokens whose state was found in the cache and not computed again.
        queue_seconds: time spent waiting.
    """

    job_id: str
    cached_tokens: int
    queue_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class PromptScored:
    """Scores of the prompt tokens ``start`` .. ``start + len(ranks)``; pieces come in order.

    Attributes:
        job_id: of which job.
        start: index in the prompt of the first token scored here.
        scores: their logprobs and the most likely tokens at their places.
        ranks: [tokens] int32, 1 for the most likely token.
    """

    job_id: str
    start: int
    scores: TokenScores
    ranks: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Tokens sampled since the last event, with their scores if the job asked for ``logprobs``."""

    job_id: str
    token_ids: tuple[int, ...]
    scores: TokenScores | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NextTokens:
    """The distribution after the last token.

    Attributes:
        token_ids: [K] int32, the most likely tokens, descending, ties to the lowest id.
        logprobs: [K] float32, at the job's temperature.
        coverage: the sum of their probabilities.
        entropy_bits: of the whole distribution, at temperature 1.
    """

    token_ids: IntArray
    logprobs: FloatArray
    coverage: float
    entropy_bits: float


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """The job's end; nothing follows.

    Attributes:
        job_id: of which job.
        finish_reason: ``stop`` after the end token or a stop id, ``length`` after ``max_tokens``,
            ``cancelled``, or ``error``.
        stop_token_id: the token that stopped it.
        num_prompt_tokens: prompt tokens in all.
        cached_tokens: of those, not computed again.
        num_completion_tokens: tokens sampled, with the one that stopped it.
        queue_seconds: time spent waiting.
        prefill_seconds: from leaving the queue until the prompt was read.
        decode_seconds: from then on.
        next: what may follow, if ``next_top_k`` asked for it.
        state: the row, ``state_size`` float32 as bytes, if ``return_state`` asked for it.
        num_state_tokens: sampled tokens the state has consumed: all but the one that stopped it.
        error_code: why, with ``finish_reason`` ``error``.
        error_message: the same in words, fit to be shown.
    """

    job_id: str
    finish_reason: FinishReason
    stop_token_id: int | None = None
    num_prompt_tokens: int = 0
    cached_tokens: int = 0
    num_completion_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    next: NextTokens | None = None
    state: bytes | None = None
    num_state_tokens: int = 0
    error_code: ErrorCode | None = None
    error_message: str | None = None


Event = Started | PromptScored | Sampled | Grown | Finished


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatus:
    """How an engine is doing; counters run from its start.

    Attributes:
        engine_id: random, new with every start of the process.
        model_digest: of the network and tokenizer it runs.
        ready: takes jobs and its recent steps succeeded.
        draining: finishes what it has and takes nothing new.
        running: jobs holding a slot.
        waiting: jobs in the queue.
        max_running: slots.
        max_queue: most jobs that may wait.
        estimated_wait_seconds: how long a job submitted now would wait.
        prompt_tokens_total: prompt tokens read, cached ones included.
        cached_tokens_total: of those, found in the cache.
        generation_tokens_total: tokens sampled.
        cache_lookups_total: prompts looked up in the cache.
        cache_hits_total: of those, found at least in part.
        finished_total: jobs ended, for whatever reason.
        cancelled_total: of those, cancelled.
        failed_steps_total: steps the network failed on.
        steps_total: steps run.
        batch_rows_total: rows over all steps; over ``steps_total`` the mean batch size.
        batch_sizes: steps by batch size: entry k counts those of 2**(k-1) < rows <= 2**k.
    """

    engine_id: str
    model_digest: str
    ready: bool
    draining: bool
    running: int
    waiting: int
    max_running: int
    max_queue: int
    estimated_wait_seconds: float
    prompt_tokens_total: int
    cached_tokens_total: int
    generation_tokens_total: int
    cache_lookups_total: int
    cache_hits_total: int
    finished_total: int
    cancelled_total: int
    failed_steps_total: int
    steps_total: int
    batch_rows_total: int
    batch_sizes: tuple[int, ...]
