"""gunicorn as the service needs it: threads, a listening socket it is given, the application.

Worker processes only wait and format; the engines compute. Most requests need no thread, but every
sequence that may run or wait can park one, so threads outnumber them: ``/health`` answers with a
full queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from model.bundle.load import Bundle, load_bundle
from service.app import create_app
from service.child_process import die_with_parent, name_process
from service.engine_client.lines import Lines
from service.front import Front
from service.heap import give_memory_back
from service.http_worker import HttpWorker
from service.model_switch import ModelSwitch
from service.model_table import read_table
from service.quick_refusal import QuickRefusal
from service.served_model import ServedModel, ServedModels
from service.settings import Settings
from service.shared_flags import SharedFlags

#: Threads beyond those that sequences can park.
_SPARE_THREADS = 32
_MAX_CONNECTIONS = 10_000
_KEEP_ALIVE_SECONDS = 75
#: How long a worker that is told to stop may take to send what it has; draining came before.
STOP_SECONDS = 3


class HttpServer(BaseApplication):  # type: ignore[misc]  # untyped library
    """gunicorn, configured in code."""

    def __init__(
        self,
        settings: Settings,
        models: Sequence[tuple[Bundle, Sequence[str]]],
        listener: socket.socket,
        flags: SharedFlags,
        runtime_directory: Path,
    ) -> None:
        """Serves ``models``, bundles with the addresses of their engines, on ``listener``."""
        self._settings = settings
        self._models = models
        self._listener = listener
        self._flags = flags
        self._runtime_directory = runtime_directory
        self._worker = 0
        flags.forget_all_workers()
        give_memory_back()
        super().__init__()

    @property
    def max_body_bytes(self) -> int:
        """Larger bodies are refused unread."""
        return self._settings.max_body_bytes

    def load_config(self) -> None:
        """Sets what differs from gunicorn's defaults."""
        settings = self._settings
        capacity = settings.max_running + settings.max_queue
        values: dict[str, Any] = {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": settings.workers,
            "worker_class": HttpWorker,
            "threads": capacity * len(self._models) + _SPARE_THREADS,
            "worker_connections": _MAX_CONNECTIONS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "graceful_timeout": STOP_SECONDS,
            "timeout": 60,
            "worker_tmp_dir": str(self._runtime_directory),
            "control_socket_disable": True,
            "loglevel": "debug" if settings.log_level == "debug" else "warning",
            "post_fork": self._after_fork,
            "child_exit": self._after_exit,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Iterable[bytes]]:
        """The application; called once in every worker."""
        generation, bundles = self._served_now()
        lines = Lines()
        models = ServedModels(
            [
                ServedModel(bundle, addresses, self._settings, worker=self._worker, lines=lines)
                for bundle, addresses in bundles
            ]
        )
        switch = ModelSwitch(
            models,
            self._settings,
            self._flags,
            worker=self._worker,
            runtime_directory=self._runtime_directory,
            generation=generation,
            lines=lines,
        )
        switch.start()
        front = Front(
            self._settings, models, self._flags.draining, switch.follow, self._runtime_directory
        )
        add_active = partial(self._flags.add_active, self._worker)
        return _WorkersApp(create_app(front), add_active, QuickRefusal(front), lines)

    def _served_now(self) -> tuple[int, Sequence[tuple[Bundle, Sequence[str]]]]:
        """What is served, and since which generation: as at the start, or after reloads."""
        table = read_table(self._runtime_directory)
        if table is None or table.generation > self._flags.current_models() == 1:
            return 1, self._models
        return table.generation, [
            (load_bundle(Path(entry.directory)), entry.addresses) for entry in table.models
        ]

    def _after_fork(self, arbiter: object, worker: Worker) -> None:
        die_with_parent()
        name_process("HTTP worker")
        self._worker = worker.age

    def _after_exit(self, arbiter: object, worker: Worker) -> None:
        self._flags.forget_worker(worker.age)


class _WorkersApp:
    """The application as a worker calls it: it counts the requests whose answers are not complete.

    Attributes:
        quick_refusal: refuses in the application's place when there is no room.
        lines: to the engines; they run in the worker's first thread.
    """

    def __init__(
        self,
        app: Flask,
        add_active: Callable[[int], None],
        quick_refusal: QuickRefusal,
        lines: Lines,
    ) -> None:
        self._app = app
        self._add_active = add_active
        self.quick_refusal = quick_refusal
        self.lines = lines

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self._add_active(1)
        try:
            body = self._app(environ, start_response)
        except BaseException:
            self._add_active(-1)
            raise
        return _CountedBody(body, self._add_active)


class _CountedBody:
    def __init__(self, body: Iterable[bytes], add_active: Callable[[int], None]) -> None:
        self._body = body
        self._add_active = add_active

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Called by the server when the answer is complete, or cannot be completed."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._add_active(-1)
