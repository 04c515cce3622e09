"""Server-sent events: how a stream is written (WHATWG HTML, section Server-sent events)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

#: A comment; keeps proxies and clients from taking a silent stream for a dead one.
PING: Final = b": ping\n\n"
DONE: Final = b"data: [DONE]\n\n"

PING_AFTER_SECONDS: Final = 10.0

HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


def with_pings(
    parts: Iterable[bytes], clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """``parts`` without the empty ones, and a ``PING`` whenever nothing was sent for too long.

    Args:
        parts: what there is to send; empty ones at least every second or so while there is nothing.
        clock: seconds.
    """
    last_sent = clock()
    for part in parts:
        if part or clock() - last_sent >= PING_AFTER_SECONDS:
            yield part or PING
            last_sent = clock()


def event(data: str) -> bytes:
    """One event; ``data`` is a line of ASCII JSON."""
    return f"data: {data}\n\n".encode("ascii")


def error_event(body: Mapping[str, Any]) -> bytes:
    """The event that ends a stream that failed: the error envelope."""
    return event(json.dumps(body))
