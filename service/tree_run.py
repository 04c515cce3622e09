"""Running jobs that grow token trees: each has a generator that says how its tree goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

from service.engine.growth import Grown, Growth
from service.engine.request import Finished, Job, PromptScored
from service.errors import ApiError
from service.job_events import check_finished, engine_errors_as_api_errors, read_events
from service.job_run import JobResult
from service.peer import Peer
from service.served_model import ServedModel
from service.words.token_tree_plan import ResultT, TreeWork, last_growth

#: So many tokens are read one by one for a request, at most: minutes of a small engine's time.
MAX_TREE_TOKENS = 4_194_304


def check_work(num_tokens: int, param: str) -> None:
    """Refuses what could not but run past every time limit.

    Args:
        num_tokens: at most so many tokens are read, one by one, for the request at hand.
        param: the field that asks for it.

    Raises:
        ApiError: ``invalid_value``.
    """
    if num_tokens > MAX_TREE_TOKENS:
        raise ApiError(
            "invalid_value",
            f"{param} asks for too much: {num_tokens} tokens or characters to be read one by one, "
            f"where {MAX_TREE_TOKENS} are allowed in one request. Ask for less at a time",
            param=param,
        )


@dataclass
class TreeResult(Generic[ResultT]):
    """What came of a job and its tree.

    Attributes:
        job: scores of its prompt, and its end.
        value: what the work on its tree ended with.
    """

    value: ResultT
    job: JobResult = field(default_factory=JobResult)


def run_trees(
    model: ServedModel, jobs: Sequence[Job], works: Sequence[TreeWork[ResultT]], peer: Peer
) -> list[TreeResult[ResultT]]:
    """Runs ``jobs``, each with the work on its tree; the results are in their order.

    However large its tree, a job counts as one sequence.

    Raises:
        ApiError: one of them failed, or was refused; none is left running.
        ClientGoneError: the client closed its connection; likewise.
    """
    runs = {job.job_id: _Run(work) for job, work in zip(jobs, works, strict=True)}
    planted = [runs[job.job_id].plant(job) for job in jobs]
    with engine_errors_as_api_errors():
        stream = model.engines.submit(planted)
    with stream:
        for events in read_events(stream, peer):
            for event in events:
                run = runs[event.job_id]
                if isinstance(event, Grown):
                    if not run.done:
                        stream.grow(event.job_id, run.go_on(event))
                elif isinstance(event, PromptScored):
                    run.result.prompt_scored.append(event)
                elif isinstance(event, Finished):
                    check_finished(event)
                    run.result.finished = event
    return [TreeResult(run.value, run.result) for run in runs.values()]


class _Run(Generic[ResultT]):
    """One job on its way."""

    def __init__(self, work: TreeWork[ResultT]) -> None:
        self.result = JobResult()
        self.done = False
        self._work = work
        self._value: list[ResultT] = []

    @property
    def value(self) -> ResultT:
        return self._value[0]

    def plant(self, job: Job) -> Job:
        """``job`` with the first growth; as it is where the work needs no tree at all."""
        try:
            return replace(job, growth=next(self._work))
        except StopIteration as stop:
            self._end(stop.value)
            return job

    def go_on(self, grown: Grown) -> Growth:
        try:
            return self._work.send(grown)
        except StopIteration as stop:
            self._end(stop.value)
            return last_growth()

    def _end(self, value: ResultT) -> None:
        self._value.append(value)
        self.done = True
