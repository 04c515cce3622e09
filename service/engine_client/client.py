"""``EngineClient``: one thread does all the talking, that of its ``Lines``; any thread may call in.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

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
from service.engine_client.lines import Lines
from service.engine_client.placement import Load, Readers, is_brief, join, spread, total_room
from service.engine_client.stream import JobStream

logger = logging.getLogger(__name__)

#: What the engines said last of how long one waits may be from before the queue filled up.
_LEAST_WAIT_SECONDS = 0.1


class EngineClient:
    """Talks to one or more engines as if they were one: their places and queues add up.

    Jobs go where the fewest are, or others like them (``placement.py``). With one client there is
    room for them exactly as long as the engines together have some. Of jobs by clients in other
    processes each learns within a quarter of a second, and whom one engine has to turn away is
    offered to the others.

    To be made after a fork, once per process. Thread-safe.

    Args:
        addresses: where the engines listen, such as ``ipc:///run/foretoken/engine-0``.
        heartbeat_timeout_seconds: how long an engine may be silent before it counts as hung. One
            that died is noticed at once.
        first: index of the engine whose turn it is where nothing speaks for another one; best a
            different one in each process.
        lines: whose thread does the talking; None: a new one.

    Attributes:
        begun: whether all engines have been there at the same time.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        heartbeat_timeout_seconds: float = 3.0,
        first: int = 0,
        lines: Lines | None = None,
    ) -> None:
        self.begun = False
        self._first = first
        self._process_id = os.getpid()
        # None: nobody listens any more, but the engine has not confirmed the end yet.
        self._streams: dict[str, JobStream | None] = {}
        self._lock = threading.Lock()
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._closing = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        identity = uuid.uuid4().bytes
        self._readers = Readers()
        self._connections = [
            EngineConnection(self._context, address, b"w" + identity, heartbeat_timeout_seconds)
            for address in addresses
        ]
        self._next_beat = 0.0
        self._ended = threading.Event()
        self._lines = Lines() if lines is None else lines
        self._lines.add(self)
        if lines is None:
            self._lines.run_in_background()

    def submit(self, jobs: Sequence[Job]) -> JobStream:
        """Hands ``jobs`` to the engines, which take all of them or none.

        Returns at once; that there is no room for them is raised when the stream is read.

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
        try:
            parts = self._place(jobs)
        except OverloadedError as error:
            stream.put(error)
            return stream
        self._streams.update(dict.fromkeys(job_ids, stream))
        for connection, message in parts:
            self._call(partial(connection.submit, message, encode(message), self))
        if self._closing:  # the thread may be gone already
            self.fail(job_ids, EngineUnavailableError("the service is shutting down"))
        return stream

    def check_room(self, num_jobs: int, num_ahead: int = 0) -> None:
        """Refuses early what ``submit`` would refuse anyway.

        Args:
            num_jobs: wanted.
            num_ahead: that others will have submitted before.

        Raises:
            OverloadedError: the engines have no room for ``num_jobs`` more.
            ShuttingDownError: every engine there is drains.
            EngineUnavailableError: no engine is connected.
        """
        with self._lock:
            usable = self._usable()
            loads = [connection.load(status) for connection, status in usable]
        if num_ahead + num_jobs > total_room(loads):
            raise _overloaded(num_jobs, loads, usable, num_ahead)

    def has_room(self, num_jobs: int) -> bool:
        """Whether there is room for ``num_jobs`` more; True where that is not known."""
        with self._lock:
            try:
                usable = self._usable()
            except EngineError:
                return True
            return num_jobs <= total_room([line.load(status) for line, status in usable])

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
        """Waits until it has ``begun`` and is ``ready``; tells whether it came about in time."""
        deadline = time.monotonic() + timeout_seconds
        while not (self.begun and self.ready):
            if time.monotonic() > deadline:
                return False
            if self._lines.is_here:
                self._lines.turn_unpolled()
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Fails whatever is open and hangs up."""
        if self._closing:
            return
        self._closing = True
        self._lines.remove(self)
        if self._lines.is_here:
            self._lines.turn()
        self._ended.wait()

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

    def turned_away(self, jobs: Sequence[Job]) -> None:
        """Offers ``jobs``, which an engine had no room for, to all. Called by the connections."""
        wanted = [job for job in jobs if self._streams.get(job.job_id) is not None]
        for job in jobs:
            if job not in wanted:
                self._streams.pop(job.job_id, None)
        if not wanted:
            return
        try:
            parts = self._place(wanted)
        except EngineError as error:
            self.fail([job.job_id for job in wanted], error)
            return
        for connection, message in parts:
            connection.submit(message, encode(message), self)

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

    def _place(self, jobs: Sequence[Job]) -> list[tuple[EngineConnection, Submit]]:
        """What to send to which engine, counted as on its way.

        Raises:
            OverloadedError, ShuttingDownError, EngineUnavailableError: as ``check_room``.
        """
        parts = []
        with self._lock:
            usable = self._usable()
            loads = [connection.load(status) for connection, status in usable]
            reader = self._readers.find(jobs[0])
            addresses = [connection.address for connection, _ in usable]
            favourite = addresses.index(reader) if reader in addresses else None
            if len(jobs) == 1 and is_brief(jobs[0]):
                counts = join(loads, favourite, self._first)
            else:
                counts = spread(len(jobs), loads, favourite)
            if counts is None:
                raise _overloaded(len(jobs), loads, usable)
            for (connection, status), count in zip(usable, counts, strict=True):
                if count:
                    share, jobs = jobs[:count], jobs[count:]
                    self._readers.note(share[0], connection.address)
                    connection.tally.add(share)
                    parts.append((connection, Submit(status.engine_id, tuple(share))))
        return parts

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
        self._lines.wake()

    def files(self) -> Iterator[tuple[int, Callable[[object], None]]]:
        """What ``Lines`` is to listen to."""
        for connection in self._connections:
            yield from connection.files()

    def stir(self) -> None:
        """Something may have come."""
        for connection in self._connections:
            connection.stirred = True

    def next_turn(self) -> float:
        """When to call ``turn`` if nothing comes before."""
        idle = not self._calls and not any(line.stirred for line in self._connections)
        return self._next_beat if idle else 0.0

    def turn(self, now: float) -> None:
        """Says what is to be said at ``now``, and takes what has come."""
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS
            for connection in self._connections:
                connection.beat(now, self)
        while self._calls:
            self._calls.popleft()()
        for connection in self._connections:
            connection.listen(now, self)
        if not self.begun:
            self.begun = len(self.status()) == len(self._connections)

    def end(self) -> None:
        """Fails whatever is open and hangs up."""
        self._closing = True
        for connection in self._connections:
            connection.close(self)
        self.fail(tuple(self._streams), EngineUnavailableError("the service is shutting down"))
        self._context.term()
        self._ended.set()


def _overloaded(
    num_jobs: int,
    loads: Sequence[Load],
    usable: Sequence[tuple[EngineConnection, EngineStatus]],
    num_ahead: int = 0,
) -> OverloadedError:
    """Says what is there and what is not, over all engines."""
    held = sum(load.held for load in loads) + num_ahead
    capacity = sum(status.max_running + status.max_queue for _, status in usable)
    return OverloadedError(
        f"the queue is full: {held} sequences run or wait, of at most {capacity}; "
        f"there is no room for {num_jobs} more. Try again later",
        max(_LEAST_WAIT_SECONDS, min(status.estimated_wait_seconds for _, status in usable)),
    )
