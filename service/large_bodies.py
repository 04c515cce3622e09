"""Large request bodies in bounded memory: how many bytes of them are held, and worked on, at once.

A body takes many times its size while it is parsed and tokenized. Threads are many, so large bodies
wait for each other here; small ones, which are nearly all, never do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import ApiError

#: Bodies up to this size are small.
SMALL_BODY_BYTES = 65_536
#: How many bodies of the greatest size are held in memory at the same time, unparsed.
_NUM_HELD = 16


class Turn:
    """Leave to work on a body of ``num_bytes``, until ``end``."""

    def __init__(self, room: _Room, num_bytes: int) -> None:
        self._room = room
        self._num_bytes = num_bytes

    def end(self) -> None:
        """Lets the next one work; a second call does nothing."""
        num_bytes, self._num_bytes = self._num_bytes, 0
        self._room.leave(num_bytes)


class LargeBodies:
    """What all requests of one HTTP worker share.

    Args:
        max_body_bytes: no body is larger.
        timeout_seconds: how long one waits before it is refused.
    """

    def __init__(self, max_body_bytes: int, timeout_seconds: float) -> None:
        self._held = _Room(_NUM_HELD * max_body_bytes, timeout_seconds)
        self._worked_on = _Room(max_body_bytes, timeout_seconds)

    @contextmanager
    def held(self, num_bytes: int) -> Iterator[None]:
        """Room in memory for a body of at most ``num_bytes``, as long as its client takes.

        Raises:
            ApiError: ``overloaded``.
        """
        self._held.enter(num_bytes)
        try:
            yield
        finally:
            self._held.leave(num_bytes)

    def take_turn(self, num_bytes: int) -> Turn:
        """Waits until a body of ``num_bytes`` may be worked on.

        Raises:
            ApiError: ``overloaded``.
        """
        self._worked_on.enter(num_bytes)
        return Turn(self._worked_on, num_bytes)


class _Room:
    """So many bytes, for whoever comes first."""

    def __init__(self, num_bytes: int, timeout_seconds: float) -> None:
        self._free = num_bytes
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()

    def enter(self, num_bytes: int) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= num_bytes, self._timeout_seconds):
                raise ApiError(
                    "overloaded",
                    "too many large requests at the same time; try again later, or send less",
                )
            self._free -= num_bytes

    def leave(self, num_bytes: int) -> None:
        with self._changed:
            self._free += num_bytes
            self._changed.notify_all()
