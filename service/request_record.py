"""What is noted about the HTTP request at hand while it is answered: times, tokens, its end.

Any code that runs for a request, streams included, finds its record with ``current_record``: one
thread or fibre answers a request from beginning to end.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

from service.engine.request import Event, Finished, Sampled
from service.large_bodies import Turn
from service.new_id import new_id

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(slots=True)
class RequestRecord:
    """One request.

    Attributes:
        endpoint: the route it took, with names for what varies; never text of the request.
        began_at: ``time.monotonic()`` seconds.
        prompt_tokens: as in ``usage``, if the endpoint has told; else summed over its jobs.
        completion_tokens: likewise.
        first_token_seconds: from the beginning to the first sampled token; None before it.
        decode_seconds: spent by the engine on sampling, summed over the jobs that ended.
        decoded_tokens: how many tokens it sampled meanwhile.
        queue_seconds: the longest that one of its jobs waited; None if none has run.
        complete: whether the answer was sent to its end.
        client_gone: whether the client was seen to have closed its connection.
        turn: of a request with a large body, the leave to work on it.
    """

    endpoint: str
    began_at: float = field(default_factory=time.monotonic)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_seconds: float | None = None
    decode_seconds: float = 0.0
    decoded_tokens: int = 0
    queue_seconds: float | None = None
    complete: bool = True
    client_gone: bool = False
    turn: Turn | None = None
    _has_usage: bool = False
    _at_end: list[Callable[[], None]] = field(default_factory=list)

    def note_usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The ``usage`` of the answer: each prompt once, which the jobs alone do not tell."""
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self._has_usage = True

    def note_events(self, events: Iterable[Event]) -> None:
        """What the engine said of the request's jobs."""
        for event in events:
            kind = type(event)
            if kind is Sampled and self.first_token_seconds is None:
                self.first_token_seconds = time.monotonic() - self.began_at
            elif kind is Finished:
                self._note_finished(cast(Finished, event))

    def _note_finished(self, event: Finished) -> None:
        self.queue_seconds = max(self.queue_seconds or 0.0, event.queue_seconds)
        if not self._has_usage:
            self.prompt_tokens += event.num_prompt_tokens
            self.completion_tokens += event.num_completion_tokens
        if event.num_completion_tokens:
            self.decode_seconds += event.decode_seconds
            self.decoded_tokens += event.num_completion_tokens
            # Tokens that arrive many at a time arrive long after the first was sampled.
            first = event.decode_seconds / event.num_completion_tokens
            seconds = event.queue_seconds + event.prefill_seconds + first
            self.first_token_seconds = min(self.first_token_seconds or seconds, seconds)

    def end_turn(self) -> None:
        """The request, if it is large, is done with what takes memory and time in this process."""
        if self.turn is not None:
            self.turn.end()

    def at_end(self, function: Callable[[], None]) -> None:
        """Has ``function`` called when the answer is complete, or cannot be completed."""
        self._at_end.append(function)

    def end(self) -> None:
        """The answer is complete, or cannot be completed."""
        self.end_turn()
        functions, self._at_end = self._at_end, []
        for function in functions:
            try:
                function()
            except Exception:
                logger.exception("what was to be done at the end of a request failed")


def name_request(given: str) -> str:
    """The id of a request: as ``given`` by the client where it can be one, or new."""
    return given if _REQUEST_ID.fullmatch(given) else new_id("req")


_CURRENT: ContextVar[RequestRecord] = ContextVar("request_record")


def begin_record(endpoint: str) -> RequestRecord:
    """The record of a request that begins in this thread or fibre."""
    record = RequestRecord(endpoint)
    _CURRENT.set(record)
    return record


def current_record() -> RequestRecord:
    """The record of the request that is answered here; outside of one, one that is lost."""
    return _CURRENT.get(None) or RequestRecord("none")
