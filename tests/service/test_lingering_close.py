"""Connections that end: who hangs up is let go, who does not is not waited for."""

import selectors
import socket

import pytest

from service import lingering_close
from service.lingering_close import LingeringClose


class Server:
    """A poller with one connection, on whose way out an answer is."""

    def __init__(self) -> None:
        self.poller = selectors.DefaultSelector()
        self.num_closed = 0
        self.closing = LingeringClose(self.poller, self._note_closed)
        listener = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(listener.getsockname(), timeout=10)
        self.connection, _ = listener.accept()
        listener.close()
        self.connection.sendall(b"the answer")

    def _note_closed(self) -> None:
        self.num_closed += 1

    def turn(self, seconds: float = 5.0) -> None:
        """What the server's thread does all the time."""
        for key, _ in self.poller.select(seconds):
            key.data(key.fileobj)
        self.closing.close_expired()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.client.close()
    server.connection.close()
    server.poller.close()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while part := client.recv(4096):
        received += part
    return received


def test_a_client_that_hangs_up_is_let_go(server):
    server.closing.begin(server.connection)
    assert read_all(server.client) == b"the answer"
    assert server.num_closed == 0
    server.client.close()
    server.turn()
    assert server.num_closed == 1
    assert not server.poller.get_map()


def test_a_client_that_has_hung_up_before_is_let_go(server):
    server.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.client.close()  # with a reset
    server.closing.begin(server.connection)
    if not server.num_closed:
        server.turn()
    assert server.num_closed == 1


def test_what_a_client_still_sends_does_not_cost_it_the_answer(server):
    for _ in range(10):
        server.client.sendall(b"x" * 1000)
    server.closing.begin(server.connection)
    server.turn()
    assert server.num_closed == 0
    assert read_all(server.client) == b"the answer"


def test_a_client_that_sends_on_and_on_is_not_listened_to_for_ever(server):
    server.closing.begin(server.connection)
    with pytest.raises(OSError):
        while True:
            server.client.sendall(b"x" * 1000)
            server.turn(0.0)
    assert server.num_closed == 1


def test_a_client_that_does_not_hang_up_has_had_its_time(server, monkeypatch):
    server.closing.begin(server.connection)
    server.turn(0.0)
    assert server.num_closed == 0
    now = lingering_close.time.monotonic() + lingering_close.LINGER_SECONDS
    monkeypatch.setattr(lingering_close.time, "monotonic", lambda: now)
    server.turn(0.0)
    assert server.num_closed == 1
    assert not server.poller.get_map()
