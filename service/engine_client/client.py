"""``EngineClient``: one background thread per process does all the talking; any thread may call in.

Streams never hang: when an engine dies, hangs or is restarted, everything it held fails at once
with ``EngineUnavailableError``, and the client reconnects by itself.
"""

from __future__ import annotations

import collections
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

import zmq

from service.engine.errors import (
    EngineError,
    EngineUnavailableError,
    OverloadedError,
    ShuttingDownError,
)
from service.engine.growth import Growth
from service.engine.request import EngineStatus, Event, Finished, Job
from service.engine.wire import Grow, Submit, encode
from service.engine_client.connection import BEAT_SECONDS, EngineConnection
from service.engine_client.stream import JobStream

logger = logging.getLogger(__name__)


class EngineClient:
    """Talks to one or more engines; each request goes to the least loaded.

    To be made after a fork, once per process. Thread-safe.

    Args:
        addresses: where the engines listen, such as ``ipc:///run/foretoken/engine-0``.
        heartbeat_timeout_seconds: how long an engine may be silent before it counts as hung. One
            that died is noticed at once.
    """

    def __init__(self, addresses: Sequence[str], *, heartbeat_timeout_seconds: float = 3.0) -> None:
        self._process_id = os.getpid()
        # None: nobody listens any more, but the engine has not confirmed the end yet.
        self._streams: dict[str, JobStream | None] = {}
        self._lock = threading.Lock()
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        identity = uuid.uuid4().bytes
        self._connections = [
            EngineConnection(self._context, address, b"w" + identity, heartbeat_timeout_seconds)
            for address in addresses
        ]
        self._thread = threading.Thread(target=self._run, name="engine-client", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> JobStream:
        """Hands ``jobs`` to one engine, which takes all of them or none.

        Returns at once; what the engine refuses is raised when the stream is read.

        Raises:
            ValueError: there is no job, or a ``job_id`` is in use: it is until the engine has
                confirmed the job's end, even if nobody listens any more.
            ShuttingDownError: every engine there is drains.
            EngineUnavailableError: no engine is connected.
        """
        self._check_process()
        job_ids = [job.job_id for job in jobs]
        if not job_ids or len(set(job_ids)) < len(job_ids) or self._streams.keys() & set(job_ids):
            raise ValueError(f"jobs need ids of their own, not in use already: {job_ids}")
        stream = JobStream(self, job_ids)
        with self._lock:
            connection, status = self._least_loaded()
            connection.num_unsent += len(jobs)
        message = Submit(status.engine_id, tuple(jobs))
        data = encode(message)
        self._streams.update(dict.fromkeys(job_ids, stream))
        self._call(lambda: self._send(connection, message, data))
        if self._closing:  # the thread may be gone already
            self.fail(job_ids, EngineUnavailableError("the service is shutting down"))
        return stream

    def check_room(self, num_jobs: int) -> None:
        """Refuses early, by what the engines said last, what ``submit`` would refuse anyway.

        Raises:
            OverloadedError: no engine has room for ``num_jobs`` more.
            ShuttingDownError: every engine there is drains.
            EngineUnavailableError: no engine is connected.
        """
        statuses = self._usable()
        for _, status in statuses:
            taken = status.running + status.waiting
            if taken + num_jobs <= status.max_running + status.max_queue:
                return
        wait = min(status.estimated_wait_seconds for _, status in statuses)
        raise OverloadedError("the queue is full; try again later", wait)

    def grow(self, job_id: str, growth: Growth) -> None:
        """Goes on with the token tree of an open job, which answers with a ``Grown``."""
        data = encode(Grow(job_id, growth))
        self._call(lambda: self._grow(job_id, data))

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Asks for the end of ``job_ids``, each of which still sends its ``Finished``."""
        wanted = tuple(job_ids)
        self._call(lambda: self._cancel(wanted))

    def abandon(self, job_ids: Iterable[str]) -> None:
        """Cancels ``job_ids`` and drops whatever they still send."""
        wanted = tuple(job_ids)
        for job_id in wanted:
            if job_id in self._streams:
                self._streams[job_id] = None
        self._call(lambda: self._cancel(wanted))

    def status(self) -> tuple[EngineStatus, ...]:
        """What each connected engine said last; empty when there is none."""
        statuses = (connection.status for connection in self._connections)
        return tuple(status for status in statuses if status is not None)

    @property
    def ready(self) -> bool:
        """Whether an engine is there that takes jobs."""
        return any(status.ready and not status.draining for status in self.status())

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Waits until ``ready``; tells whether it came about in time."""
        deadline = time.monotonic() + timeout_seconds
        while not self.ready:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Fails whatever is open and ends the thread."""
        if self._closing:
            return
        self._closing = True
        self._wake_up()
        self._thread.join()

    def deliver(self, events: tuple[Event, ...]) -> None:
        """Hands each stream its share of ``events``. Called by the connections."""
        shares: dict[JobStream, list[Event]] = {}
        for event in events:
            stream = self._streams.get(event.job_id)
            if type(event) is Finished:
                self._streams.pop(event.job_id, None)
            if stream is not None:
                shares.setdefault(stream, []).append(event)
        for stream, share in shares.items():
            stream.put(share)

    def fail(self, job_ids: Iterable[str], error: EngineError) -> None:
        """Ends the streams of ``job_ids`` with ``error``. Called by the connections."""
        popped = (self._streams.pop(job_id, None) for job_id in job_ids)
        for stream in {stream for stream in popped if stream is not None}:
            stream.put(error)

    def _usable(self) -> list[tuple[EngineConnection, EngineStatus]]:
        """The connections that may take jobs, with what their engines said last."""
        statuses = [(connection, connection.status) for connection in self._connections]
        connected = [(line, status) for line, status in statuses if status is not None]
        usable = [(line, status) for line, status in connected if not status.draining]
        if connected and not usable:
            raise ShuttingDownError("the service is shutting down")
        if not usable:
            raise EngineUnavailableError("no engine is running; it is being restarted")
        return usable

    def _least_loaded(self) -> tuple[EngineConnection, EngineStatus]:
        """The engine with the fewest jobs; ours are counted at once, the others' by its word."""
        return min(
            self._usable(),
            key=lambda pair: max(pair[0].num_jobs, pair[1].running + pair[1].waiting),
        )

    def _send(self, connection: EngineConnection, message: Submit, data: bytes) -> None:
        connection.submit(message, data, self)
        with self._lock:
            connection.num_unsent -= len(message.jobs)

    def _grow(self, job_id: str, data: bytes) -> None:
        for connection in self._connections:
            connection.grow(job_id, data)

    def _cancel(self, job_ids: tuple[str, ...]) -> None:
        for connection in self._connections:
            connection.cancel(job_ids)

    def _check_process(self) -> None:
        if os.getpid() != self._process_id:
            raise RuntimeError("an EngineClient does not survive a fork; make one per process")

    def _call(self, function: Callable[[], None]) -> None:
        """Has the client's thread call ``function``."""
        self._calls.append(function)
        self._wake_up()

    def _wake_up(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            self._talk()
        except Exception:
            logger.exception("the line to the engines broke down")
        finally:
            self._closing = True
            for connection in self._connections:
                connection.close(self)
            self.fail(tuple(self._streams), EngineUnavailableError("the service is shutting down"))
            self._context.term()

    def _talk(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake, zmq.POLLIN)
        for connection in self._connections:
            poller.register(connection.socket, zmq.POLLIN)
            poller.register(connection.monitor, zmq.POLLIN)
        next_beat = time.monotonic() + BEAT_SECONDS
        while not self._closing:
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT_SECONDS
                for connection in self._connections:
                    connection.beat(now, self)
            ready = dict(poller.poll(max(0, round((next_beat - now) * 1000))))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            self._make_calls()
            now = time.monotonic()
            for connection in self._connections:
                if connection.socket in ready:
                    connection.read(now, self)
                if connection.monitor in ready:
                    connection.read_monitor(now, self)

    def _make_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()
