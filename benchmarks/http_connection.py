"""One kept HTTP/1.1 connection as a load generator needs it: little work for each answer.

Plain answers and streams of server-sent events; when what came is noted as it comes.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

_EVENT = b"data: {"
_USAGE_EVENT = b'"choices":[]'
_EMPTY_TEXT = b'"text":""'
_ERROR_EVENT = b'data: {"error"'


@dataclass(slots=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: of HTTP.
        retry_after: the header of that name; empty if there was none.
        num_tokens: completion tokens, as the answer counts them; -1: it does not say.
        broken: a stream that ended with an error.
        text_times: when each event with text came, by ``time.perf_counter``.
    """

    status: int = 0
    retry_after: str = ""
    num_tokens: int = -1
    broken: bool = False
    text_times: list[float] = field(default_factory=list)


async def connect(port: int) -> Connection:
    """A connection to 127.0.0.1.

    Raises:
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


def post(path: str, body: bytes) -> bytes:
    """A request with a JSON body, as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One request after the other, each answered before the next."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._events = bytearray()
        self._answer = Answer()
        self._body_bytes: int | None = None
        self._chunked = False
        self._done: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Sends ``request`` and waits for the whole answer.

        Raises:
            ConnectionError: the server hung up.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server has hung up")
        self._answer = Answer()
        self._body_bytes, self._chunked = None, False
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        """Hangs up, answered or not."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._buffer += data
        if self._body_bytes is None and not self._chunked and not self._read_head():
            return
        if self._chunked:
            self._read_chunks()
        elif self._body_bytes is not None and len(self._buffer) >= self._body_bytes:
            self._end_plain(self._body_bytes)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status, *lines = bytes(self._buffer[:end]).lower().split(b"\r\n")
        del self._buffer[: end + 4]
        headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
        self._answer.status = int(status.split()[1])
        self._answer.retry_after = headers.get(b"retry-after", b"").decode()
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        if not self._chunked:
            self._body_bytes = int(headers[b"content-length"])
        return True

    def _end_plain(self, num_bytes: int) -> None:
        body = json.loads(self._buffer[:num_bytes])
        del self._buffer[:num_bytes]
        self._answer.num_tokens = _count_tokens(body)
        self._finish()

    def _read_chunks(self) -> None:
        """Takes whole chunks from the buffer, as many as are there."""
        while (line_end := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:line_end], 16)
            end = line_end + 2 + size
            if len(self._buffer) < end + 2:
                return
            self._events += self._buffer[line_end + 2 : end]
            del self._buffer[: end + 2]
            if not size:
                self._finish()
                return
            self._read_events()

    def _read_events(self) -> None:
        now = time.perf_counter()
        while (end := self._events.find(b"\n\n")) >= 0:
            event = self._events[:end]
            del self._events[: end + 2]
            if not event.startswith(_EVENT):
                continue
            if event.startswith(_ERROR_EVENT):
                self._answer.broken = True
            elif _USAGE_EVENT in event:
                self._answer.num_tokens = _count_tokens(json.loads(event.removeprefix(b"data: ")))
            elif _EMPTY_TEXT not in event:
                self._answer.text_times.append(now)

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(self._answer)


def _count_tokens(body: dict[str, object]) -> int:
    """The completion tokens by ``usage`` (OpenAI) or ``tokens_predicted`` (llama.cpp)."""
    usage = body.get("usage")
    count = usage.get("completion_tokens", 0) if isinstance(usage, dict) else None
    count = body.get("tokens_predicted", -1) if count is None else count
    assert isinstance(count, int)
    return count
