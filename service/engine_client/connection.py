"""A worker's line to one engine: the socket, whether the engine is there, and the jobs it holds.

Used by one thread only, the client's. Knows no streams and no threads: it turns what the socket and
its monitor say into events and failures for whoever drives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from service.engine.errors import (
    EngineError,
    EngineUnavailableError,
    ShuttingDownError,
)
from service.engine.request import EngineStatus, Event, Finished, Job
from service.engine.wire import (
    VERSION,
    Cancel,
    Events,
    Hello,
    Ping,
    Refused,
    Submit,
    ToWorker,
    Welcome,
    WireError,
    decode_to_worker,
    encode,
)
from service.engine_client.placement import Load, Tally

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5

_LOST = "the engine that held this job is gone"


class Receiver(Protocol):
    """Who gets what a connection hears."""

    def deliver(self, events: tuple[Event, ...]) -> None:
        """Takes the events of one message, in order."""

    def fail(self, job_ids: Iterable[str], error: EngineError) -> None:
        """Learns that these jobs have no engine any more."""

    def turned_away(self, jobs: Sequence[Job]) -> None:
        """Learns that these jobs found no room in the engine."""


class EngineConnection:
    """A line to the engine at ``address``.

    Attributes:
        address: ZeroMQ address the engine listens on.
        status: what the engine said last; None while none is there.
        tally: of this worker's jobs, those on their way to this connection counted in.
        stirred: whether there may be something to read.

    Jobs of this worker are counted as they come and go; those of other workers are known by what
    the engine said last.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        identity: bytes,
        heartbeat_timeout_seconds: float,
    ) -> None:
        self.address = address
        self.status: EngineStatus | None = None
        self.tally = Tally()
        self.stirred = True
        self._heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self._last_heard = 0.0
        self._last_beat = 0.0
        self._jobs: dict[str, Job] = {}
        self._num_of_others = 0
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.setsockopt(zmq.LINGER, 0)
        # Without ZMQ_IMMEDIATE, which would drop what an engine said last when it hangs up. What is
        # sent to one that is gone names its id, and the next engine refuses it.
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self.socket.setsockopt(zmq.SNDHWM, 10_000)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self.socket.connect(address)

    def load(self, status: EngineStatus) -> Load:
        """What the engine holds and has room for, what is on its way to it counted in.

        Args:
            status: of the engine, as it was found to be there.
        """
        held = self.tally.num_jobs + self._num_of_others
        room = status.max_running + status.max_queue - held
        return Load(held, room, self.tally.num_brief)

    def close(self, receiver: Receiver) -> None:
        """Hangs up; jobs still open fail."""
        self.lose(receiver)
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)

    def submit(self, message: Submit, data: bytes, receiver: Receiver) -> None:
        """Sends ``message`` (as ``data``), or fails its jobs if that engine is gone meanwhile."""
        job_ids = [job.job_id for job in message.jobs]
        if self.status is None or self.status.engine_id != message.engine_id:
            self.tally.take_off(message.jobs)
            receiver.fail(job_ids, EngineUnavailableError(_LOST))
            return
        self._jobs.update(zip(job_ids, message.jobs, strict=True))
        if not self._send(data):
            self.lose(receiver)

    def grow(self, job_id: str, data: bytes) -> None:
        """Sends ``data``, a ``Grow``, if the engine holds its job."""
        if job_id in self._jobs:
            self._send(data)

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Asks the engine to end those of ``job_ids`` it holds."""
        held = tuple(job_id for job_id in job_ids if job_id in self._jobs)
        if held:
            self._send(encode(Cancel(held)))

    def beat(self, now: float, receiver: Receiver) -> None:
        """Tells the engine that this worker lives; gives a silent engine up.

        To be called every ``BEAT_SECONDS``. Where it was not, this worker had no processor itself,
        and what the engine said meanwhile is still unread.
        """
        own_pause, self._last_beat = now - self._last_beat, now
        if self.status is None:
            return
        if own_pause > 2.0 * BEAT_SECONDS:
            self._last_heard = now
        if now - self._last_heard > self._heartbeat_timeout_seconds:
            logger.error("engine at %s has been silent too long", self.address)
            self.lose(receiver)
            self._send(encode(Hello(VERSION)))
            return
        self._send(encode(Ping()))

    def files(self) -> Iterator[tuple[int, Callable[[object], None]]]:
        """What to listen to, and what to call when there is something to read."""
        for line in (self.socket, self.monitor):
            yield int(line.getsockopt(zmq.FD)), self._stir

    def _stir(self, _: object) -> None:
        self.stirred = True

    def listen(self, now: float, receiver: Receiver) -> None:
        """Takes every message that has arrived, if any may have, and what befell the connection.

        ZeroMQ tells of a message once, and to whoever sends, too, who does not hear it: so whatever
        was sent has ``stirred`` the connection.
        """
        while self.stirred:
            self.stirred = False
            self._read(now, receiver)
            while _has_something(self.monitor):
                self._take_note(recv_monitor_message(self.monitor)["event"], now, receiver)

    def _read(self, now: float, receiver: Receiver) -> None:
        while _has_something(self.socket):
            data = self.socket.recv(zmq.NOBLOCK)
            try:
                message = decode_to_worker(data)
            except WireError:
                logger.exception("message from the engine at %s ignored", self.address)
                continue
            self._last_heard = now
            self._take(message, receiver)

    def _take_note(self, event: int, now: float, receiver: Receiver) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._send(encode(Hello(VERSION)))
        elif event == zmq.EVENT_DISCONNECTED:
            self._read(now, receiver)  # what the engine said last still counts
            self.lose(receiver)

    def lose(self, receiver: Receiver) -> None:
        """The engine is gone: fails every job it held."""
        self.status = None
        lost, self._jobs = self._jobs, {}
        self.tally.take_off(lost.values())
        if lost:
            logger.warning("engine at %s lost with %d jobs", self.address, len(lost))
            receiver.fail(lost, EngineUnavailableError(_LOST))

    def _take(self, message: ToWorker, receiver: Receiver) -> None:
        match message:
            case Events(events):
                for event in events:
                    if type(event) is Finished and (job := self._jobs.pop(event.job_id, None)):
                        self.tally.take_off([job])
                receiver.deliver(events)
            case EngineStatus():
                self._take_status(message, receiver)
            case Welcome(version, status):
                self._take_welcome(version, status, receiver)
            case Refused():
                self._take_refusal(message, receiver)

    def _take_status(self, status: EngineStatus, receiver: Receiver) -> None:
        if self.status is None:
            return  # not welcomed yet
        if self.status.engine_id != status.engine_id:
            self.lose(receiver)
            self._send(encode(Hello(VERSION)))
            return
        self._note(status)

    def _take_welcome(self, version: int, status: EngineStatus, receiver: Receiver) -> None:
        if version != VERSION:
            logger.error(
                "engine at %s speaks version %d of the wire format, not %d",
                self.address,
                version,
                VERSION,
            )
            return
        self.lose(receiver)  # a hello cancels whatever was open
        self._note(status)
        logger.info("engine %s at %s connected", status.engine_id, self.address)

    def _take_refusal(self, refused: Refused, receiver: Receiver) -> None:
        jobs = [self._jobs.pop(job_id) for job_id in refused.job_ids if job_id in self._jobs]
        self.tally.take_off(jobs)
        if refused.reason != "overloaded":
            receiver.fail(refused.job_ids, refusal_error(refused))
            return
        if self.status is not None:
            capacity = self.status.max_running + self.status.max_queue
            self._num_of_others = max(0, capacity - refused.room - len(self._jobs))
        receiver.turned_away(jobs)

    def _note(self, status: EngineStatus) -> None:
        self.status = status
        # What it has ended by now was heard before; what it has not seen yet counts as ours.
        self._num_of_others = max(0, status.running + status.waiting - len(self._jobs))

    def _send(self, data: bytes) -> bool:
        self.stirred = True
        try:
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def refusal_error(refused: Refused) -> EngineError:
    """The error that tells a submitter why the engine refused, unless it was for want of room."""
    if refused.reason == "shutting_down":
        return ShuttingDownError(refused.message)
    return EngineUnavailableError(refused.message)


def _has_something(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
