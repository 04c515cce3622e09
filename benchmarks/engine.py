"""The engine without HTTP: tokens a second, sampling included, beside the network's bare step.

Every repetition runs the bare step and then the engine with each way of sampling, a quarter of a
second each, so that whatever else the machine does meets them all; shares are within a repetition.
Messages between processes are not in these figures; ``http_load`` measures the service as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.record import Result
from benchmarks.subject import Subject
from model.kernel.library import find_kernel
from model.runtime.litert_runtime import LiteRTRuntime
from model.sampling import SamplingParams
from service.engine.loop import EngineLoop
from service.engine.request import Job

ROWS = (1, 8, 32, 64)
SAMPLINGS: Mapping[str, SamplingParams] = {
    "top_p 0.95": SamplingParams(top_p=0.95),
    "top_k 40": SamplingParams(top_k=40),
    "greedy": SamplingParams(temperature=0.0),
}
REPETITIONS = 7
SECONDS_PER_RUN = 0.25
BARE = "bare step"
#: By the clock, and by what this thread had of a core: on a busy machine only the second says much.
METRICS = ("tokens/s", "tokens/processor s")

_PROMPT_TOKENS = 20
#: The service gathers all tokens of an answer that is not streamed: 128 in ``http_load``.
_TOKENS_PER_EVENT = 128
_WARM_UP_STEPS = 20
#: More than any run can generate.
_ENDLESS_TOKENS = 10_000_000

#: Tokens a second, in the order of ``METRICS``.
_Rates = tuple[float, float]


def case_of(num_rows: int, what: str) -> str:
    """The name of a figure: "1 row, greedy"."""
    return f"{num_rows} row{'s' if num_rows > 1 else ''}, {what}"


def measure(subject: Subject) -> list[Result]:
    """Tokens a second of the bare step and of the engine, for 1 to 64 sequences at a time."""
    runtime = LiteRTRuntime(subject.network, subject.config)
    return [result for num_rows in ROWS for result in _measure_rows(runtime, num_rows)]


def _measure_rows(runtime: LiteRTRuntime, num_rows: int) -> list[Result]:
    steps = {BARE: _bare_step(runtime, num_rows)}
    for name, sampling in SAMPLINGS.items():
        steps[name] = _engine_step(runtime, num_rows, sampling)
    rates: dict[str, list[_Rates]] = {name: [] for name in steps}
    for _ in range(REPETITIONS):
        for name, step in steps.items():
            rates[name].append(_measure_step(step, num_rows))
    return [
        _result(case_of(num_rows, name), metric, rates[name], rates[BARE], name == BARE)
        for metric in METRICS
        for name in steps
    ]


def _result(
    case: str, metric: str, rates: Sequence[_Rates], bare: Sequence[_Rates], is_bare: bool
) -> Result:
    column = METRICS.index(metric)
    values = tuple(rate[column] for rate in rates)
    if is_bare:
        return Result(benchmark="engine", case=case, metric=metric, values=values)
    shares = tuple(rate[column] / other[column] for rate, other in zip(rates, bare, strict=True))
    return Result(
        benchmark="engine", case=case, metric=metric, values=values, shares=shares, share_of=BARE
    )


def _bare_step(runtime: LiteRTRuntime, num_rows: int) -> Callable[[], None]:
    """One call of the network: each row reads a token, its logits are thrown away."""
    rng = np.random.default_rng(0)
    token_ids = rng.integers(0, runtime.config.vocab_size, num_rows, np.int32)
    state = runtime.initial_state(num_rows)

    def step() -> None:
        nonlocal state
        _, state = runtime.step(token_ids, state)

    return step


def _engine_step(
    runtime: LiteRTRuntime, num_rows: int, sampling: SamplingParams
) -> Callable[[], None]:
    """One step of an engine whose slots are all taken: each sequence gets a token."""
    loop = EngineLoop(runtime, end_of_text_id=0, max_running=num_rows, kernel=find_kernel())
    rng = np.random.default_rng(0)
    prompts = rng.integers(2, runtime.config.vocab_size, (num_rows, _PROMPT_TOKENS)).tolist()
    loop.submit(
        "benchmark",
        [
            Job(
                job_id=str(row),
                prompt_token_ids=tuple(prompt),
                max_tokens=_ENDLESS_TOKENS,
                sampling=sampling,
                ignore_eos=True,
                tokens_per_event=_TOKENS_PER_EVENT,
            )
            for row, prompt in enumerate(prompts)
        ],
    )

    def step() -> None:
        loop.step()
        loop.take_events()

    for _ in range(_WARM_UP_STEPS):
        step()
    return step


def _measure_step(step: Callable[[], None], num_rows: int) -> _Rates:
    num_steps = 0
    start, processor_start = time.perf_counter(), time.thread_time()
    while (seconds := time.perf_counter() - start) < SECONDS_PER_RUN:
        step()
        num_steps += 1
    num_tokens = num_rows * num_steps
    return num_tokens / seconds, num_tokens / (time.thread_time() - processor_start)
