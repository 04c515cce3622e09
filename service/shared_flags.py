"""What supervisor and HTTP workers tell each other: numbers in memory that forks share.

A worker counts its requests in a slot of its own, so that no lock is shared and a killed worker's
count can be taken back.
"""

from __future__ import annotations

import mmap
import threading

_NUM_SLOTS = 256
_DRAINING = _NUM_SLOTS


class SharedFlags:
    """To be made before the first fork."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * (_NUM_SLOTS + 1))).cast("q")
        self._lock = threading.Lock()

    def start_draining(self) -> None:
        """From now on new work is refused."""
        self._numbers[_DRAINING] = 1

    def draining(self) -> bool:
        """Whether new work is refused."""
        return bool(self._numbers[_DRAINING])

    def add_active(self, worker: int, change: int) -> None:
        """In the worker of that number a request begins (1), or its answer is complete (-1)."""
        with self._lock:
            self._numbers[worker % _NUM_SLOTS] += change

    def forget_worker(self, worker: int) -> None:
        """The worker of that number is gone, and its requests with it."""
        self._numbers[worker % _NUM_SLOTS] = 0

    def forget_all_workers(self) -> None:
        """All workers are gone."""
        for slot in range(_NUM_SLOTS):
            self._numbers[slot] = 0

    def num_active(self) -> int:
        """Requests being answered, over all workers."""
        return sum(self._numbers[:_NUM_SLOTS])
