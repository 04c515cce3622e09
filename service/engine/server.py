"""The engine's side of the wire: ``EngineServer`` feeds an ``EngineLoop`` from a ZeroMQ socket.

One thread does everything: messages are heard between steps, events leave after each step, one
message per worker. A worker that is gone, or silent too long, has its jobs cancelled.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from dataclasses import asdict
from typing import Literal

import zmq

from service.engine.loop import EngineLoop
from service.engine.request import EngineStatus
from service.engine.wire import (
    VERSION,
    Cancel,
    Events,
    Grow,
    Hello,
    Ping,
    Refused,
    Submit,
    ToEngine,
    ToWorker,
    Welcome,
    WireError,
    decode_to_engine,
    encode,
)

logger = logging.getLogger(__name__)

STATUS_SECONDS = 0.25
#: Messages for a worker that does not read them; one more, and it counts as gone.
_MAX_UNREAD_MESSAGES = 20_000
#: How long the last messages may take to reach the workers of an engine that ends.
_LINGER_MILLISECONDS = 5_000
#: Between steps shorter than this it does not ask each time whether a message has come.
_HEARING_SECONDS = 0.0005


class EngineServer:
    """Serves ``loop`` at ``address`` until told to stop.

    Args:
        loop: the engine.
        address: ZeroMQ address to listen on, such as ``ipc:///run/foretoken/engine-0``.
        model_digest: of the bundle it runs, for the status.
        drain_seconds: how long running and waiting jobs may take once told to stop.
        worker_timeout_seconds: how long a worker may be silent.
    """

    def __init__(
        self,
        loop: EngineLoop,
        address: str,
        *,
        model_digest: str = "",
        drain_seconds: float = 30.0,
        worker_timeout_seconds: float = 10.0,
    ) -> None:
        self._loop = loop
        self._model_digest = model_digest
        self._drain_seconds = drain_seconds
        self._worker_timeout_seconds = worker_timeout_seconds
        self._engine_id = uuid.uuid4().hex
        self._last_heard: dict[bytes, float] = {}
        self._stopping = False
        self._told: tuple[bool, bool, bool] | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        # A message to a worker that is not there is an error: so we learn that it is gone.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDHWM, _MAX_UNREAD_MESSAGES)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MILLISECONDS)
        self._socket.bind(address)

    def stop(self) -> None:
        """Takes nothing new, finishes what there is and returns from ``run``. Safe in a signal."""
        self._stopping = True

    def run(self) -> None:
        """Serves until ``stop`` and the end of the jobs at hand, or of the time they get."""
        next_status = next_hearing = 0.0
        give_up: float | None = None
        while True:
            now = time.monotonic()
            if self._stopping:
                give_up = now + self._drain_seconds if give_up is None else give_up
                if not self._loop.busy or now > give_up:
                    break
            if now >= next_status:
                next_status = now + STATUS_SECONDS
                self._drop_silent_workers(now)
                self._tell_status()
            wait_seconds = 0.0 if self._loop.has_work else next_status - now
            if wait_seconds or now >= next_hearing:
                self._receive(wait_seconds)
                next_hearing = time.monotonic() + _HEARING_SECONDS
            if self._loop.busy:
                self._loop.step()
            self._send_events()
            if self._told != self._notable():
                self._tell_status()
        self._loop.fail_all("shutting_down")
        self._send_events()
        self._socket.close()
        self._context.term()

    @property
    def status(self) -> EngineStatus:
        """How the engine is doing."""
        loop, scheduler = self._loop, self._loop.scheduler
        counters = asdict(loop.counters)
        counters["batch_sizes"] = tuple(counters["batch_sizes"])
        return EngineStatus(
            engine_id=self._engine_id,
            model_digest=self._model_digest,
            ready=loop.healthy and not self._stopping,
            draining=self._stopping,
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            max_running=scheduler.max_running,
            max_queue=scheduler.max_queue,
            estimated_wait_seconds=scheduler.estimated_wait_seconds(),
            **counters,
        )

    def _notable(self) -> tuple[bool, bool, bool]:
        """What workers are told as soon as it changes."""
        return self._stopping, self._loop.healthy, self._loop.scheduler.room > 0

    def _tell_status(self) -> None:
        self._told = self._notable()
        status = self.status
        for worker in tuple(self._last_heard):
            self._send(worker, status)

    def _receive(self, wait_seconds: float) -> None:
        """Takes every message that has arrived, waiting for the first if there is none."""
        # Asking first, even without waiting, is cheaper than the exception that says there is none.
        if not self._socket.poll(math.ceil(wait_seconds * 1000)):
            return
        while True:
            try:
                worker, data = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                logger.warning("a message of a wrong number of parts was ignored")
                continue
            try:
                message = decode_to_engine(data)
            except WireError:
                logger.exception("a worker's message was ignored")
                continue
            self._take(worker, message)

    def _take(self, worker: bytes, message: ToEngine) -> None:
        known = worker in self._last_heard
        self._last_heard[worker] = time.monotonic()
        match message:
            case Hello():
                self._loop.drop_owner(worker)
                self._send(worker, Welcome(VERSION, self.status))
            case Submit():
                self._submit(worker, message)
            case Grow(job_id, growth):
                self._loop.grow(worker, job_id, growth)
            case Cancel(job_ids):
                self._loop.cancel(worker, job_ids)
            case Ping():
                pass
        if not known and not isinstance(message, Hello):
            # It was given up, and its jobs with it: it has to start afresh.
            self._loop.drop_owner(worker)
            self._send(worker, Welcome(VERSION, self.status))

    def _submit(self, worker: bytes, message: Submit) -> None:
        reason: Literal["overloaded", "shutting_down", "other_engine"]
        if message.engine_id != self._engine_id:
            reason, text = "other_engine", "the engine was restarted"
        elif self._stopping:
            reason, text = "shutting_down", "the service is shutting down"
        elif not self._loop.submit(worker, message.jobs):
            reason, text = "overloaded", "the queue of the engine is full"
        else:
            return
        job_ids = tuple(job.job_id for job in message.jobs)
        self._send(worker, Refused(job_ids, reason, text, self._loop.scheduler.room))

    def _send_events(self) -> None:
        for worker, events in self._loop.take_events().items():
            assert isinstance(worker, bytes)
            self._send(worker, Events(tuple(events)))

    def _send(self, worker: bytes, message: ToWorker) -> None:
        try:
            self._socket.send_multipart([worker, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.info("worker %s is gone (%s)", worker.hex(), error)
            self._drop(worker)

    def _drop_silent_workers(self, now: float) -> None:
        for worker, heard in tuple(self._last_heard.items()):
            if now - heard > self._worker_timeout_seconds:
                logger.warning("worker %s has been silent too long", worker.hex())
                self._drop(worker)

    def _drop(self, worker: bytes) -> None:
        self._last_heard.pop(worker, None)
        self._loop.drop_owner(worker)
