"""Whether the client is still there."""

import socket

import pytest

from service.fibres import FibreSocket
from service.peer import Peer


@pytest.fixture
def ends():
    first, second = socket.socketpair()
    with FibreSocket(first, 30.0) as ours, second:
        yield ours, second


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


def test_hanging_up_is_for_after_the_answer_and_the_client_stays_there(ends):
    assert not ends[0].closes_after_answer
    peer = Peer({"gunicorn.socket": ends[0]})
    peer.hang_up()
    assert ends[0].closes_after_answer
    assert not peer.gone()
    ends[0].sendall(b"last words")
    assert ends[1].recv(100) == b"last words"
