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
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.command import run_part, subject_parser
from benchmarks.record import Result
from benchmarks.service_process import RunningService, memory_of, running_service
from benchmarks.subject import Subject

SHORT_TOKENS = 50_000
TENTHS = 10

_NEVER_SECONDS = "86400"
#: The same whatever the length, so that the requests are.
_PIECE_TOKENS = 1250
#: Small enough that each tenth, also of a short sequence, is read in many looks.
_READ_BYTES = 4096
_COUNT = re.compile(rb'"completion_tokens":(\d+)')


def measure(subject: Subject, num_tokens: int = SHORT_TOKENS) -> list[Result]:
    """Growth of memory, and the time of a token at the beginning and at the end."""
    limits = ("--max-prompt-tokens", "--max-tokens")
    flags = [part for flag in limits for part in (flag, str(max(num_tokens, 1000)))]
    flags += ["--request-timeout-s", _NEVER_SECONDS, "--max-body-bytes", str(8 * num_tokens + 4096)]
    flags += ["--state-cache-mb", "0"]
    token_ids = _random_ids(subject, num_tokens)
    with running_service(subject.directory, *flags) as service:
        return [
            *_read_in_pieces(service, token_ids),
            *_read_at_once(service, token_ids),
            *_write(service, num_tokens),
        ]


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
        megabytes.append(_megabytes(service))
    case = f"{len(token_ids):,} tokens: prompt at once"
    return [
        _result(case, "us a token, a tenth of it", 1e6 * seconds[0]),
        _result(case, "us a token, all of it", 1e6 * seconds[1], of=1e6 * seconds[0]),
        _result(case, "MB left over, first time", megabytes[1] - megabytes[0]),
        _result(case, "MB left over, second time", megabytes[2] - megabytes[1]),
    ]


def _write(service: RunningService, num_tokens: int) -> list[Result]:
    """Streams a completion; the server counts the tokens in every chunk."""
    body = {"max_tokens": num_tokens, "ignore_eos": True, "stream": True, "top_k": 40, "seed": 1}
    body |= {"stream_options": {"continuous_usage_stats": True}}
    tenths, due = _Tenths(service), num_tokens // TENTHS
    with _connection(service) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body))
        for count in _counts(connection.getresponse()):
            if count >= due:
                tenths.note(num_tokens // TENTHS)
                due += num_tokens // TENTHS
    return tenths.results(f"{num_tokens:,} tokens: completion, streamed")


def _counts(answer: http.client.HTTPResponse) -> Iterator[int]:
    """How many tokens there are, now and then."""
    while part := answer.read1(_READ_BYTES):
        counts = _COUNT.findall(part)
        if counts:
            yield int(counts[-1])


class _Tenths:
    """Time and memory at the end of each tenth."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._last = time.perf_counter()
        self._microseconds: list[float] = []
        self._megabytes: list[float] = []

    def note(self, num_tokens: int) -> None:
        """A tenth of ``num_tokens`` is done."""
        now = time.perf_counter()
        self._microseconds.append(1e6 * (now - self._last) / num_tokens)
        self._megabytes.append(_megabytes(self._service))
        self._last = time.perf_counter()

    def results(self, case: str) -> list[Result]:
        """Growth since the first tenth; the last tenth's time of a token beside the first's."""
        first, last = self._microseconds[0], self._microseconds[-1]
        middle = sorted(self._microseconds)[len(self._microseconds) // 2]
        return [
            _result(case, "us a token, first tenth", first),
            _result(case, "us a token, last tenth", last, of=first),
            _result(case, "us a token, median tenth", middle),
            _result(case, "MB of growth", self._megabytes[-1] - self._megabytes[0]),
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


def _megabytes(service: RunningService) -> float:
    return sum(process.resident_mb for process in memory_of(service))


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

    def run(subject: Subject, options: argparse.Namespace) -> list[Result]:
        return measure(subject, options.tokens)

    return run_part("long-sequence", run, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
