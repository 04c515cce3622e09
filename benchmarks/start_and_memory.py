"""From ``python -m service`` to the first answer, and the memory of each process.

The files are in the system's cache from earlier starts: nobody's disk is measured. Memory is read
after the service has generated for as many clients as it runs at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.record import Result
from benchmarks.service_process import RunningService, memory_of, running_service
from benchmarks.subject import Subject

REPETITIONS = 5


def measure_start(subject: Subject) -> list[Result]:
    """Seconds from starting the interpreter to being ready."""
    seconds = []
    for _ in range(REPETITIONS):
        with running_service(subject.directory) as service:
            seconds.append(service.start_seconds)
    return [
        Result(benchmark="start", case="start to ready", metric="seconds", values=tuple(seconds))
    ]


def measure_memory(service: RunningService) -> list[Result]:
    """Memory in use of every process of a service that has worked; Linux only."""
    results = []
    for process in memory_of(service):
        results += [
            _memory(f"{process.name}, resident", [process.resident_mb]),
            _memory(f"{process.name}, share of shared pages", [process.proportional_mb]),
        ]
    return results


def _memory(case: str, values: Sequence[float]) -> Result:
    return Result(benchmark="memory", case=case, metric="MB", values=tuple(values))
