"""Requests that are answered ahead of all others: told apart before a thread is theirs.

An operator's questions must be answered however many requests wait for a thread. They cost next to
nothing, and nothing has to be waited for: not even for the rest of the request itself.
"""

from __future__ import annotations

import re
import socket

#: More than an operator's probe has to say.
_MAX_BYTES = 4096

_SERVICE_REQUEST = re.compile(
    rb"(?:GET|HEAD) /(?:health|ready|metrics)(?:\?[^ \r\n]*)? HTTP/1\.[01]\r\n"
)
_ANNOUNCES_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect)[ \t]*:", re.I)
_END = b"\r\n\r\n"


def received(connection: socket.socket) -> bytes:
    """What has come, or the beginning of it. Never waits, reads nothing away."""
    try:
        return connection.recv(_MAX_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""


def is_express(request: bytes) -> bool:
    """Whether ``request`` is one whole request for ``/health``, ``/ready`` or ``/metrics``."""
    return (
        _SERVICE_REQUEST.match(request) is not None
        and request.find(_END) == len(request) - len(_END)
        and not _ANNOUNCES_BODY.search(request)
    )
