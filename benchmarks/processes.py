"""Engines x workers x threads: which numbers of processes answer fastest on this machine.

    python -m benchmarks.processes --out benchmarks/results

Every arrangement is a service of its own, all of them started before the first measurement and idle
but for the one that is measured. Each round measures every load on every arrangement in turn, so
that whatever else the machine does meets them all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks import http_load
from benchmarks.command import run_part, subject_parser
from benchmarks.http_load import Case, closed_load
from benchmarks.load_client import Outcome, put_load
from benchmarks.prompts import Prompts
from benchmarks.record import Result, percentile
from benchmarks.service_process import RunningService, memory_of, running_service
from benchmarks.subject import Subject

ROUNDS = 5


@dataclass(frozen=True)
class Arrangement:
    """Numbers of processes, as the service's settings of the same names."""

    engines: int
    workers: int
    engine_threads: int = 1
    engine_threads_alone: int = 1

    @property
    def name(self) -> str:
        """For tables: "2 engines, 1 worker, 1 thread (2 while alone)"."""
        name = ", ".join(
            f"{count} {word}{'' if count == 1 else 's'}"
            for count, word in (
                (self.engines, "engine"),
                (self.workers, "worker"),
                (self.engine_threads, "thread"),
            )
        )
        if self.engine_threads_alone > self.engine_threads:
            name += f" ({self.engine_threads_alone} while alone)"
        return name

    @property
    def flags(self) -> list[str]:
        """For ``python -m service``."""
        counts = (self.engines, self.workers, self.engine_threads, self.engine_threads_alone)
        names = ("--engines", "--workers", "--engine-threads", "--engine-threads-alone")
        return [
            part for name, count in zip(names, counts, strict=True) for part in (name, f"{count}")
        ]


ARRANGEMENTS = (
    Arrangement(1, 1),
    Arrangement(1, 2),
    Arrangement(2, 1),
    Arrangement(2, 1, 1, 2),
    Arrangement(2, 2, 1, 2),
    Arrangement(1, 1, 2),
)
CASES = (
    http_load.ONE_PLAIN,
    replace(http_load.MANY_PLAIN, num_requests=4),
    http_load.ONE_STREAMED,
    http_load.MANY_STREAMED,
    http_load.ONE_NEXT,
    http_load.MANY_NEXT,
)
#: Longer than the others together: measured where it is asked for.
CROWD = http_load.CROWD


def measure(subject: Subject, options: argparse.Namespace) -> list[Result]:
    """Rates and the latencies that matter, of every load on every arrangement; memory."""
    cases = (*CASES, CROWD) if options.crowd else CASES
    outcomes: dict[tuple[Case, Arrangement], list[Outcome]] = {}
    prompts = Prompts(subject)
    with ExitStack() as stack:
        services = {
            arrangement: stack.enter_context(running_service(subject.directory, *arrangement.flags))
            for arrangement in ARRANGEMENTS
        }
        for service in services.values():
            put_load(closed_load(http_load.MANY_PLAIN, prompts, service.port))  # warms up
        for _ in range(options.rounds):
            for arrangement, service in services.items():
                for case in cases:
                    outcome = put_load(closed_load(case, prompts, service.port))
                    outcomes.setdefault((case, arrangement), []).append(outcome)
        memory = [_memory(arrangement, service) for arrangement, service in services.items()]
    results = [result for key, measured in outcomes.items() for result in _results(*key, measured)]
    order = [case.name for case in cases]
    return (
        sorted(results, key=lambda result: order.index(result.benchmark.partition(": ")[2]))
        + memory
    )


def _results(case: Case, arrangement: Arrangement, outcomes: Sequence[Outcome]) -> list[Result]:
    def result(metric: str, values: Sequence[float]) -> Result:
        return Result(
            benchmark=f"processes: {case.name}",
            case=arrangement.name,
            metric=metric,
            values=tuple(values),
        )

    def percentiles(what: str, seconds: Sequence[Sequence[float]], percent: int) -> Result:
        values = [1000 * percentile(run, percent) for run in seconds if run]
        return result(f"ms, {what}, p{percent}", values)

    if case.engine_case:
        results = [result("tokens/s", [o.num_tokens / o.wall_seconds for o in outcomes])]
    else:
        results = [result("requests/s", [len(o.latencies) / o.wall_seconds for o in outcomes])]
    if case.body.get("stream"):
        results.append(percentiles("first token", [o.first_tokens for o in outcomes], 50))
        results.append(percentiles("first token", [o.first_tokens for o in outcomes], 99))
        results.append(percentiles("between tokens", [o.gaps for o in outcomes], 99))
    else:
        results.append(percentiles("request", [o.latencies for o in outcomes], 50))
        results.append(percentiles("request", [o.latencies for o in outcomes], 99))
    if failed := [o.num_failed + len(o.refusals) for o in outcomes if o.num_failed or o.refusals]:
        results.append(result("requests that failed", failed))
    return results


def _memory(arrangement: Arrangement, service: RunningService) -> Result:
    megabytes = sum(process.proportional_mb for process in memory_of(service))
    return Result(
        benchmark="processes: memory of all",
        case=arrangement.name,
        metric="MB",
        values=(megabytes,),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = subject_parser("python -m benchmarks.processes", "Engines x workers x threads.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--crowd", action="store_true", help="also 256 clients: takes long")
    return run_part("processes", measure, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
