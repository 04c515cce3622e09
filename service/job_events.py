"""Waiting for the engine with an eye on the client, and engine errors as API errors."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Literal

from service import crew
from service.engine.errors import (
    EngineError,
    OverloadedError,
    ShuttingDownError,
)
from service.engine.request import Event, Finished
from service.engine_client import JobStream
from service.errors import ApiError
from service.peer import ClientGoneError, Peer
from service.request_record import current_record

#: How often a waiting request looks whether its client is still there.
PEER_CHECK_SECONDS = 0.3

#: How the failure of a job is answered.
_JOB_ERRORS = {
    "queue_timeout": "queue_timeout",
    "request_timeout": "request_timeout",
    "shutting_down": "shutting_down",
    "invalid_job": "internal_error",
    "step_failed": "internal_error",
}


def check_finished(event: Finished) -> Literal["stop", "length"]:
    """Why a job ended well.

    Raises:
        ApiError: it did not.
    """
    if event.finish_reason == "cancelled":
        raise ApiError("engine_unavailable", "the request was cancelled by the engine")
    if event.finish_reason == "error":
        code = _JOB_ERRORS[event.error_code or "step_failed"]
        raise ApiError(code, event.error_message or "the engine failed")
    return event.finish_reason


def read_events(stream: JobStream, peer: Peer) -> Iterator[list[Event]]:
    """The events of ``stream`` as they come, until its last job ends.

    Gives an empty list whenever nothing has come for ``PEER_CHECK_SECONDS``.

    Raises:
        ApiError: the engine refused the jobs or was lost.
        ClientGoneError: the client closed its connection.
    """
    next_check = time.monotonic() + PEER_CHECK_SECONDS
    record = current_record()
    record.end_turn()
    crew.leave()
    while not stream.done:
        with engine_errors_as_api_errors():
            events = stream.next_events(PEER_CHECK_SECONDS)
        record.note_events(events)
        if time.monotonic() >= next_check:
            if peer.gone():
                record.client_gone = True
                raise ClientGoneError("the client closed its connection")
            next_check = time.monotonic() + PEER_CHECK_SECONDS
        yield events


@contextlib.contextmanager
def engine_errors_as_api_errors() -> Iterator[None]:
    """Turns what the engine client raises into the answer it means."""
    try:
        yield
    except OverloadedError as error:
        seconds = math.ceil(error.retry_after_seconds)
        raise ApiError("overloaded", str(error), retry_after_seconds=seconds) from error
    except ShuttingDownError as error:
        raise ApiError("shutting_down", str(error)) from error
    except EngineError as error:
        raise ApiError("engine_unavailable", str(error)) from error
