"""What happens to every JSON request before its endpoint sees it, in the contract's order.

Content type, size, JSON, model, fields, room in the queue.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, TypeVar

from flask import g, request
from gunicorn.http.errors import ParseException
from werkzeug.datastructures import Headers

from service.errors import ApiError, shown
from service.front import Front
from service.json_body import parse_json_object
from service.large_bodies import SMALL_BODY_BYTES
from service.protocol.parse import Request, asks_to_be_strict, parse_request
from service.request_record import current_record
from service.served_model import ServedModel

RequestT = TypeVar("RequestT", bound=Request)

_PART_BYTES = 65536


def take_request(front: Front, shape: type[RequestT]) -> tuple[ServedModel, RequestT]:
    """The request that the HTTP request at hand carries, and the model it asks for.

    Raises:
        ApiError: something is wrong with it.
    """
    body = read_json_body(front)
    model = front.models.borrow(body.get("model"))
    current_record().at_end(partial(front.models.give_back, model))
    g.model = model
    strict = asks_to_be_strict(request.headers.get("foretoken-strict", ""))
    parsed = parse_request(shape, body, model.limits, strict=strict)
    g.ignored_fields = parsed.ignored_header()
    front.check_open()
    return model, parsed.request


def read_json_body(front: Front) -> dict[str, Any]:
    """The JSON object in the body of the HTTP request at hand.

    A request with a large body is worked on in its turn, which ends when its engine jobs run.

    Raises:
        ApiError: ``unsupported_media_type``, ``request_too_large``, ``invalid_json``, or
            ``overloaded`` by large bodies.
    """
    _check_content_type(request.headers)
    max_bytes = front.settings.max_body_bytes
    length = request.content_length
    _check_size(length or 0, max_bytes)
    body = _read_part(min(SMALL_BODY_BYTES, max_bytes) + 1)
    if len(body) <= SMALL_BODY_BYTES:
        _check_size(len(body), max_bytes)
        return _parse(body, length)
    with front.large_bodies.held(max_bytes if length is None else length):
        body += _read_part(max_bytes + 1 - len(body))
        _check_size(len(body), max_bytes)
        current_record().turn = front.large_bodies.take_turn(len(body))
        return _parse(body, length)


def discard_body(max_bytes: int) -> None:
    """Reads away what is left of the body, if it is not more than ``max_bytes``.

    With more to come the server hangs up after the answer.
    """
    if (request.content_length or 0) > max_bytes:
        return
    body = request.environ["wsgi.input"]
    with contextlib.suppress(ParseException, OSError):
        while max_bytes > 0 and (part := body.read(min(_PART_BYTES, max_bytes))):
            max_bytes -= len(part)


def _check_content_type(headers: Headers) -> None:
    content_type = headers.get("Content-Type", "")
    if content_type and content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            "unsupported_media_type",
            f"Content-Type must be application/json, not {shown(content_type)}",
        )
    encoding = headers.get("Content-Encoding")
    if encoding is not None:
        raise ApiError(
            "unsupported_media_type",
            f"Content-Encoding {shown(encoding)} is not supported; send the body as it is",
        )


def _check_size(num_bytes: int, max_bytes: int) -> None:
    """After the refusal of a body that is too large the server hangs up."""
    if num_bytes > max_bytes:
        raise ApiError(
            "request_too_large", f"the body is larger than max_body_bytes, which is {max_bytes}"
        )


def _read_part(num_bytes: int) -> bytes:
    """The next ``num_bytes`` of the body, or what is left of it."""
    try:
        part: bytes = request.environ["wsgi.input"].read(num_bytes)
    except (ParseException, OSError) as error:
        raise ApiError("invalid_json", "the body broke off or is framed wrongly") from error
    return part


def _parse(body: bytes, length: int | None) -> dict[str, Any]:
    """The object in ``body``, which was announced to have ``length`` bytes."""
    if length is not None and len(body) < length:
        raise ApiError("invalid_json", f"the body broke off after {len(body)} of {length} bytes")
    return parse_json_object(body)
