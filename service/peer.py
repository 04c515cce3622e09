"""The client at the other end of a request: whether it is still there."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any

from model.errors import ForetokenError
from service.fibres import FibreSocket

#: How long a client may neither send the rest of its request nor take any of its answer.
STALLED_SECONDS = 30


class ClientGoneError(ForetokenError):
    """The client closed its connection; nobody reads the answer."""


def has_hung_up(connection: socket.socket) -> bool:
    """Whether the other end has closed it, whatever it has sent before. Never waits."""
    poll = select.poll()
    try:
        poll.register(connection, select.POLLRDHUP)
    except (OSError, ValueError):
        return True
    return bool(poll.poll(0))


class Peer:
    """The client's end of a connection.

    WSGI itself notices a gone client only when writing to it fails; before that, and while
    nothing is written, the socket has to be asked.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        """Takes the socket that gunicorn puts into the WSGI environment; without one, none left."""
        self._socket: FibreSocket | None = environ.get("gunicorn.socket")

    def gone(self) -> bool:
        """Whether the client has closed the connection. Never waits, reads nothing away."""
        if self._socket is None:
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self) -> None:
        """The connection closes after the answer now being written, whatever its head said.

        A socket that is only shut for reading would still be read from where the next request has
        come already, and its client would be taken for one that has gone.
        """
        if self._socket is not None:
            self._socket.closes_after_answer = True
