"""Requests that are answered ahead of all others: told apart before a thread is theirs.

An operator's questions must be answered however many requests wait for a thread. They cost next to
nothing, and nothing has to be waited for: not even for the rest of the request itself.
"""

from __future__ import annotations

import re
import socket

#: Longer requests are not known to be all there.
_MAX_BYTES = 16_384

_SERVICE_REQUEST = re.compile(
    rb"(?:GET|HEAD) /(?:health|ready|metrics)(?:\?[^ \r\n]*)? HTTP/1\.[01]\r\n"
)
_ANNOUNCES_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect)[ \t]*:", re.I)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,5})\r\n", re.I)
_CHUNKED_OR_ASKING = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.I)
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


def is_whole(request: bytes) -> bool:
    """Whether ``request`` is all there: nothing of it has to be waited for."""
    head, end, body = request.partition(_END)
    if not end:
        return False
    length = _LENGTH.search(head + b"\r\n")
    if length is None:
        return not _ANNOUNCES_BODY.search(head)
    return len(body) >= int(length[1]) and not _CHUNKED_OR_ASKING.search(head)
