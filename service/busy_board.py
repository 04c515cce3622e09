"""When each engine last computed: times in memory that forks share.

An engine that finds no other one at work may use all cores. The supervisor makes one board for all
engines of all models, since they share the cores.
"""

from __future__ import annotations

import mmap
import time

_NUM_SEATS = 64
#: An engine counts as at work for so long after it last computed: longer than the longest run of a
#: network, and than a client takes between two requests.
_AT_WORK_SECONDS = 0.1


class BusyBoard:
    """To be made before the first fork."""

    def __init__(self) -> None:
        self._times = memoryview(mmap.mmap(-1, 8 * _NUM_SEATS)).cast("d")
        self._num_taken = 0

    def take_seat(self) -> BusySeat:
        """Room for one more engine; to be taken by the parent of all of them.

        Beyond 64 engines two share a seat, and so do not see each other.
        """
        self._num_taken += 1
        return BusySeat(self._times, (self._num_taken - 1) % _NUM_SEATS)


class BusySeat:
    """One engine's place on the board."""

    def __init__(self, times: memoryview[float], number: int) -> None:
        self._times = times
        self._own = number

    def note(self) -> None:
        """This engine computes now."""
        self._times[self._own] = time.monotonic()

    def alone(self) -> bool:
        """Whether no other engine has computed lately."""
        lately = time.monotonic() - _AT_WORK_SECONDS
        times = list(self._times)
        times[self._own] = 0.0
        return max(times) < lately
