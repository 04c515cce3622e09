"""What supervisor and HTTP workers tell each other: two numbers in memory shared across forks."""

from __future__ import annotations

import multiprocessing


class SharedFlags:
    """To be made before the first fork."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._draining = context.Value("b", 0, lock=False)
        self._active = context.Value("q", 0)

    def start_draining(self) -> None:
        """From now on new work is refused."""
        self._draining.value = 1

    def draining(self) -> bool:
        """Whether new work is refused."""
        return bool(self._draining.value)

    def add_active(self, change: int) -> None:
        """A request begins (1) or its answer is complete (-1)."""
        with self._active.get_lock():
            self._active.value += change

    def num_active(self) -> int:
        """Requests being answered, over all workers."""
        return int(self._active.value)
