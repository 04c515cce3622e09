"""What supervisor and HTTP workers tell each other: numbers in memory that forks share.

A worker counts its requests in a slot of its own, so that no lock is shared and a killed worker's
count can be taken back.
"""

from __future__ import annotations

import mmap
import threading

_NUM_SLOTS = 256
_DRAINING = _NUM_SLOTS
_ANNOUNCED = _NUM_SLOTS + 1
_SWITCHED = _NUM_SLOTS + 2
#: Where the slots begin in which workers say which models they have ready, and still use.
_PREPARED = _NUM_SLOTS + 3
_IN_USE = _PREPARED + _NUM_SLOTS
_NUM_NUMBERS = _IN_USE + _NUM_SLOTS


class SharedFlags:
    """To be made before the first fork."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * _NUM_NUMBERS)).cast("q")
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
        for slots in (0, _PREPARED, _IN_USE):
            self._numbers[slots + worker % _NUM_SLOTS] = 0

    def forget_all_workers(self) -> None:
        """All workers are gone."""
        for worker in range(_NUM_SLOTS):
            self.forget_worker(worker)

    def num_active(self) -> int:
        """Requests being answered, over all workers."""
        return sum(self._numbers[:_NUM_SLOTS])

    def announce_models(self, generation: int) -> None:
        """The models of that generation, a number that grows, are there to be prepared."""
        self._numbers[_ANNOUNCED] = generation

    def announced_models(self) -> int:
        """The newest generation of models there is."""
        return int(self._numbers[_ANNOUNCED])

    def switch_models(self, generation: int) -> None:
        """From now on new requests are for the models of that generation."""
        self._numbers[_SWITCHED] = generation

    def current_models(self) -> int:
        """The generation of models that new requests are for."""
        return int(self._numbers[_SWITCHED])

    def set_prepared(self, worker: int, generation: int) -> None:
        """The worker of that number could go over to the models of that generation at once."""
        self._numbers[_PREPARED + worker % _NUM_SLOTS] = generation

    def num_prepared(self, generation: int) -> int:
        """How many workers could go over to the models of that generation at once."""
        return sum(n >= generation for n in self._numbers[_PREPARED:_IN_USE])

    def set_in_use(self, worker: int, generation: int) -> None:
        """The worker of that number uses models of no generation before that one."""
        self._numbers[_IN_USE + worker % _NUM_SLOTS] = generation

    def oldest_in_use(self) -> int | None:
        """The oldest generation of models that a worker still uses; None: there is no worker."""
        used = [number for number in self._numbers[_IN_USE:_NUM_NUMBERS] if number]
        return min(used, default=None)
