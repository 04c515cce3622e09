"""Closing connections gently, without anybody waiting for it: RFC 9112, section 9.6.

Closed at once, a socket with unread data answers with a reset, which can cost the client the end of
its answer. So the server ends its side, reads on until the client has ended too or has had its
time, and closes then. gunicorn's threaded worker does all that in the one thread that accepts and
hands out connections: each client that just keeps its connection would stop the service for two
seconds.
"""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from functools import partial

#: How long a client may take to end its side, and how much it may still send.
LINGER_SECONDS = 2.0
_MAX_BYTES = 65536


class LingeringClose:
    """The connections that are being closed. Used by the thread that runs ``poller``.

    Args:
        poller: calls the function that a socket is registered with once it is readable.
        on_closed: called whenever a connection is closed for good.
    """

    def __init__(self, poller: selectors.BaseSelector, on_closed: Callable[[], None]) -> None:
        self._poller = poller
        self._on_closed = on_closed
        # By their deadlines, the next one first: each gets as long as the others.
        self._deadlines: collections.OrderedDict[socket.socket, float] = collections.OrderedDict()
        self._num_bytes: dict[socket.socket, int] = {}

    def begin(self, connection: socket.socket) -> None:
        """Ends this side of ``connection``; closes it when the other side ends, or in a while."""
        try:
            connection.setblocking(False)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has hung up already
            self._close(connection)
            return
        self._deadlines[connection] = time.monotonic() + LINGER_SECONDS
        self._num_bytes[connection] = 0
        self._poller.register(connection, selectors.EVENT_READ, partial(self._read, connection))

    def close_expired(self) -> None:
        """Closes the connections that have had their time; to be called now and then."""
        now = time.monotonic()
        while self._deadlines and next(iter(self._deadlines.values())) <= now:
            self._end(next(iter(self._deadlines)))

    def _read(self, connection: socket.socket, _: object) -> None:
        """Reads away what has come."""
        try:
            num_bytes = len(connection.recv(_MAX_BYTES))
        except BlockingIOError:
            return
        except OSError:
            num_bytes = 0
        self._num_bytes[connection] += num_bytes
        if not num_bytes or self._num_bytes[connection] >= _MAX_BYTES:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._deadlines[connection], self._num_bytes[connection]
        self._poller.unregister(connection)
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.close()
        self._on_closed()
