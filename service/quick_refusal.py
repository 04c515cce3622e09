"""``overloaded``, said before a thread is taken: to a request that is right but for want of room.

Under many times the load a service can take, almost all requests are refused, and what a refusal
costs is what is left to the others. A thread, gunicorn and Flask take more than a millisecond for
one; the same checks, in the contract's order and by the same functions, take a tenth of that. What
is unusual in any way or wrong in any other is not judged here: the application says what.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from service.completion_room import check_completion_room
from service.errors import ApiError
from service.front import Front
from service.json_body import parse_json_object
from service.metrics import count_refusal, count_request
from service.protocol.completions import CompletionRequest
from service.protocol.parse import asks_to_be_strict, parse_request
from service.raw_answer import raw_answer
from service.request_record import RequestRecord, name_request

logger = logging.getLogger(__name__)

_PATH = "/v1/completions"
_HEAD = re.compile(
    rb"POST /v1/completions HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}: ?[\x20-\x7e]{0,1024}\r\n){1,64})\r\n"
)
_LENGTH = re.compile(r"[0-9]{1,5}")
_LOG_SECONDS = 1.0
#: With one of these, or two of a name, a request is not an everyday one.
_UNUSUAL = ("transfer-encoding", "content-encoding", "expect", "upgrade")


@dataclass(frozen=True)
class Refused:
    """A request that was refused.

    Attributes:
        answer: all bytes of the HTTP answer.
        keeps_connection: whether the client may send its next request on it.
    """

    answer: bytes
    keeps_connection: bool


class QuickRefusal:
    """Refuses completions for which there is no room.

    Args:
        front: of the application in whose place it answers.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._num_unlogged = 0
        self._next_log = 0.0

    def is_full(self, num_ahead: int) -> bool:
        """Whether some model has no room for one sequence more. Cheap, to be asked first.

        Args:
            num_ahead: requests that will be looked at before.
        """
        models = self._front.models
        return not all(model.engines.has_room(num_ahead + 1) for model in models)

    def of(self, request: bytes, num_ahead: int) -> Refused | None:
        """The refusal of ``request``, counted as any other.

        Args:
            request: what a connection has received.
            num_ahead: as in ``is_full``.

        Returns:
            None: it is not one whole, everyday completion request that is right in all that is
            looked at before the room in the queue, or there is room.
        """
        head = _HEAD.match(request)
        if head is None:
            return None
        headers = _headers(head[1])
        body = request[head.end() :]
        if headers is None or not _is_everyday(headers, len(body)):
            return None
        record = RequestRecord(_PATH)
        try:
            found = self._look_for_room(headers, body, num_ahead)
        except ApiError:
            return None
        if found is None:
            return None
        error, about_model = found
        request_id = name_request(headers.get("x-request-id", ""))
        self._log(request_id, error)
        count_refusal(error)
        count_request(record, error.status)
        keeps = headers.get("connection", "keep-alive").lower() != "close"
        return Refused(_answer(error, {"x-request-id": request_id, **about_model}, keeps), keeps)

    def _log(self, request_id: str, error: ApiError) -> None:
        """Each by itself for who wants to know; else one line a second, for there are many."""
        logger.debug("%s refused: %d %s", request_id, error.status, error.code)
        self._num_unlogged += 1
        now = time.monotonic()
        if now >= self._next_log:
            logger.info(
                "%d completions refused: %d %s", self._num_unlogged, error.status, error.code
            )
            self._num_unlogged, self._next_log = 0, now + _LOG_SECONDS

    def _look_for_room(
        self, headers: Mapping[str, str], body: bytes, num_ahead: int
    ) -> tuple[ApiError, dict[str, str]] | None:
        """That there is none, and what the answer's headers say of the model; None: there may be.

        Raises:
            ApiError: it is wrong in another way.
        """
        front = self._front
        front.api_keys.check(_PATH, headers.get("authorization"))
        if front.rate_limits.active:
            return None
        fields = parse_json_object(body)
        model = front.models.find(fields.get("model"))
        strict = asks_to_be_strict(headers.get("foretoken-strict", ""))
        parsed = parse_request(CompletionRequest, fields, model.limits, strict=strict)
        front.check_open()
        try:
            check_completion_room(model, parsed.request, num_ahead)
        except ApiError as error:
            if error.code != "overloaded":
                raise
            about_model = {"foretoken-model": model.id_and_version}
            if ignored := parsed.ignored_header():
                about_model["foretoken-ignored-fields"] = ignored
            return error, about_model
        return None


def _answer(error: ApiError, more_headers: Mapping[str, str], keeps_connection: bool) -> bytes:
    """As gunicorn and Flask would write it."""
    before = {
        "Server": "gunicorn",
        "Date": formatdate(usegmt=True),
        "Connection": "keep-alive" if keeps_connection else "close",
    }
    reason = HTTPStatus(error.status).phrase.upper()
    return raw_answer(error, reason, before, {**error.headers, **more_headers})


def asks_for_completion(request: bytes) -> bool:
    """Whether ``request`` is one of those that may be refused here."""
    return request.startswith(b"POST /v1/completions ")


def _headers(lines: bytes) -> dict[str, str] | None:
    """By name in small letters; None where a name comes twice."""
    pairs = [line.partition(":") for line in lines.decode("ascii").split("\r\n")[:-1]]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return headers if len(headers) == len(pairs) else None


def _is_everyday(headers: Mapping[str, str], num_body_bytes: int) -> bool:
    """Whether a request with these headers is all there, and is read as it stands."""
    length = headers.get("content-length", "")
    return (
        "host" in headers
        and not any(name in headers for name in _UNUSUAL)
        and _LENGTH.fullmatch(length) is not None
        and int(length) == num_body_bytes
        and headers.get("content-type", "application/json").lower() == "application/json"
        and headers.get("connection", "keep-alive").lower() in ("keep-alive", "close")
    )
