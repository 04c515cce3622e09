"""What a request holds of the engine: ``JobStream``, the events of jobs submitted together."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from service.engine.errors import EngineError
from service.engine.growth import Growth
from service.engine.request import Event, Finished
from service.fibres import Inbox, new_inbox


class Canceller(Protocol):
    """What a stream needs of its client."""

    def grow(self, job_id: str, growth: Growth) -> None:
        """Goes on with the token tree of a job."""

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Asks for the end of these jobs."""

    def abandon(self, job_ids: Iterable[str]) -> None:
        """Asks for the end of these jobs; nobody reads their events any more."""


class JobStream:
    """The events of jobs submitted together.

    Read by one thread or fibre, which is the one that makes it; filled by the client's thread.

    As a context manager it cancels what is still open on the way out.
    """

    def __init__(self, client: Canceller, job_ids: Sequence[str]) -> None:
        self._client = client
        self._open = set(job_ids)
        self._failure: EngineError | None = None
        self._inbox: Inbox[list[Event] | EngineError] = new_inbox()

    @property
    def open_job_ids(self) -> frozenset[str]:
        """The jobs whose ``Finished`` has not been read yet."""
        return frozenset(self._open)

    @property
    def done(self) -> bool:
        """Whether nothing more will come: every ``Finished`` was read, or reading has raised."""
        return not self._open

    def next_events(self, timeout_seconds: float | None = None) -> list[Event]:
        """Waits for events and returns all there are, in order; none after the time-out or the end.

        Raises:
            OverloadedError: the queue was full; none of the jobs was taken.
            ShuttingDownError: the engine takes nothing new.
            EngineUnavailableError: the engine that held the jobs is gone.
        """
        events: list[Event] = []
        while self._open:
            try:
                waiting = not events
                item = self._failure or self._inbox.get(waiting, timeout_seconds if waiting else 0)
            except queue.Empty:
                break
            if isinstance(item, EngineError):
                if events:  # these first, the error with the next call
                    self._failure = item
                    break
                self.close()  # jobs of this stream may have other engines
                raise item
            events += item
            self._open.difference_update(event.job_id for event in item if type(event) is Finished)
        return events

    def __iter__(self) -> Iterator[Event]:
        """Every event until the last job's end; raises as ``next_events`` does."""
        while not self.done:
            yield from self.next_events()

    def grow(self, job_id: str, growth: Growth) -> None:
        """Goes on with the token tree of one of the jobs, if it is still open."""
        if job_id in self._open:
            self._client.grow(job_id, growth)

    def cancel(self, job_ids: Iterable[str] | None = None) -> None:
        """Asks for the end of ``job_ids`` (default: all open), each of which still finishes."""
        wanted = self._open if job_ids is None else self._open.intersection(job_ids)
        if wanted:
            self._client.cancel(tuple(wanted))

    def close(self) -> None:
        """Cancels what is still open and stops listening."""
        if self._open:
            self._client.abandon(tuple(self._open))
            self._open = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, item: list[Event] | EngineError) -> None:
        """Hands over events, or the error that ends the stream. Called by the client's thread."""
        self._inbox.put(item)
