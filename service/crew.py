"""How many requests are worked on at the same time in one process, while any number wait.

CPython runs one thread at a time. The others that want to run wait for their turn in intervals of
five milliseconds; with hundreds of them, waking them takes more of the processor than the work
does. So a request that is all there, which a thread can work on at once, gets its thread when few
others work. A thread whose request waits, for its engine, does not count, nor one that takes long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, TypeVar

_MAX_WORKING = 2
#: Who has not waited or ended by then waits for something that is not known here.
_LONG_SECONDS = 0.5
#: Who has waited for less is not looked after: after an overload thousands may have hung up, whose
#: refusals would keep those waiting who have come since.
_PATIENT_SECONDS = 0.25

RequestT = TypeVar("RequestT")


class Crew(Generic[RequestT]):
    """The requests that are worked on, and those whose turn has not come. For one thread only.

    Args:
        start: has a thread work on a request.
        drop_if_gone: tells of a request that has waited whether nobody waits for its answer any
            more, and if so lets go of it.
        refuse_if_full: answers a request that there is no room for, and tells whether it has; such
            a request needs no thread.
    """

    def __init__(
        self,
        start: Callable[[RequestT], None],
        drop_if_gone: Callable[[RequestT], bool],
        refuse_if_full: Callable[[RequestT], bool],
    ) -> None:
        self._start = start
        self._drop_if_gone = drop_if_gone
        self._refuse_if_full = refuse_if_full
        # Each with the time since when it has waited.
        self._waiting: deque[tuple[RequestT, float]] = deque()
        # When each was started, the one that has worked longest first.
        self._working: dict[RequestT, float] = {}

    def add(self, request: RequestT) -> None:
        """Has ``request`` worked on as soon as it is its turn, if there is room for it then."""
        self._waiting.append((request, time.monotonic()))
        self.go_on()

    def leave(self, request: RequestT) -> None:
        """``request`` is done, or waits; nothing happens if it is not worked on."""
        if self._working.pop(request, None) is not None:
            self.go_on()

    def go_on(self) -> None:
        """Starts whom there is room for; to be called now and then, too."""
        now = time.monotonic()
        while self._working and next(iter(self._working.values())) < now - _LONG_SECONDS:
            del self._working[next(iter(self._working))]
        while self._waiting and len(self._working) < _MAX_WORKING:
            request, since = self._waiting.popleft()
            if since < now - _PATIENT_SECONDS and self._drop_if_gone(request):
                continue
            if self._refuse_if_full(request):
                continue
            self._working[request] = now
            self._start(request)


_LEAVE: ContextVar[Callable[[], None] | None] = ContextVar("leave", default=None)


def join(leave: Callable[[], None]) -> None:
    """This thread works on a request from now on; ``leave`` is called when it begins to wait."""
    _LEAVE.set(leave)


def leave() -> None:
    """The request that this thread works on begins to wait."""
    function = _LEAVE.get()
    if function is not None:
        _LEAVE.set(None)
        function()
