"""Ten times the load a service can take: what it still does, whom it refuses, how it recovers.

    python -m benchmarks.overload --out benchmarks/results

Requests arrive at random at ten times the rate that a closed loop of 64 clients gets; answers are
of 64 to 192 tokens, so that they do not all end at the same time. Meanwhile somebody else asks for
``/health``. In the end every client hangs up, and the time until nothing runs or waits any more,
and until a new request is answered, is the recovery.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from benchmarks import http_load
from benchmarks.command import run_part, subject_parser
from benchmarks.load_client import ClosedLoad, OpenLoad, Outcome, put_load
from benchmarks.open_loop import poisson_times
from benchmarks.prompts import Prompts
from benchmarks.record import Result, percentile
from benchmarks.service_process import RunningService, memory_of, running_service
from benchmarks.subject import Subject

TIMES_CAPACITY = 10
SECONDS = 6.0
#: Until the queue is full and the rate is that of a server at its limit.
SETTLING_SECONDS = 1.5

_NUM_CLIENTS = 64
_REQUESTS_OF_A_CLIENT = 4
_PATH = "/v1/completions"
_TOKENS = (64, 192)
_WATCH_SECONDS = 0.05
#: Adding up the memory of all processes takes some of the processor.
_MEMORY_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0


@dataclass
class _Watch:
    """What somebody saw who looked in again and again.

    Attributes:
        health_seconds: how long each ``/health`` took.
        health_failed: how many were not 200.
        megabytes: memory of all processes.
    """

    health_seconds: list[float] = field(default_factory=list)
    health_failed: int = 0
    megabytes: list[float] = field(default_factory=list)


def measure(subject: Subject, service: RunningService, seconds: float = SECONDS) -> list[Result]:
    """Throughput, refusals, ``/health``, memory and recovery under ten times the load."""
    bodies = _Bodies(subject)
    full = [put_load(_closed_load(service, bodies)) for _ in range(3)]
    capacity = sorted(outcome.num_tokens / outcome.wall_seconds for outcome in full)[1]
    before = _megabytes(service)
    times = poisson_times(TIMES_CAPACITY * capacity / statistics.mean(_TOKENS), seconds, seed=0)
    load = OpenLoad(
        port=service.port,
        path=_PATH,
        bodies=[bodies.next() for _ in times],
        times=times,
        hang_up_at=seconds,
    )
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(put_load, load)
        watch = _watch(service, loading)
        outcome = loading.result()
    idle, answered = _recover(service)
    window = outcome.wall_seconds - SETTLING_SECONDS
    ended = zip(outcome.ended_at, outcome.ended_tokens, strict=True)
    kept = sum(tokens for at, tokens in ended if at > SETTLING_SECONDS) / window
    return [
        _result("before", "tokens/s", capacity),
        _result("arrivals", "requests/s", len(times) / seconds),
        replace(
            _result("under it", "tokens/s", kept),
            shares=(kept / capacity,),
            share_of="that before",
        ),
        *_answers(outcome),
        *_sights(watch, before),
        _result("until nothing runs or waits", "seconds", idle),
        _result("until a new request is answered", "seconds", answered),
    ]


class _Bodies:
    """Requests for answers of different lengths."""

    def __init__(self, subject: Subject) -> None:
        self._prompts = Prompts(subject)
        self._random = random.Random(0)

    def next(self) -> str:
        """One of them, unlike those before."""
        fields = {**http_load.COMPLETION, "max_tokens": self._random.randint(*_TOKENS)}
        return self._prompts.body(20, fields)


def _closed_load(service: RunningService, bodies: _Bodies) -> ClosedLoad:
    clients = [[bodies.next() for _ in range(_REQUESTS_OF_A_CLIENT)] for _ in range(_NUM_CLIENTS)]
    return ClosedLoad(
        port=service.port, path=_PATH, bodies=clients, seconds=http_load.SECONDS_PER_RUN
    )


def _answers(outcome: Outcome) -> list[Result]:
    refusals = outcome.refusals or [float("nan")]
    return [
        _result("refused with 503 and Retry-After", "requests", len(outcome.refusals)),
        _result("answered", "requests", len(outcome.latencies)),
        _result("neither: failed", "requests", outcome.num_failed),
        _result("refusal", "ms, p50", 1000 * percentile(refusals, 50)),
        _result("refusal", "ms, p99", 1000 * percentile(refusals, 99)),
        _result("load generator", "cores", outcome.cores_taken),
    ]


def _sights(watch: _Watch, megabytes_before: float) -> list[Result]:
    return [
        _result("/health", "ms, p50", 1000 * percentile(watch.health_seconds, 50)),
        _result("/health", "ms, most", 1000 * max(watch.health_seconds)),
        _result("/health", "answers other than 200", watch.health_failed),
        _result("memory before, all processes", "MB", megabytes_before),
        _result("memory at most, all processes", "MB", max(watch.megabytes)),
    ]


def _result(case: str, metric: str, value: float) -> Result:
    return Result(benchmark="overload", case=case, metric=metric, values=(value,))


def _watch(service: RunningService, until: Future[Outcome]) -> _Watch:
    watch = _Watch()
    next_memory = 0.0
    with _connection(service) as connection:
        while not until.done():
            start = time.perf_counter()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            watch.health_seconds.append(time.perf_counter() - start)
            watch.health_failed += answer.status != 200
            if time.perf_counter() >= next_memory:
                watch.megabytes.append(_megabytes(service))
                next_memory = time.perf_counter() + _MEMORY_SECONDS
            time.sleep(_WATCH_SECONDS)
    return watch


def _recover(service: RunningService) -> tuple[float, float]:
    """Seconds from now until nothing runs or waits, and until a small request is answered."""
    start = time.perf_counter()
    body = json.dumps({"prompt": " the", "max_tokens": 8, "ignore_eos": True})
    answered = idle = 0.0
    with _connection(service) as connection:
        while not answered or not idle:
            if not answered:
                connection.request("POST", "/v1/completions", body)
                answer = connection.getresponse()
                answer.read()
                answered = time.perf_counter() - start if answer.status == 200 else 0.0
            connection.request("GET", "/ready")
            ready = json.loads(connection.getresponse().read())
            if ready.get("running") == ready.get("waiting") == 0:
                idle = idle or time.perf_counter() - start
            if time.perf_counter() - start > _PATIENCE_SECONDS:
                raise RuntimeError("the service did not recover from the overload")
            time.sleep(0.01)
    return idle, answered


def _megabytes(service: RunningService) -> float:
    return sum(process.proportional_mb for process in memory_of(service))


@contextmanager
def _connection(service: RunningService) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=_PATIENCE_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def _measure_alone(subject: Subject, options: argparse.Namespace) -> list[Result]:
    with running_service(subject.directory) as service:
        return measure(subject, service, options.seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = subject_parser("python -m benchmarks.overload", "Ten times the load it can take.")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the load lasts")
    return run_part("overload", _measure_alone, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
