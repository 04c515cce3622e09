"""A process that puts load on a server: one thread, asyncio, raw sockets, standard library only.

    python -m benchmarks.load_client < load.json > outcome.json

Closed loop: every client sends its next request as soon as the last one is answered, over one
connection kept open. It runs on the machine it measures, so it is cheap, and reports the processor
time it took.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_HEAD_LIMIT_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """What to send: to ``path``, ``bodies[client]`` one after the other, from every client.

    After ``seconds`` a client begins no further request.
    """

    port: int
    path: str
    bodies: Sequence[Sequence[str]]
    seconds: float


@dataclass(kw_only=True)
class Outcome:
    """What came back.

    Attributes:
        wall_seconds: from the first request to the last answer.
        processor_seconds: what the load generator itself took of that.
        num_tokens: completion tokens, as the answers count them.
        num_failed: answers with another status than 200, and broken or silent connections.
        latencies: seconds of each request that was answered.
        first_tokens: seconds to the first event with text of each streamed answer.
        gaps: seconds between one event with text and the next; 0 if they arrived together.
    """

    wall_seconds: float = 0.0
    processor_seconds: float = 0.0
    num_tokens: int = 0
    num_failed: int = 0
    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


def put_load(load: Load) -> Outcome:
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


async def _run(load: Load) -> Outcome:
    outcome = Outcome()
    clients = []
    for bodies in load.bodies:
        requests = [_request(load.path, body.encode()) for body in bodies]
        clients.append(_client(load, requests, outcome))
    processor_start, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*clients)
    outcome.wall_seconds = time.perf_counter() - start
    outcome.processor_seconds = time.process_time() - processor_start
    return outcome


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _client(load: Load, requests: Sequence[bytes], outcome: Outcome) -> None:
    until = time.perf_counter() + load.seconds
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", load.port, limit=_HEAD_LIMIT_BYTES
        )
        for request in requests:
            if time.perf_counter() > until:
                break
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await _exchange(reader, writer, request, outcome)
        writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        outcome.num_failed += 1


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, outcome: Outcome
) -> None:
    start = time.perf_counter()
    writer.write(request)
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
    if headers.get(b"transfer-encoding") == b"chunked":
        usage = await _read_stream(reader, start, outcome)
    else:
        body = await reader.readexactly(int(headers[b"content-length"]))
        usage = json.loads(body).get("usage")
    if status.split()[1] != b"200" or usage is None:
        outcome.num_failed += 1
        return
    outcome.latencies.append(time.perf_counter() - start)
    outcome.num_tokens += usage.get("completion_tokens", 0)


async def _read_stream(
    reader: asyncio.StreamReader, start: float, outcome: Outcome
) -> dict[str, Any] | None:
    """Reads a chunked answer of server-sent events; returns the usage in its last one."""
    usage_event = b""
    last: float | None = None
    while size := int(await reader.readuntil(b"\r\n"), 16):
        events = (await reader.readexactly(size + 2)).split(b"\n\n")
        now = time.perf_counter()
        for event in events:
            if not event.startswith(b"data: {"):
                continue
            if b'"choices": []' in event or b'"choices":[]' in event:
                usage_event = event
            elif last is None:
                outcome.first_tokens.append(now - start)
                last = now
            else:
                outcome.gaps.append(now - last)
                last = now
    await reader.readuntil(b"\r\n")
    usage: dict[str, Any] | None = None
    if usage_event:
        usage = json.loads(usage_event.removeprefix(b"data: "))["usage"]
    return usage


def main() -> None:
    """Reads the load from standard input, writes the outcome to standard output."""
    outcome = asyncio.run(_run(Load(**json.load(sys.stdin))))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
