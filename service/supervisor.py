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
from service.child_process import ChildProcess
from service.metrics_directory import count_into
from service.settings import Settings
from service.shared_flags import SharedFlags

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0
#: A process that ran for so long has recovered: the next restart is prompt again.
_RECOVERED_SECONDS = 10.0
_TICK_SECONDS = 0.25
_STARTING_TICK_SECONDS = 0.02
_KILL_AFTER_SECONDS = 5.0
#: How long a client may neither send the rest of its request nor take any of its answer.
_STALLED = struct.pack("@ll", 30, 0)


class _Kept:
    """A process that is started again whenever it ends, ever more slowly while it keeps failing."""

    def __init__(self, name: str, target: Callable[[], int | None]) -> None:
        self._name = name
        self._target = target
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        self._started_at = 0.0
        self._restart_at: float | None = None
        self.num_starts = 0
        self.start()

    def start(self) -> None:
        self._started_at = time.monotonic()
        self._restart_at = None
        self.num_starts += 1
        self.process = ChildProcess(self._name, self._target, _SIGNALS)

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
        self._engines: list[_Kept] = []
        self._http: _Kept | None = None

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
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
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
        models = []
        for number, bundle in enumerate(self._bundles):
            addresses = [
                f"ipc://{runtime_directory}/engine-{number}-{engine}"
                for engine in range(self._settings.engines)
            ]
            models.append((bundle, addresses))
            for address in addresses:
                name = f"engine {bundle.manifest.name}"
                self._engines.append(_Kept(name, _engine_target(bundle, address, self._settings)))
        self._http = _Kept("HTTP server", self._http_target(models, runtime_directory))

    def _http_target(
        self, models: Sequence[tuple[Bundle, Sequence[str]]], runtime_directory: Path
    ) -> Callable[[], None]:
        def run() -> None:
            count_into(runtime_directory / "metrics")
            from service.http_server import HttpServer  # noqa: PLC0415  not in the supervisor

            HttpServer(self._settings, models, self._listener, self._flags, runtime_directory).run()

        return run

    def _serve(self, when_ready: Callable[[], None]) -> bool:
        """Keeps everything running until a signal asks to stop; False: it cannot start."""
        ready = False
        while True:
            info = signal.sigtimedwait(_SIGNALS, _TICK_SECONDS if ready else _STARTING_TICK_SECONDS)
            if info is not None and info.si_signo != signal.SIGCHLD:
                return True
            if not ready and self._failed_to_start():
                return False
            for kept in self._kept():
                kept.keep()
            if not ready and self._answers():
                ready = True
                when_ready()

    def _kept(self) -> list[_Kept]:
        return self._engines + ([self._http] if self._http is not None else [])

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
            info = signal.sigtimedwait(_SIGNALS, 0.05)
            if info is not None and info.si_signo != signal.SIGCHLD:
                logger.warning("asked again to stop: not waiting any longer")
                return

    def _stop(self) -> None:
        """Ends all processes, gently first."""
        processes = [kept.process for kept in self._kept()]
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


def _engine_target(bundle: Bundle, address: str, settings: Settings) -> Callable[[], int | None]:
    def run() -> int | None:
        from service.engine.main import run_engine  # noqa: PLC0415  not in the supervisor

        return run_engine(bundle, address, settings)

    return run


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
