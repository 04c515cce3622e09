"""Running jobs to their end, for endpoints that have nothing to show before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.engine.request import Finished, Job, PromptScored
from service.job_events import check_finished, engine_errors_as_api_errors, read_events
from service.peer import Peer
from service.served_model import ServedModel


@dataclass
class JobResult:
    """What a job that samples nothing tells: scores of its prompt, and its end."""

    prompt_scored: list[PromptScored] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that were not read again."""
        return 0 if self.finished is None else self.finished.cached_tokens

    @property
    def prompt_logprobs(self) -> list[float]:
        """Of the prompt's tokens, those that were to be scored, in order."""
        return [value for part in self.prompt_scored for value in part.scores.logprobs.tolist()]


def run_jobs(model: ServedModel, jobs: Sequence[Job], peer: Peer) -> list[JobResult]:
    """Runs ``jobs``, which sample nothing; the results are in their order.

    Raises:
        ApiError: one of them failed, or was refused; none is left running.
        ClientGoneError: the client closed its connection; likewise.
    """
    results = {job.job_id: JobResult() for job in jobs}
    with engine_errors_as_api_errors():
        stream = model.engines.submit(jobs)
    with stream:
        for events in read_events(stream, peer):
            for event in events:
                result = results[event.job_id]
                if isinstance(event, PromptScored):
                    result.prompt_scored.append(event)
                elif isinstance(event, Finished):
                    check_finished(event)
                    result.finished = event
    return list(results.values())
