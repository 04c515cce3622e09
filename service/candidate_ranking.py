"""Which of a prompt's candidates are the best: by their own logprobs, or with what follows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from model.sampling import SamplingParams
from model.tokenizers.tokenizer import Tokenizer
from service.candidate import Candidate
from service.engine.request import ALL_AT_ONCE, Event, Finished, Job, PromptScored
from service.job_events import check_finished
from service.token_logprobs import LOWEST_LOGPROB


def mean_logprob(candidate: Candidate) -> float:
    """The mean raw logprob of the tokens sampled: what ``best_of`` ranks by; 0 of none."""
    return math.fsum(candidate.sampled_logprobs) / max(1, candidate.num_tokens)


def best(scores: Sequence[float], count: int) -> list[int]:
    """Indices of the ``count`` highest of ``scores``, descending, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])[:count]


class SuffixScores:
    """log P(completion | prompt) + log P(suffix | prompt, completion) of finished candidates.

    The completion is the text returned: its tokens as they were sampled, without the end token; if
    a stop string cut it inside a token, then the rest of the text as the tokenizer encodes it. The
    suffix is tokenized by itself.

    Attributes:
        jobs: what the engine has to read to tell.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        candidates: Sequence[Candidate],
        jobs: Sequence[Job],
        suffix_token_ids: Sequence[int],
    ) -> None:
        """``jobs`` are those that ``candidates`` came from."""
        self.jobs: list[Job] = []
        self._logprobs: dict[str, list[float]] = {}
        for candidate, sampled_by in zip(candidates, jobs, strict=True):
            covered = candidate.covered_text()
            read = (*sampled_by.prompt_token_ids, *candidate.token_ids[: covered.num_tokens])
            rest = tokenizer.encode(covered.rest, parse_special=False)
            job = replace(
                reading_job(sampled_by, (*read, *rest, *suffix_token_ids), "suffix"),
                prompt_logprobs=0,
                prompt_logprobs_from=len(read),
            )
            self.jobs.append(job)
            self._logprobs[job.job_id] = candidate.sampled_logprobs[: covered.num_tokens]

    def take(self, events: Iterable[Event]) -> None:
        """Takes what the engine says of ``jobs``.

        Raises:
            ApiError: a job failed.
        """
        for event in events:
            if isinstance(event, PromptScored):
                logprobs = event.scores.logprobs.tolist()
                self._logprobs[event.job_id] += [max(value, LOWEST_LOGPROB) for value in logprobs]
            elif isinstance(event, Finished):
                check_finished(event)

    def totals(self) -> list[float]:
        """The score of each candidate, once all jobs have ended."""
        return [math.fsum(logprobs) for logprobs in self._logprobs.values()]


def reading_job(job: Job, token_ids: tuple[int, ...], purpose: str) -> Job:
    """A job that reads ``token_ids`` from where ``job`` started, and samples nothing."""
    return Job(
        job_id=f"{job.job_id}-{purpose}",
        prompt_token_ids=token_ids,
        state=job.state,
        max_tokens=0,
        tokens_per_event=ALL_AT_ONCE,
        sampling=SamplingParams(),
        deadline=job.deadline,
        client=job.client,
    )
