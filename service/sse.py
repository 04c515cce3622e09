"""Server-sent events: how a stream is written (WHATWG HTML, section Server-sent events)."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def event(data: str) -> bytes:
    """One event; ``data`` is a line of ASCII JSON."""
    return f"data: {data}\n\n".encode("ascii")


def error_event(body: Mapping[str, Any]) -> bytes:
    """The event that ends a stream that failed: the error envelope."""
    return event(json.dumps(body))
