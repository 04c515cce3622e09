"""A completion request being worked on: its jobs, its candidates, and their pieces as they come."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from model.sampling import SamplingParams
from service.candidate import Candidate, Piece, PromptEcho
from service.candidate_ranking import SuffixScores, best, mean_logprob
from service.completion_states import CompletionStates
from service.engine.request import Event, Finished, Job, PromptScored, Sampled, Started
from service.prompts import PreparedPrompt
from service.protocol.completions import CompletionRequest, Usage
from service.request_states import RequestStates
from service.served_model import ServedModel
from service.stop_strings import StopStrings

#: Random seeds stay exact where JSON numbers are doubles.
_SEED_BITS = 53

#: Plain answers with stop strings: tokens sampled beyond the stop are wasted, events cost work too.
_TOKENS_PER_EVENT_WITH_STOPS = 8

#: Of a plain answer so many tokens are taken at a time: more would keep other requests waiting.
_MOST_TOKENS_PER_EVENT = 4096


class FollowUp(Protocol):
    """Jobs whose results complete a request, and what takes them."""

    jobs: list[Job]

    def take(self, events: Iterable[Event]) -> None:
        """Takes events of the jobs; ``ApiError``: one failed."""


class CompletionRun:
    """All candidates of all prompts of one request.

    Attributes:
        jobs: one for each candidate of each prompt.
        candidates: theirs.
        choices: those that are returned, in order of their ``index``; none before they are known.
        seed: the one used.
    """

    def __init__(
        self,
        model: ServedModel,
        request: CompletionRequest,
        prompts: Sequence[PreparedPrompt],
        states: RequestStates,
        *,
        run_id: str,
        client: str,
    ) -> None:
        self.seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed
        self.jobs: list[Job] = []
        self.candidates: list[Candidate] = []
        self.choices: list[Candidate] = []
        self._model = model
        self._request = request
        self._prompts = prompts
        self._states = states
        self._run_id = run_id
        self._client = client
        self._started_at = time.monotonic()
        self._index_of_job: dict[str, int] = {}
        self._echo_of_job: dict[str, PromptEcho] = {}
        self._first_token_at: float | None = None
        stops = StopStrings(request.stop)
        for prompt in prompts:
            self._add_prompt(prompt, stops)
        if not request.is_ranked:
            self.choices = list(self.candidates)

    def _add_prompt(self, prompt: PreparedPrompt, stops: StopStrings) -> None:
        request = self._request
        scored = request.echo and request.logprobs is not None
        echo = None
        if request.echo and prompt.token_ids:
            echo = PromptEcho(self._model.tokenizer, prompt, scored=scored)
        for j in range(request.num_candidates):
            index = len(self.jobs)
            job = self._job(index, j, prompt, scores_prompt=scored and j == 0)
            self.jobs.append(job)
            self.candidates.append(Candidate(self._model.tokenizer, request, prompt, stops, echo))
            self._index_of_job[job.job_id] = index
            if echo is not None and j == 0:
                self._echo_of_job[job.job_id] = echo

    def _job(self, index: int, j: int, prompt: PreparedPrompt, *, scores_prompt: bool) -> Job:
        request, settings = self._request, self._model.settings
        return Job(
            job_id=f"{self._run_id}-{index}",
            prompt_token_ids=prompt.token_ids,
            state=None if prompt.before is None else prompt.before.row,
            max_tokens=request.max_tokens,
            sampling=SamplingParams(
                temperature=request.temperature,
                top_k=request.top_k,
                top_p=request.top_p,
                min_p=request.min_p,
                typical_p=request.typical_p,
                presence_penalty=request.presence_penalty,
                frequency_penalty=request.frequency_penalty,
                repetition_penalty=request.repetition_penalty,
                logit_bias=request.logit_bias,
                seed=self.seed,
                candidate=j,
            ),
            min_tokens=request.min_tokens,
            ignore_eos=request.ignore_eos,
            stop_token_ids=request.stop_token_ids,
            logprobs=0 if request.logprobs is None and request.is_ranked else request.logprobs,
            prompt_logprobs=request.logprobs if scores_prompt else None,
            prompt_logprobs_from=prompt.num_unscored,
            return_state=request.return_state,
            tokens_per_event=self._tokens_per_event(index),
            deadline=self._started_at + settings.request_timeout_s,
            queue_deadline=self._started_at + settings.queue_timeout_s,
            client=self._client,
        )

    def _tokens_per_event(self, index: int) -> int:
        """What nobody reads along is gathered; but the first job's start begins a stream."""
        if self._request.stream and (index == 0 or not self._request.is_ranked):
            return 1
        if self._request.stop:
            return _TOKENS_PER_EVENT_WITH_STOPS
        return min(max(1, self._request.max_tokens), _MOST_TOKENS_PER_EVENT)

    def take(self, events: Iterable[Event]) -> list[str]:
        """Hands ``events`` to the candidates; returns the jobs to cancel, for they need no more.

        Raises:
            ApiError: a job failed.
        """
        done: list[str] = []
        for event in events:
            candidate = self.candidates[self._index_of_job[event.job_id]]
            match event:
                case Sampled():
                    if self._first_token_at is None:
                        self._first_token_at = time.monotonic()
                    was_finished = candidate.finished
                    candidate.on_sampled(event)
                    if candidate.finished and not was_finished:
                        done.append(event.job_id)
                case Finished():
                    candidate.on_finished(event)
                case Started():
                    candidate.on_started(event)
                case PromptScored():
                    self._echo_of_job[event.job_id].add(event)
        return done

    @property
    def finished(self) -> bool:
        """Whether every candidate has ended."""
        return all(candidate.finished for candidate in self.candidates)

    def follow_ups(self) -> Iterator[FollowUp]:
        """What has still to be run once every candidate has ended, one thing after the other.

        Each is to be given all events of its jobs before the next is asked for.
        """
        if self._request.is_ranked:
            yield from self._rank()
        if self._request.return_state:
            yield CompletionStates(
                self._states,
                self.choices,
                [self.jobs[self.candidates.index(choice)] for choice in self.choices],
                skip_special=self._request.skip_special_tokens,
            )

    def _rank(self) -> Iterator[FollowUp]:
        request = self._request
        if request.suffix:
            token_ids = self._model.tokenizer.encode(
                request.suffix, parse_special=request.parse_special
            )
            scores = SuffixScores(self._model.tokenizer, self.candidates, self.jobs, token_ids)
            yield scores
            totals = scores.totals()
        else:
            totals = [mean_logprob(candidate) for candidate in self.candidates]
        for start in range(0, len(totals), request.num_candidates):
            stop = start + request.num_candidates
            ranking = best(totals[start:stop], request.n)
            self.choices += [self.candidates[start + j] for j in ranking]

    def pieces(self, index: int) -> Iterator[Piece]:
        """What has been added to choice ``index`` since it was last asked for."""
        while (piece := self.choices[index].take()) is not None:
            yield piece

    def usage(self) -> Usage:
        """Tokens counted so far: each prompt once, every token sampled."""
        first_of_prompts = self.candidates[:: self._request.num_candidates]
        return Usage.of(
            sum(len(prompt.token_ids) for prompt in self._prompts),
            sum(candidate.num_tokens for candidate in self.candidates),
            num_cached=sum(candidate.cached_tokens for candidate in first_of_prompts),
        )

    def summary(self) -> str:
        """How it went, for the log; no text of the request or the answer."""
        usage = self.usage()
        first = (self._first_token_at or time.monotonic()) - self._started_at
        reasons = sorted({str(candidate.finish_reason) for candidate in self.candidates})
        return (
            f"prompt_tokens={usage.prompt_tokens} completion_tokens={usage.completion_tokens} "
            f"queue_seconds={max(c.queue_seconds for c in self.candidates):.3f} "
            f"first_token_seconds={first:.3f} seconds={time.monotonic() - self._started_at:.3f} "
            f"finish_reason={','.join(reasons)}"
        )
