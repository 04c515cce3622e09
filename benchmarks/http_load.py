"""The service as a whole: real HTTP over the loopback, a closed loop of clients, 128 tokens each.

The service runs as it comes. The load comes from one other process
(``load_client``) on the same machine; how much of a core that takes is in the results. Prompts
differ from request to request, so nothing comes from the cache of states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import engine
from benchmarks.load_client import ClosedLoad, Outcome, put_load
from benchmarks.prompts import Prompts
from benchmarks.record import Result, find_median, percentile
from benchmarks.service_process import RunningService
from benchmarks.subject import Subject

REPETITIONS = 5
#: A client sends nothing more after so long, however few of its requests are done.
SECONDS_PER_RUN = 2.0
NUM_TOKENS = 128

_SAMPLING = {"temperature": 1.0, "top_p": 0.95}
COMPLETION = {"max_tokens": NUM_TOKENS, "ignore_eos": True, **_SAMPLING}
STREAM = {**COMPLETION, "stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Case:
    """One kind of load.

    Attributes:
        name: of the case in the results.
        num_clients: how many send at a time.
        num_requests: how many each of them sends.
        path: where to.
        prompt_tokens: length of the prompts.
        body: the request, but for the prompt.
        engine_case: the engine's figure that the rate is a share of; empty: none.
    """

    name: str
    num_clients: int
    num_requests: int
    path: str
    prompt_tokens: int
    body: Mapping[str, Any] = field(hash=False)
    engine_case: str = ""


def completions(name: str, num_clients: int, num_requests: int, body: Mapping[str, Any]) -> Case:
    """Completions for prompts of 20 tokens."""
    engine_case = engine.case_of(min(num_clients, engine.ROWS[-1]), "top_p 0.95")
    return Case(name, num_clients, num_requests, "/v1/completions", 20, body, engine_case)


ONE_PLAIN = completions("1 client", 1, 10, COMPLETION)
MANY_PLAIN = completions("32 clients", 32, 6, COMPLETION)
ONE_STREAMED = completions("1 client, streamed", 1, 6, STREAM)
MANY_STREAMED = completions("32 clients, streamed", 32, 4, STREAM)
ONE_NEXT = Case("1 client, /v1/next", 1, 100, "/v1/next", 10, {})
MANY_NEXT = Case("32 clients, /v1/next", 32, 40, "/v1/next", 10, {})
CASES = (
    ONE_PLAIN,
    MANY_PLAIN,
    ONE_STREAMED,
    MANY_STREAMED,
    ONE_NEXT,
    MANY_NEXT,
)
#: Takes long: four times what the engine runs at a time.
CROWD = completions("256 clients", 256, 1, COMPLETION)
CROWD_STREAMED = completions("256 clients, streamed", 256, 1, STREAM)


def measure(
    subject: Subject,
    service: RunningService,
    engine_results: Sequence[Result],
    *,
    with_crowd: bool = False,
) -> list[Result]:
    """Rates and latencies of every case; rates also as shares of the engine's in the same run."""
    cases = (*CASES, CROWD, CROWD_STREAMED) if with_crowd else CASES
    prompts = Prompts(subject)
    put_load(closed_load(MANY_PLAIN, prompts, service.port))  # warms up
    outcomes: dict[Case, list[Outcome]] = {case: [] for case in cases}
    for _ in range(REPETITIONS):
        for case in cases:
            outcomes[case].append(put_load(closed_load(case, prompts, service.port)))
    return [result for case in cases for result in _results(case, outcomes[case], engine_results)]


def closed_load(case: Case, prompts: Prompts, port: int) -> ClosedLoad:
    """The load of ``case``, with prompts that differ."""
    bodies = [
        [prompts.body(case.prompt_tokens, case.body) for _ in range(case.num_requests)]
        for _ in range(case.num_clients)
    ]
    return ClosedLoad(port=port, path=case.path, bodies=bodies, seconds=SECONDS_PER_RUN)


def _results(
    case: Case, outcomes: Sequence[Outcome], engine_results: Sequence[Result]
) -> list[Result]:
    is_stream = case.body.get("stream", False)
    results = [_rate(case, outcomes, engine_results)]
    for percent in (50, 99):
        results.append(_percentile(case, "request", [o.latencies for o in outcomes], percent))
        if is_stream:
            firsts = [o.first_tokens for o in outcomes]
            results.append(_percentile(case, "first token", firsts, percent))
            results.append(_percentile(case, "between tokens", [o.gaps for o in outcomes], percent))
    client = [o.cores_taken for o in outcomes]
    results.append(_result(case, "cores taken by the load generator", client))
    failed = [o.num_failed + len(o.refusals) for o in outcomes]
    if any(failed):
        results.append(_result(case, "requests that failed", failed))
    return results


def _rate(case: Case, outcomes: Sequence[Outcome], engine_results: Sequence[Result]) -> Result:
    if not case.engine_case:
        rates = [len(o.latencies) / o.wall_seconds for o in outcomes]
        return _result(case, "requests/s", rates)
    rates = [o.num_tokens / o.wall_seconds for o in outcomes]
    reference = find_median(engine_results, case.engine_case)
    if reference is None:
        return _result(case, "tokens/s", rates)
    return Result(
        benchmark="http",
        case=case.name,
        metric="tokens/s",
        values=tuple(rates),
        shares=tuple(rate / reference for rate in rates),
        share_of=f"engine, {case.engine_case}",
    )


def _percentile(case: Case, what: str, seconds: Sequence[Sequence[float]], percent: int) -> Result:
    values = [1000 * percentile(run, percent) for run in seconds if run]
    return _result(case, f"ms, {what}, p{percent}", values or [float("nan")])


def _result(case: Case, metric: str, values: Sequence[float]) -> Result:
    return Result(benchmark="http", case=case.name, metric=metric, values=tuple(values))
