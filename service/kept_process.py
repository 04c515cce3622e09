"""A process that is started again whenever it ends, ever more slowly while it keeps failing."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from service.child_process import ChildProcess

logger = logging.getLogger(__name__)

#: What the supervisor waits for, and therefore blocks; its children must not.
SUPERVISOR_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0
#: A process that ran for so long has recovered: the next restart is prompt again.
_RECOVERED_SECONDS = 10.0


class KeptProcess:
    """One such process.

    Attributes:
        num_starts: how often it was started.
        process: as started last.
    """

    def __init__(self, name: str, target: Callable[[], int | None]) -> None:
        self._name = name
        self._target = target
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        self._started_at = 0.0
        self._restart_at: float | None = None
        self.num_starts = 0
        self.start()

    def start(self) -> None:
        """Starts the process."""
        self._started_at = time.monotonic()
        self._restart_at = None
        self.num_starts += 1
        self.process = ChildProcess(self._name, self._target, SUPERVISOR_SIGNALS)

    def keep(self) -> None:
        """Looks after the process; starts it again when it is time."""
        now = time.monotonic()
        if self.process.poll() is None:
            return
        if self._restart_at is None:
            if now - self._started_at > _RECOVERED_SECONDS:
                self._backoff_seconds = _FIRST_BACKOFF_SECONDS
            self._restart_at = now + self._backoff_seconds
            logger.error(
                "%s (process %d) ended with %d; starting it again in %.1f s",
                self._name,
                self.process.pid,
                self.process.exit_code,
                self._backoff_seconds,
            )
            self._backoff_seconds = min(2 * self._backoff_seconds, _LONGEST_BACKOFF_SECONDS)
        if now >= self._restart_at:
            self.start()
