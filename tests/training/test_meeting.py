"""Processes of one training meet: in any order, over lost calls, with strangers about."""

import socket
import threading
import time

import pytest

from model.errors import TrainingError
from training.cluster import Cluster
from training.meeting import meet


@pytest.fixture
def addresses():
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return tuple(f"127.0.0.1:{port}" for port in ports)


def started(cluster, met, stop=lambda: False):
    def go():
        try:
            meet(cluster, stop)
            met.append(cluster.index)
        except TrainingError as error:
            met.append(str(error))

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread


def called(address, greeting):
    """A connection to the chief, once it listens, on which ``greeting`` was sent."""
    host, port = address.split(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)), 10)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        connection.sendall(greeting)
        return connection


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_nobody_goes_on_before_all_are_there(addresses, order):
    met, threads = [], []
    for index in order:
        assert met == []
        threads.append(started(Cluster(3, index, addresses), met))
        time.sleep(0.3)
    for thread in threads:
        thread.join(20)
    assert sorted(met) == [0, 1, 2]


def test_who_is_gone_again_is_waited_for_anew_and_strangers_do_not_count(addresses):
    met = []
    chief = started(Cluster(3, 0, addresses), met)
    called(addresses[0], b"foretoken worker 2\n").close()
    strangers = [
        called(addresses[0], greeting)
        for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"foretoken worker 9\n", b"\xff" * 64)
    ]
    other = started(Cluster(3, 1, addresses), met)
    time.sleep(1.0)
    assert met == []
    late = started(Cluster(3, 2, addresses), met)
    for thread in (chief, other, late):
        thread.join(20)
    assert sorted(met) == [0, 1, 2]
    for stranger in strangers:
        stranger.close()


def test_the_address_is_free_for_tensorflow_afterwards(addresses):
    met = []
    threads = [started(Cluster(2, index, addresses[:2]), met) for index in range(2)]
    for thread in threads:
        thread.join(20)
    assert sorted(met) == [0, 1]
    socket.create_server(("127.0.0.1", int(addresses[0].split(":")[1]))).close()


@pytest.mark.parametrize("index", [0, 1])
def test_it_stops_when_it_is_told_to(addresses, index):
    met = []
    stop = threading.Event()
    thread = started(Cluster(2, index, addresses[:2]), met, stop.is_set)
    time.sleep(0.5)
    assert met == []
    stop.set()
    thread.join(10)
    assert met == ["training was stopped while it waited for the other workers"]


def test_a_port_that_is_taken_is_told(addresses):
    with (
        socket.create_server(("", int(addresses[0].split(":")[1]))),
        pytest.raises(TrainingError, match=f"{addresses[0]}.* cannot be listened on"),
    ):
        meet(Cluster(2, 0, addresses[:2]), lambda: False)
