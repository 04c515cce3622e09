"""``Lines``: engine clients in one thread, which may do other things, too: it runs a poller.

If clients have a thread of their own, it and the one that serves HTTP take CPython's lock from each
other at every message. In one thread that costs a function call.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

logger = logging.getLogger(__name__)

_MOST_SECONDS = 1.0
#: Whoever waits for a lock in the lines' thread looks after them so often.
_LOOK_SECONDS = 0.005


class Line(Protocol):
    """What ``Lines`` needs of an engine client. Used in their thread only."""

    def files(self) -> Iterable[tuple[int, Callable[[object], None]]]:
        """What to listen to, with the functions to be called when there is something to read."""

    def stir(self) -> None:
        """Something may have come, of which the poller has not told."""

    def turn(self, now: float) -> None:
        """Does all there is to do at ``now``, in ``time.monotonic()`` seconds."""

    def next_turn(self) -> float:
        """When there is something to do next, if nothing comes before."""

    def end(self) -> None:
        """Hangs up."""


class Lines:
    """The clients of one process. They begin to talk when a poller is there."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._changes: deque[Callable[[], None]] = deque()
        self._wake_up = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller: selectors.BaseSelector | None = None
        self._thread: int | None = None

    @property
    def is_here(self) -> bool:
        """Whether this is the thread in which they run."""
        return threading.get_ident() == self._thread

    def attach(self, poller: selectors.BaseSelector) -> None:
        """Has them run in this thread, which runs ``poller`` and calls ``turn`` after it.

        Args:
            poller: calls the function that a file is registered with once the file is ready.
        """
        self._thread = threading.get_ident()
        self._poller = poller
        poller.register(self._wake_up, selectors.EVENT_READ, self._hear)
        self.turn()

    def run_in_background(self) -> None:
        """Has them run in a new thread, until all have hung up."""
        threading.Thread(target=self._run, name="engine-client", daemon=True).start()

    def add(self, line: Line) -> None:
        """One more. From any thread."""
        self._changes.append(partial(self._add, line))
        self.wake()

    def remove(self, line: Line) -> None:
        """Hangs it up. From any thread."""
        self._changes.append(partial(self._remove, line))
        self.wake()

    def wake(self) -> None:
        """There is something to do for one of them. From any thread."""
        if not self.is_here:
            os.eventfd_write(self._wake_up, 1)

    def turn(self) -> None:
        """Does all there is to do for them now."""
        while self._changes:
            self._changes.popleft()()
        now = time.monotonic()
        for line in tuple(self._lines):
            try:
                line.turn(now)
            except Exception:
                logger.exception("a line to the engines broke down")
                self._remove(line)

    def turn_unpolled(self) -> None:
        """As ``turn``, where the poller is not run meanwhile."""
        for line in self._lines:
            line.stir()
        self.turn()

    def seconds_to_next(self, most: float) -> float:
        """After how many seconds ``turn`` has something to do; ``most`` if later or never."""
        if self._changes:
            return 0.0
        soonest = min((line.next_turn() for line in self._lines), default=float("inf"))
        return min(most, max(0.0, soonest - time.monotonic()))

    def acquire(self, lock: threading.Lock) -> None:
        """Takes ``lock``, whose holder may wait for what these lines hear."""
        while not lock.acquire(timeout=_LOOK_SECONDS if self.is_here else -1):
            self.turn_unpolled()

    def _run(self) -> None:
        with selectors.DefaultSelector() as poller:
            self.attach(poller)
            while self._lines:
                for key, _ in poller.select(self.seconds_to_next(_MOST_SECONDS)):
                    key.data(key.fileobj)
                self.turn()

    def _hear(self, _: object) -> None:
        os.eventfd_read(self._wake_up)

    def _add(self, line: Line) -> None:
        assert self._poller is not None
        self._lines.append(line)
        for file, heard in line.files():
            self._poller.register(file, selectors.EVENT_READ, heard)

    def _remove(self, line: Line) -> None:
        assert self._poller is not None
        if line in self._lines:
            self._lines.remove(line)
            for file, _ in line.files():
                self._poller.unregister(file)
            line.end()
