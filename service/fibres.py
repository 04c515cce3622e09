"""Fibres: requests that take turns in one thread, each until it has to wait for something.

CPython runs one thread at a time and hands over at every call to the system. A request in a thread
of its own costs some 25 switches from thread to thread, which take more of the processor than the
request itself, and the near cache of whatever else runs there. A fibre (a greenlet) is switched by
a function call. Its code is what it would be in a thread: what has to wait does so by ``pause``, by
an inbox (``new_inbox``) or at a ``FibreSocket``, and these work in both.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent, greenlet

ItemT = TypeVar("ItemT")


class Inbox(Protocol[ItemT]):
    """Where one reader waits for what others put; ``queue.SimpleQueue`` is one for threads."""

    def put(self, item: ItemT) -> None:
        """Hands ``item`` over. From any thread; never waits."""

    def get(self, block: bool, timeout: float | None) -> ItemT:
        """The next item; if it is to ``block``, waits for it.

        Raises:
            queue.Empty: there is none, or none came within ``timeout`` seconds.
        """


def new_inbox() -> Inbox[Any]:
    """An inbox for the thread or the fibre that asks for it."""
    fibre = _CURRENT.get()
    return queue.SimpleQueue() if fibre is None else _FibreInbox(fibre)


def pause(seconds: float) -> None:
    """Waits for so long."""
    fibre = _CURRENT.get()
    if fibre is None:
        time.sleep(seconds)
    else:
        fibre.pause(seconds)


class Outcome:
    """What came of something that is done: as much of a ``concurrent.futures.Future`` as it takes.

    A future by itself, with its lock, takes 4 microseconds to make.
    """

    __slots__ = ("_error", "_value")

    def __init__(self, value: object = None, error: BaseException | None = None) -> None:
        self._value = value
        self._error = error

    def cancelled(self) -> bool:
        """It never is."""
        return False

    def exception(self) -> BaseException | None:
        """What ended it, if not its end."""
        return self._error

    def result(self) -> Any:  # noqa: ANN401  as it was returned
        """What it returned; raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._value


class Fibres:
    """The fibres of one thread, the one that runs ``poller``.

    Args:
        poller: calls the function that a file is registered with once the file is ready.
    """

    def __init__(self, poller: selectors.BaseSelector) -> None:
        self.poller = poller
        self._woken: deque[_Fibre] = deque()
        self._wake_up = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_called = False
        # When who has waited for long enough, and which wait of all: two are never equal.
        self._deadlines: list[tuple[float, int, _Fibre]] = []
        self._numbers = itertools.count()
        self._thread = threading.get_ident()
        poller.register(self._wake_up, selectors.EVENT_READ, self._hear)

    def start(self, function: Callable[[], Any], when_done: Callable[[Outcome], None]) -> None:
        """Runs ``function`` as a fibre, in a context of its own, until it waits or is done.

        Args:
            function: what to do.
            when_done: is called with what came of it, in no fibre.
        """
        _Fibre(self, function, when_done).go_on()

    def _hear(self, _: object) -> None:
        os.eventfd_read(self._wake_up)
        self._is_called = False

    def run_due(self) -> None:
        """Has those go on for whom something has come, or who have waited for long enough."""
        for _ in range(len(self._woken)):
            fibre = self._woken.popleft()
            if fibre.is_listening:
                fibre.go_on()
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, fibre = heapq.heappop(self._deadlines)
            if fibre.wait_number == number:
                fibre.go_on()

    def seconds_to_next(self, most: float) -> float:
        """After how many seconds ``run_due`` has something to do; ``most`` if later or never."""
        # Most waits end before their time, and nobody need wake up for those.
        while self._deadlines and self._deadlines[0][2].wait_number != self._deadlines[0][1]:
            heapq.heappop(self._deadlines)
        if self._woken:
            return 0.0
        if not self._deadlines:
            return most
        return min(most, max(0.0, self._deadlines[0][0] - time.monotonic()))

    def wake(self, fibre: _Fibre) -> None:
        """Has ``fibre`` go on soon. From any thread."""
        self._woken.append(fibre)
        if not self._is_called and threading.get_ident() != self._thread:
            self._is_called = True
            os.eventfd_write(self._wake_up, 1)

    def begin_wait(self, fibre: _Fibre, seconds: float) -> int:
        """The number of a wait of ``fibre``, which goes on after so many seconds at the latest."""
        number = next(self._numbers)
        heapq.heappush(self._deadlines, (time.monotonic() + seconds, number, fibre))
        return number


class _Fibre:
    """One of them.

    Attributes:
        is_listening: whether it waits, and goes on when it is woken.
        wait_number: of the wait that it is in, unless that has no end; else -1.
    """

    def __init__(
        self, fibres: Fibres, function: Callable[[], Any], when_done: Callable[[Outcome], None]
    ) -> None:
        self.is_listening = False
        self.wait_number = -1
        self._fibres = fibres
        self._function = function
        self._when_done = when_done
        self._outcome = Outcome()
        self._loop = getcurrent()
        self._greenlet = greenlet(self._run)

    def go_on(self) -> None:
        """Goes on until it waits again or is done. In the thread of its own, and in no fibre."""
        self._greenlet.switch()
        if self._greenlet.dead:
            self._when_done(self._outcome)

    def wake(self) -> None:
        """Has it go on soon, if it listens. From any thread."""
        self._fibres.wake(self)

    def pause(self, seconds: float | None) -> None:
        """Waits for so long; if None, until it is woken. In the fibre itself."""
        if seconds is not None:
            self.wait_number = self._fibres.begin_wait(self, seconds)
        self._loop.switch()
        self.wait_number = -1

    def wait_for(self, connection: socket.socket, event: int, seconds: float) -> bool:
        """Waits until ``connection`` is ready for ``event`` (of ``selectors``). In the fibre.

        Returns:
            Whether it was within so many seconds.
        """
        ready = []

        def note(_: object) -> None:
            ready.append(True)
            self.go_on()

        poller = self._fibres.poller
        poller.register(connection, event, note)
        try:
            self.pause(seconds)
        finally:
            poller.unregister(connection)
        return bool(ready)

    def _run(self) -> None:
        _CURRENT.set(self)
        try:
            self._outcome = Outcome(self._function())
        except BaseException as error:  # noqa: BLE001  raised again by who asks what came of it
            self._outcome = Outcome(error=error)


_CURRENT: ContextVar[_Fibre | None] = ContextVar("fibre", default=None)


class _FibreInbox:
    """An inbox that its fibre waits at."""

    def __init__(self, fibre: _Fibre) -> None:
        self._fibre = fibre
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        self._items.append(item)
        if self._fibre.is_listening:
            self._fibre.wake()

    def get(self, block: bool, timeout: float | None) -> Any:  # noqa: ANN401  as it was put
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            seconds = None if deadline is None else deadline - time.monotonic()
            if not block or (seconds is not None and seconds <= 0):
                raise queue.Empty
            # In this order: another thread puts an item and looks then whether somebody listens.
            self._fibre.is_listening = True
            if not self._items:
                self._fibre.pause(seconds)
            self._fibre.is_listening = False
        return self._items.popleft()


class FibreSocket(socket.socket):
    """A connection that never keeps the other fibres waiting; for threads a socket as any other.

    Args:
        connection: is not to be used any more.
        stalled_seconds: a fibre gives a client up that takes or sends nothing for so long.

    Attributes:
        closes_after_answer: whether the answer now being written is the connection's last.
    """

    closes_after_answer = False

    def __init__(self, connection: socket.socket, stalled_seconds: float) -> None:
        super().__init__(
            connection.family, connection.type, connection.proto, fileno=connection.detach()
        )
        self._stalled_seconds = stalled_seconds

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As of ``socket.socket``.

        Raises:
            ConnectionResetError: in a fibre: the client stalled.
        """
        fibre = _CURRENT.get()
        if fibre is None or flags & socket.MSG_DONTWAIT:
            return super().recv(bufsize, flags)
        while True:
            try:
                return super().recv(bufsize, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait(fibre, selectors.EVENT_READ)

    def sendall(self, data: Any, flags: int = 0, /) -> None:  # noqa: ANN401  as in the base
        """As of ``socket.socket``.

        Raises:
            ConnectionResetError: in a fibre: the client stalled.
        """
        fibre = _CURRENT.get()
        if fibre is None:
            super().sendall(data, flags)
            return
        rest = memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[self.send(rest, flags | socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self._wait(fibre, selectors.EVENT_WRITE)

    def _wait(self, fibre: _Fibre, event: int) -> None:
        if not fibre.wait_for(self, event, self._stalled_seconds):
            raise ConnectionResetError(errno.ECONNRESET, "the client stalled and was given up")
