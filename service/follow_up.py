"""Jobs that finish a request whose sequences have run: they wait for room, not to be refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from service.engine.request import Event, Job
from service.errors import ApiError
from service.fibres import pause
from service.job_events import PEER_CHECK_SECONDS, engine_errors_as_api_errors, read_events
from service.peer import ClientGoneError, Peer
from service.request_record import current_record
from service.served_model import ServedModel


def run_follow_up(model: ServedModel, jobs: Sequence[Job], peer: Peer) -> Iterator[list[Event]]:
    """The events of ``jobs``, all of which have the same deadline, as they come.

    Gives an empty list now and then while nothing comes. Closing it cancels the jobs.

    Raises:
        ApiError: one of the jobs failed.
        ClientGoneError: the client closed its connection.
    """
    deadline = jobs[0].deadline
    assert deadline is not None
    while True:
        with engine_errors_as_api_errors():
            stream = model.engines.submit(jobs)
        try:
            with stream:
                yield from read_events(stream, peer)
            return
        except ApiError as error:
            if error.code != "overloaded":
                raise
        if time.monotonic() >= deadline:
            raise ApiError("request_timeout", "the request took too long")
        yield []
        if peer.gone():
            current_record().client_gone = True
            raise ClientGoneError("the client closed its connection")
        pause(PEER_CHECK_SECONDS)
