"""Waiting for the other processes of a training, before TensorFlow connects them.

TensorFlow waits in native code, where Ctrl-C is not heard and nobody is told who is missing. So the
processes first meet here: the chief listens at its own address of ``TF_CONFIG``, the others call
it, and when all are there it sends them on. TensorFlow then takes the address over.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable

from model.errors import TrainingError
from training.cluster import Cluster

_LOOK_SECONDS = 0.2
_CALL_SECONDS = 5.0
_GREETING = re.compile(rb"foretoken worker (\d{1,6})\n")
_GO = b"go\n"


def meet(cluster: Cluster, should_stop: Callable[[], bool]) -> None:
    """Returns when all processes of ``cluster`` are there.

    Args:
        cluster: of at least two processes.
        should_stop: asked again and again; once true, waiting ends.

    Raises:
        TrainingError: it was told to stop, or the chief's port is taken.
    """
    if cluster.is_chief:
        with _listener(cluster.addresses[0]) as listener:
            _await_all(listener, cluster.num_workers, should_stop)
    else:
        while not _await_chief(cluster, should_stop):
            time.sleep(_LOOK_SECONDS)


def _listener(address: str) -> socket.socket:
    _, port = _host_and_port(address)
    try:
        return socket.create_server(("", port))
    except OSError as error:
        raise TrainingError(
            f"{address}, the chief's address in TF_CONFIG, cannot be listened on: {error.strerror}"
        ) from error


def _await_all(listener: socket.socket, num_workers: int, should_stop: Callable[[], bool]) -> None:
    """Takes calls until every other process has one open, and answers them."""
    others = range(1, num_workers)
    arrived: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        try:
            while len(arrived) < len(others):
                _check(should_stop)
                for key, _ in selector.select(_LOOK_SECONDS):
                    if key.fileobj is listener:
                        caller, _ = listener.accept()
                        selector.register(caller, selectors.EVENT_READ)
                        continue
                    assert isinstance(key.fileobj, socket.socket)
                    caller = key.fileobj
                    index = _greeting_of(caller)
                    if index not in others:  # gone, or nobody we know
                        selector.unregister(caller)
                        caller.close()
                        arrived = {i: other for i, other in arrived.items() if other is not caller}
                    else:
                        arrived[index] = caller
            for caller in arrived.values():
                caller.sendall(_GO)
        finally:
            for key in tuple(selector.get_map().values()):
                if key.fileobj is not listener:
                    assert isinstance(key.fileobj, socket.socket)
                    key.fileobj.close()


def _greeting_of(caller: socket.socket) -> int:
    """Who calls; 0: it has hung up, or is no worker."""
    try:
        match = _GREETING.fullmatch(caller.recv(64))
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _await_chief(cluster: Cluster, should_stop: Callable[[], bool]) -> bool:
    """Calls the chief and waits to be sent on; False: it is not there, or gone again."""
    _check(should_stop)
    try:
        with socket.create_connection(
            _host_and_port(cluster.addresses[0]), _CALL_SECONDS
        ) as connection:
            connection.sendall(b"foretoken worker %d\n" % cluster.index)
            connection.settimeout(_LOOK_SECONDS)
            while True:
                _check(should_stop)
                try:
                    return connection.recv(len(_GO)) == _GO
                except TimeoutError:
                    continue
    except OSError:
        return False


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise TrainingError("training was stopped while it waited for the other workers")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
