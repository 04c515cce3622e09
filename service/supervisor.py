"""Starts the engines and the HTTP server, keeps them running, and ends them in good order.

The only process that starts others. It owns the listening socket, so that no connection is refused
while gunicorn starts, and imports as little as possible: its memory is every child's.
"""

from __future__ import annotations

import http.client
import logging
import resource
import secrets
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import SecretStr

from model.bundle.load import Bundle
from model.errors import ConfigurationError
from service.busy_board import BusyBoard
from service.engine_group import EngineGroup, start_engines
from service.kept_process import SUPERVISOR_SIGNALS, KeptProcess
from service.metrics_directory import count_into
from service.peer import STALLED_SECONDS
from service.reloader import Reloader
from service.settings import Settings
from service.shared_flags import SharedFlags

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
_BUSY_TICK_SECONDS = 0.02
_KILL_AFTER_SECONDS = 5.0
_STALLED = struct.pack("@ll", STALLED_SECONDS, 0)


class Supervisor:
    """One service: its listening socket, its engines, its HTTP server."""

    def __init__(self, settings: Settings, bundles: Sequence[Bundle]) -> None:
        """Binds the listening socket; starts nothing yet.

        Raises:
            ConfigurationError: host and port cannot be listened on.
        """
        self._settings = _with_state_secret(settings)
        self._bundles = bundles
        self._flags = SharedFlags()
        self._listener = _listen(settings)
        self._reloader: Reloader | None = None
        self._http: KeptProcess | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._listener.getsockname()[1])

    def run(self, when_ready: Callable[[], None]) -> int:
        """Serves until told to stop by SIGTERM or SIGINT.

        Args:
            when_ready: called once, when the service answers for the first time.

        Returns the exit code.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISOR_SIGNALS)
        _raise_file_limit()
        runtime_directory = Path(tempfile.mkdtemp(prefix="foretoken-"))
        try:
            self._start(runtime_directory)
            if not self._serve(when_ready):
                return 1
            self._drain()
            return 0
        finally:
            self._stop()
            shutil.rmtree(runtime_directory, ignore_errors=True)

    def _start(self, runtime_directory: Path) -> None:
        board = BusyBoard()
        groups = [
            start_engines(bundle, runtime_directory / f"engine-{number}", self._settings, board)
            for number, bundle in enumerate(self._bundles)
        ]
        self._reloader = Reloader(self._settings, self._flags, runtime_directory, groups, board)
        self._http = KeptProcess("HTTP server", self._http_target(groups, runtime_directory))

    def _http_target(
        self, groups: Sequence[EngineGroup], runtime_directory: Path
    ) -> Callable[[], None]:
        models = [(group.bundle, group.addresses) for group in groups]

        def run() -> None:
            count_into(runtime_directory / "metrics")
            from service.http_server import HttpServer  # noqa: PLC0415  not in the supervisor

            HttpServer(self._settings, models, self._listener, self._flags, runtime_directory).run()

        return run

    def _serve(self, when_ready: Callable[[], None]) -> bool:
        """Keeps everything running until a signal asks to stop; False: it cannot start."""
        ready = False
        while True:
            busy = not ready or (self._reloader is not None and self._reloader.busy)
            tick_seconds = _BUSY_TICK_SECONDS if busy else _TICK_SECONDS
            info = signal.sigtimedwait(SUPERVISOR_SIGNALS, tick_seconds)
            if info is not None and info.si_signo != signal.SIGCHLD:
                return True
            if not ready and self._failed_to_start():
                return False
            for kept in self._kept():
                kept.keep()
            if ready and self._reloader is not None:
                self._reloader.tick()
            if not ready and self._answers():
                ready = True
                when_ready()

    def _kept(self) -> list[KeptProcess]:
        engines = [] if self._reloader is None else self._reloader.kept()
        return engines + ([self._http] if self._http is not None else [])

    def _failed_to_start(self) -> bool:
        """Whether a process gave up at once: it has said why, and would again."""
        return any(kept.num_starts == 1 and (kept.process.poll() or 0) > 0 for kept in self._kept())

    def _answers(self) -> bool:
        """Whether the service says it is ready."""
        host = self._settings.host
        host = "localhost" if host in ("0.0.0.0", "::") else host
        connection = http.client.HTTPConnection(host, self.port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _drain(self) -> None:
        """Refuses new work and waits for the work at hand, as long as the settings allow."""
        logger.info("shutting down: waiting for %d requests", self._flags.num_active())
        self._flags.start_draining()
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while self._flags.num_active() > 0 and time.monotonic() < deadline:
            info = signal.sigtimedwait(SUPERVISOR_SIGNALS, 0.05)
            if info is not None and info.si_signo != signal.SIGCHLD:
                logger.warning("asked again to stop: not waiting any longer")
                return

    def _stop(self) -> None:
        """Ends all processes, gently first."""
        leaving = [] if self._reloader is None else self._reloader.leaving()
        processes = [kept.process for kept in (*self._kept(), *leaving)]
        for process in reversed(processes):
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + _KILL_AFTER_SECONDS
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                for process in processes:
                    process.send(signal.SIGKILL)
            time.sleep(0.01)
        self._listener.close()


def _with_state_secret(settings: Settings) -> Settings:
    """Every process started from here signs states with one secret, if only a random one."""
    if settings.state_keys is not None:
        return settings
    return settings.model_copy(update={"state_keys": SecretStr(secrets.token_hex())})


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: a client that stalls does not hold a thread for ever.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _STALLED)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _STALLED)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on host {settings.host}, port {settings.port}: {error.strerror}. "
            "Is another server running there? Choose another with --port."
        ) from error
    return listener


def _raise_file_limit() -> None:
    """Every open stream is a file: takes as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
