"""Very long sequences over HTTP: whether memory stays flat, and the time of a token.

    python -m benchmarks.long_sequence --size 1x128 --tokens 1000000 --out benchmarks/results

A prompt sent in pieces, each going on from the state that the one before left; the same prompt at
once, as token ids; and a completion, streamed. Growth is that of all the service's processes
together from the end of the first tenth to the end; the time of a token in the last tenth is
compared with that in the first. A prompt sent at once is all there from the beginning, and takes
memory while it is read: what is left of that afterwards is measured. The cache of states, which
would fill up to its bound, is off.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.command import run_part, subject_parser
from benchmarks.record import Result
from benchmarks.service_process import RunningService, memory_of, running_service
from benchmarks.subject import Subject

SHORT_TOKENS = 50_000
TENTHS = 10
PARTS = ("pieces", "at-once", "written")

_NEVER_SECONDS = "86400"
#: The same whatever the length, so that the requests are.
_PIECE_TOKENS = 1250
_READ_BYTES = 65536


def measure(
    subject: Subject, num_tokens: int = SHORT_TOKENS, parts: Sequence[str] = PARTS
) -> list[Result]:
    """Growth of memory, and the time of a token at the beginning and at the end."""
    limits = ("--max-prompt-tokens", "--max-tokens")
    flags = [part for flag in limits for part in (flag, str(max(num_tokens, 1000)))]
    flags += ["--request-timeout-s", _NEVER_SECONDS, "--max-body-bytes", str(8 * num_tokens + 4096)]
    flags += ["--state-cache-mb", "0"]
    token_ids = _random_ids(subject, num_tokens)
    with running_service(subject.directory, *flags) as service:
        measures: Mapping[str, Callable[[], list[Result]]] = {
            "pieces": partial(_read_in_pieces, service, token_ids),
            "at-once": partial(_read_at_once, service, token_ids),
            "written": partial(_write, service, num_tokens),
        }
        return [result for part in parts for result in measures[part]()]


def _read_in_pieces(service: RunningService, token_ids: Sequence[int]) -> list[Result]:
    tenth = len(token_ids) // TENTHS
    size = min(_PIECE_TOKENS, tenth)
    pieces = [token_ids[start : start + size] for start in range(0, len(token_ids), size)]
    state: str | None = None
    tenths, num_read, due = _Tenths(service), 0, tenth
    for piece in pieces:
        answer = _complete(service, {"prompt": piece, "state": state, "return_state": True})
        state = answer["choices"][0]["state"]
        num_read += len(piece)
        if num_read >= due:
            tenths.note(tenth)
            due += tenth
    return tenths.results(f"{len(token_ids):,} tokens: prompt in pieces")


def _read_at_once(service: RunningService, token_ids: Sequence[int]) -> list[Result]:
    """A tenth of the prompt, then all of it."""
    seconds, megabytes = [], []
    for part in (token_ids[: len(token_ids) // TENTHS], token_ids, token_ids):
        start = time.perf_counter()
        _complete(service, {"prompt": part})
        seconds.append((time.perf_counter() - start) / len(part))
        megabytes.append(sum(_megabytes(service).values()))
    case = f"{len(token_ids):,} tokens: prompt at once"
    return [
        _result(case, "us a token, a tenth of it", 1e6 * seconds[0]),
        _result(case, "us a token, all of it", 1e6 * seconds[1], of=1e6 * seconds[0]),
        _result(case, "MB left over, first time", megabytes[1] - megabytes[0]),
        _result(case, "MB left over, second time", megabytes[2] - megabytes[1]),
    ]


def _write(service: RunningService, num_tokens: int) -> list[Result]:
    """Streams a completion; every token takes about as many bytes."""
    body = {"max_tokens": num_tokens, "ignore_eos": True, "stream": True, "top_k": 40, "seed": 1}
    samples = []
    num_bytes, due = 0, 0
    with _connection(service) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body))
        answer = connection.getresponse()
        while part := answer.read1(_READ_BYTES):
            num_bytes += len(part)
            if num_bytes >= due:
                samples.append((num_bytes, time.perf_counter(), _megabytes(service)))
                due += num_tokens  # some hundred times in all
    samples.append((num_bytes, time.perf_counter(), _megabytes(service)))
    tenths = _Tenths(service)
    tenths.take(samples, num_tokens)
    return tenths.results(f"{num_tokens:,} tokens: completion, streamed")


#: Bytes so far, time, memory by kind of process.
_Sample = tuple[int, float, dict[str, float]]


class _Tenths:
    """Time and memory at the end of each tenth."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._last = time.perf_counter()
        self._microseconds: list[float] = []
        self._megabytes: list[dict[str, float]] = []

    def note(self, num_tokens: int) -> None:
        """A tenth of ``num_tokens`` is done."""
        now = time.perf_counter()
        self._microseconds.append(1e6 * (now - self._last) / num_tokens)
        self._megabytes.append(_megabytes(self._service))
        self._last = time.perf_counter()

    def take(self, samples: Sequence[_Sample], num_tokens: int) -> None:
        """Of (bytes so far, time, memory), in order, those nearest behind the end of each tenth."""
        num_bytes = samples[-1][0]
        ends = [samples[0]]
        for tenth in range(1, TENTHS + 1):
            ends.append(next(s for s in samples if s[0] * TENTHS >= tenth * num_bytes))
        for (bytes_before, before, _), (bytes_now, now, megabytes) in pairwise(ends):
            count = num_tokens * (bytes_now - bytes_before) / num_bytes
            self._microseconds.append(1e6 * (now - before) / count)
            self._megabytes.append(megabytes)

    def results(self, case: str) -> list[Result]:
        """Growth since the first tenth; the last tenth's time of a token beside the first's."""
        first, last = self._microseconds[0], self._microseconds[-1]
        before, after = self._megabytes[0], self._megabytes[-1]
        growth = {name: after[name] - before[name] for name in before}
        middle = sorted(self._microseconds)[len(self._microseconds) // 2]
        return [
            _result(case, "us a token, first tenth", first),
            _result(case, "us a token, last tenth", last, of=first),
            _result(case, "us a token, median tenth", middle),
            _result(case, "MB of growth", sum(growth.values())),
            *(_result(case, f"MB of growth, {name}", more) for name, more in growth.items()),
        ]


def _result(case: str, metric: str, value: float, of: float | None = None) -> Result:
    return Result(
        benchmark="long sequence",
        case=case,
        metric=metric,
        values=(value,),
        shares=() if of is None else (value / of,),
        share_of="" if of is None else "the first",
    )


def _complete(service: RunningService, fields: dict[str, Any]) -> dict[str, Any]:
    with _connection(service) as connection:
        body = json.dumps({"max_tokens": 0, **fields}, separators=(",", ":"))
        connection.request("POST", "/v1/completions", body)
        answer = connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200:
        raise RuntimeError(f"the service answered {answer.status}: {content}")
    return content


def _random_ids(subject: Subject, num_tokens: int) -> list[int]:
    rng = random.Random(0)
    return rng.choices(range(10, subject.config.vocab_size), k=num_tokens)


def _megabytes(service: RunningService) -> dict[str, float]:
    """Memory of the service by kind of process."""
    megabytes: dict[str, float] = {}
    for process in memory_of(service):
        megabytes[process.name] = megabytes.get(process.name, 0.0) + process.resident_mb
    return megabytes


@contextmanager
def _connection(service: RunningService) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    try:
        yield connection
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = subject_parser("python -m benchmarks.long_sequence", "Memory and time of long ones.")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="how many (a million)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")

    def run(subject: Subject, options: argparse.Namespace) -> list[Result]:
        return measure(subject, options.tokens, options.parts)

    options = parser.parse_args(arguments)
    some = "" if len(options.parts) == len(PARTS) else "-" + "-".join(options.parts)
    return run_part(f"long-sequence{some}", run, options)


if __name__ == "__main__":
    raise SystemExit(main())
