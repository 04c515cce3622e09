"""A process forked from the supervisor: starts with its memory, dies with it at the latest."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def die_with_parent() -> None:
    """Has the kernel kill this process when the one that forked it ends, however it ends.

    Linux only; elsewhere a killed supervisor leaves its children running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def name_process(name: str) -> None:
    """Gives this process a name of its own in ``ps`` and ``top``. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15])


class ChildProcess:
    """One forked process.

    Attributes:
        name: for the log.
        pid: its process id.
        exit_code: of ``wait``'s kind (negative: the signal that killed it); None while it runs.
    """

    def __init__(
        self, name: str, target: Callable[[], int | None], unblock: Iterable[signal.Signals] = ()
    ) -> None:
        """Forks; the child runs ``target`` and exits with what it returns.

        Args:
            name: for the log.
            target: what the child does.
            unblock: signals that the supervisor blocks for itself and the child must not.
        """
        self.name = name
        self.exit_code: int | None = None
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run_child(name, target, unblock, parent)

    def poll(self) -> int | None:
        """The exit code, if the process has ended."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _run_child(
    name: str, target: Callable[[], int | None], unblock: Iterable[signal.Signals], parent: int
) -> None:
    """The child's whole life; never returns."""
    exit_code = 1
    try:
        die_with_parent()
        name_process(name)
        # Its own group: an interrupt at the terminal is for the supervisor alone, which drains.
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, unblock)
        if os.getppid() == parent:
            exit_code = target() or 0
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  nothing may get out of the child
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
