"""A process that puts load on a server: one thread, asyncio, standard library only.

    python -m benchmarks.load_client < load.json > outcome.json

Closed loop: every client sends its next request as soon as the last one is answered, over one
connection kept open. Open loop: each request is sent at its own time, however many are unanswered.
It runs on the machine it measures, so it is cheap, and reports the processor time it took.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

from benchmarks.http_connection import Answer, Connection, connect, post

_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ClosedLoad:
    """What to send: to ``path``, ``bodies[client]`` one after the other, from every client.

    After ``seconds`` a client begins no further request.
    """

    port: int
    path: str
    bodies: Sequence[Sequence[str]]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class OpenLoad:
    """What to send: to ``path``, each of ``bodies`` after its number of seconds in ``times``.

    Attributes:
        hang_up_at: seconds after which nothing more is sent and what is unanswered is given up, by
            closing its connection; None: wait for every answer.
    """

    port: int
    path: str
    bodies: Sequence[str]
    times: Sequence[float]
    hang_up_at: float | None = None


@dataclass(kw_only=True)
class Outcome:
    """What came back. Of requests sent at set times, seconds count from when each was due.

    Attributes:
        wall_seconds: from the first request to the last answer.
        processor_seconds: what the load generator itself took of that.
        num_tokens: completion tokens, as the answers count them.
        num_failed: answers that are neither 200 nor a refusal; broken and silent connections.
        num_given_up: unanswered requests whose connection was closed in the end.
        latencies: seconds of each request that was answered.
        ended_at: when each of those answers was complete, in seconds since the start.
        ended_tokens: how many tokens each of them had.
        first_tokens: seconds to the first event with text of each streamed answer.
        gaps: seconds between one event with text and the next; 0 if they arrived together.
        refusals: seconds to each 503 with ``Retry-After``.
    """

    wall_seconds: float = 0.0
    processor_seconds: float = 0.0
    num_tokens: int = 0
    num_failed: int = 0
    num_given_up: int = 0
    latencies: list[float] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    ended_tokens: list[int] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    @property
    def cores_taken(self) -> float:
        """Cores the load generator took."""
        return self.processor_seconds / self.wall_seconds


def put_load(load: ClosedLoad | OpenLoad) -> Outcome:
    """Runs ``load`` in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load_client"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    return Outcome(**json.loads(done.stdout))


class _Notes:
    """Fills an ``Outcome``."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self.start = time.perf_counter()

    def add(self, answer: Answer, since: float) -> None:
        """Notes an answer that is complete now, to a request that was due at ``since``."""
        now, outcome = time.perf_counter(), self.outcome
        if answer.status == 503 and answer.retry_after.isdigit():
            outcome.refusals.append(now - since)
        elif answer.status != 200 or answer.broken or answer.num_tokens < 0:
            outcome.num_failed += 1
        else:
            outcome.num_tokens += answer.num_tokens
            outcome.latencies.append(now - since)
            outcome.ended_at.append(now - self.start)
            outcome.ended_tokens.append(answer.num_tokens)
            times = answer.text_times
            outcome.first_tokens += [time - since for time in times[:1]]
            outcome.gaps += [after - before for before, after in pairwise(times)]


async def _run(load: ClosedLoad | OpenLoad) -> Outcome:
    processor_start, notes = time.process_time(), _Notes()
    if isinstance(load, ClosedLoad):
        clients = []
        for bodies in load.bodies:
            requests = [post(load.path, body.encode()) for body in bodies]
            clients.append(_client(load, requests, notes))
        await asyncio.gather(*clients)
    else:
        await _OpenLoop(load, notes).run()
    notes.outcome.wall_seconds = time.perf_counter() - notes.start
    notes.outcome.processor_seconds = time.process_time() - processor_start
    return notes.outcome


async def _client(load: ClosedLoad, requests: Sequence[bytes], notes: _Notes) -> None:
    until = notes.start + load.seconds
    try:
        connection = await connect(load.port)
        for request in requests:
            since = time.perf_counter()
            if since > until:
                break
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                notes.add(await connection.exchange(request), since)
        connection.close()
    except (OSError, TimeoutError):
        notes.outcome.num_failed += 1


class _OpenLoop:
    """Sends requests when they are due; connections are kept and used again when free."""

    def __init__(self, load: OpenLoad, notes: _Notes) -> None:
        self._load = load
        self._notes = notes
        self._idle: list[Connection] = []

    async def run(self) -> None:
        """Until all is answered, or the time has come to hang up."""
        load = self._load
        requests = [post(load.path, body.encode()) for body in load.bodies]
        self._notes.start = time.perf_counter()
        tasks = []
        for due, request in zip(load.times, requests, strict=True):
            wait = self._notes.start + due - time.perf_counter()
            await asyncio.sleep(max(0.0, wait))
            tasks.append(asyncio.create_task(self._send(request, self._notes.start + due)))
        if load.hang_up_at is not None:
            await asyncio.sleep(self._notes.start + load.hang_up_at - time.perf_counter())
            for task in tasks:
                self._notes.outcome.num_given_up += task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, request: bytes, since: float) -> None:
        connection = None
        try:
            connection = self._idle.pop() if self._idle else await connect(self._load.port)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                self._notes.add(await connection.exchange(request), since)
            self._idle.append(connection)
        except (OSError, TimeoutError):
            self._notes.outcome.num_failed += 1
        except asyncio.CancelledError:
            if connection is not None:
                connection.close()
            raise


def main() -> None:
    """Reads the load from standard input, writes the outcome to standard output."""
    fields = json.load(sys.stdin)
    load = OpenLoad(**fields) if "times" in fields else ClosedLoad(**fields)
    json.dump(asdict(asyncio.run(_run(load))), sys.stdout)


if __name__ == "__main__":
    main()
