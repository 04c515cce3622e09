"""Whether the client is still there."""

import socket

import pytest

from service.peer import Peer


@pytest.fixture
def ends():
    first, second = socket.socketpair()
    with first, second:
        yield first, second


def test_a_waiting_client_is_there(ends):
    assert not Peer({"gunicorn.socket": ends[0]}).gone()


def test_a_closed_connection_is_noticed(ends):
    ends[1].close()
    assert Peer({"gunicorn.socket": ends[0]}).gone()


def test_looking_takes_nothing_away(ends):
    ends[1].sendall(b"next request")
    assert not Peer({"gunicorn.socket": ends[0]}).gone()
    assert ends[0].recv(100) == b"next request"


def test_a_socket_of_ours_that_is_closed_counts_as_gone(ends):
    ends[0].close()
    peer = Peer({"gunicorn.socket": ends[0]})
    assert peer.gone()
    peer.hang_up()


def test_without_a_socket_nobody_is_gone():
    peer = Peer({})
    assert not peer.gone()
    peer.hang_up()


def test_after_hanging_up_the_answer_can_still_be_written(ends):
    Peer({"gunicorn.socket": ends[0]}).hang_up()
    ends[0].sendall(b"last words")
    assert ends[1].recv(100) == b"last words"
    assert ends[0].recv(100) == b""
