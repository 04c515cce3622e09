"""An open loop: requests come at random, at set rates up to and past what the service can do.

    python -m benchmarks.open_loop --out benchmarks/results

Times between arrivals are exponential (a Poisson process), and nobody waits for an answer before
sending the next request, as with many independent users. The rates are parts of what a closed loop
gets in the same run. Latencies count from when a request was due. Answers are streamed, 128 tokens.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import accumulate

from benchmarks import http_load
from benchmarks.command import run_part, subject_parser
from benchmarks.http_load import closed_load
from benchmarks.load_client import OpenLoad, Outcome, put_load
from benchmarks.prompts import Prompts
from benchmarks.record import Result, percentile
from benchmarks.service_process import RunningService, running_service
from benchmarks.subject import Subject

#: Rates of arrival as parts of the closed loop's requests a second.
SHORT_RATES = (0.5, 0.9, 1.5)
LONG_RATES = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
SECONDS_PER_RATE = 4.0
#: An answer whose first token came later does not count as good.
GOOD_FIRST_TOKEN_SECONDS = 1.0

#: As many at a time as an engine runs.
FULL = http_load.completions("64 clients, streamed", 64, 2, http_load.STREAM)


def case_of(rate: float) -> str:
    """The name of a figure: "arrivals at 90 % of capacity"."""
    return f"arrivals at {rate:.0%} of capacity".replace("%", " %")


def measure(
    subject: Subject,
    service: RunningService,
    rates: Sequence[float] = SHORT_RATES,
    seconds: float = SECONDS_PER_RATE,
    repetitions: int = 1,
) -> list[Result]:
    """Rates, latencies and refusals for each rate of arrival."""
    prompts = Prompts(subject)
    full = [put_load(closed_load(FULL, prompts, service.port)) for _ in range(3)]
    capacities = tuple(len(outcome.latencies) / outcome.wall_seconds for outcome in full)
    capacity = sorted(capacities)[1]
    results = [_result("capacity: 64 clients, closed loop", "requests/s", capacities)]
    outcomes: dict[float, list[Outcome]] = {rate: [] for rate in rates}
    for repetition in range(repetitions):
        for rate in rates:
            load = _open_load(service.port, prompts, rate * capacity, seconds, seed=repetition)
            outcomes[rate].append(put_load(load))
    for rate in rates:
        results += _results(case_of(rate), outcomes[rate], seconds)
    return results


def poisson_times(rate: float, seconds: float, seed: int) -> list[float]:
    """When requests are due: ``rate`` a second on average, for ``seconds``."""
    rng = random.Random(seed)
    gaps = (rng.expovariate(rate) for _ in range(int(rate * seconds * 2) + 50))
    return [time for time in accumulate(gaps) if time < seconds]


def _open_load(port: int, prompts: Prompts, rate: float, seconds: float, seed: int) -> OpenLoad:
    times = poisson_times(rate, seconds, seed)
    bodies = [prompts.body(FULL.prompt_tokens, FULL.body) for _ in times]
    return OpenLoad(port=port, path=FULL.path, bodies=bodies, times=times)


def _results(case: str, outcomes: Sequence[Outcome], seconds: float) -> list[Result]:
    def result(metric: str, values: Sequence[float]) -> Result:
        return _result(case, metric, tuple(values))

    def percentiles(what: str, measured: Sequence[Sequence[float]], percent: int) -> Result:
        values = [1000 * percentile(run, percent) for run in measured if run]
        return result(f"ms, {what}, p{percent}", values or [float("nan")])

    good = [sum(t < GOOD_FIRST_TOKEN_SECONDS for t in o.first_tokens) / seconds for o in outcomes]
    results = [
        result("requests/s sent", [_num_sent(o) / seconds for o in outcomes]),
        result("requests/s, first token in 1 s", good),
        result("tokens/s", [o.num_tokens / max(o.wall_seconds, seconds) for o in outcomes]),
    ]
    for percent in (50, 99):
        results.append(percentiles("first token", [o.first_tokens for o in outcomes], percent))
        results.append(percentiles("between tokens", [o.gaps for o in outcomes], percent))
        results.append(percentiles("request", [o.latencies for o in outcomes], percent))
    results.append(result("requests refused", [len(o.refusals) for o in outcomes]))
    if any(o.num_failed for o in outcomes):
        results.append(result("requests that failed", [o.num_failed for o in outcomes]))
    results.append(result("cores taken by the load generator", [o.cores_taken for o in outcomes]))
    return results


def _num_sent(outcome: Outcome) -> int:
    return len(outcome.latencies) + len(outcome.refusals) + outcome.num_failed


def _result(case: str, metric: str, values: tuple[float, ...]) -> Result:
    return Result(benchmark="open loop", case=case, metric=metric, values=values)


def _measure_long(subject: Subject, options: argparse.Namespace) -> list[Result]:
    with running_service(subject.directory) as service:
        return measure(subject, service, LONG_RATES, options.seconds, options.repetitions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures more rates, longer; returns the exit code."""
    parser = subject_parser("python -m benchmarks.open_loop", "Arrivals at random, at set rates.")
    parser.add_argument("--seconds", type=float, default=6.0, help="of arrivals, for each rate")
    parser.add_argument("--repetitions", type=int, default=3)
    return run_part("open-loop", _measure_long, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
