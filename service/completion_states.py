"""The states after finished completions.

Where a stop cut the text, the engine's last state is one of later tokens than the text's. What the
text covers is then read again: reading gives the same bits as sampling did, and the prompt's state
is in the engine's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from service.candidate import Candidate
from service.candidate_ranking import reading_job
from service.engine.request import Event, Finished, Job
from service.job_events import check_finished
from service.request_states import RequestStates, snapshot_after


class CompletionStates:
    """Gives each of some finished candidates its state.

    Attributes:
        jobs: what the engine has to read again; may be none.
    """

    def __init__(
        self,
        states: RequestStates,
        candidates: Sequence[Candidate],
        jobs: Sequence[Job],
        *,
        skip_special: bool,
    ) -> None:
        """``jobs`` are those that ``candidates`` came from."""
        self.jobs: list[Job] = []
        self._states = states
        self._skip_special = skip_special
        self._candidate_of_job: dict[str, Candidate] = {}
        for candidate, sampled_by in zip(candidates, jobs, strict=True):
            num_tokens = candidate.covered_text().num_tokens
            if candidate.engine_state is not None and candidate.num_state_tokens == num_tokens:
                self._seal(candidate, candidate.engine_state)
                continue
            token_ids = (*sampled_by.prompt_token_ids, *candidate.token_ids[:num_tokens])
            job = replace(reading_job(sampled_by, token_ids, "state"), return_state=True)
            self.jobs.append(job)
            self._candidate_of_job[job.job_id] = candidate

    def take(self, events: Iterable[Event]) -> None:
        """Takes what the engine says of ``jobs``.

        Raises:
            ApiError: a job failed.
        """
        for event in events:
            if isinstance(event, Finished):
                check_finished(event)
                assert event.state is not None
                self._seal(self._candidate_of_job[event.job_id], event.state)

    def _seal(self, candidate: Candidate, row: bytes) -> None:
        covered = candidate.covered_text()
        prompt = candidate.prompt
        snapshot = snapshot_after(
            self._states,
            prompt.before,
            (*prompt.token_ids, *candidate.token_ids[: covered.num_tokens]),
            row,
            skip_special=self._skip_special,
        )
        candidate.state_fields = self._states.fields(snapshot, covered.num_characters)
