"""An error as the bytes of an HTTP answer, for what never gets to the application."""

from __future__ import annotations

import json
from collections.abc import Mapping

from service.errors import ApiError


def raw_answer(
    error: ApiError, reason: str, before: Mapping[str, str], after: Mapping[str, str]
) -> bytes:
    """Status line, headers and body.

    Args:
        error: what it says.
        reason: behind the status.
        before: headers before those of the content.
        after: headers behind them.
    """
    body = json.dumps(error.body(), separators=(",", ":")).encode("ascii")
    content = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    headers = {**before, **content, **after}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {error.status} {reason}\r\n{lines}\r\n".encode("latin-1") + body
