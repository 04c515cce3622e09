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
from service.protocol.parse import Request, parse_request
from service.request_record import current_record
from service.served_model import ServedModel

RequestT = TypeVar("RequestT", bound=Request)

_PART_BYTES = 65536


def take_request(front: Front, shape: type[RequestT]) -> tuple[ServedModel, RequestT]:
    """The request that the HTTP request at hand carries, and the model it asks for.

    Raises:
        ApiError: something is wrong with it.
    """
    body = read_json_body(front.settings.max_body_bytes)
    model = front.models.borrow(body.get("model"))
    current_record().at_end(partial(front.models.give_back, model))
    g.model = model
    strict = request.headers.get("foretoken-strict", "").strip().lower() == "true"
    parsed = parse_request(shape, body, model.limits, strict=strict)
    g.ignored_fields = parsed.ignored_header()
    front.check_open()
    return model, parsed.request


def read_json_body(max_bytes: int) -> dict[str, Any]:
    """The JSON object in the body of the HTTP request at hand.

    Raises:
        ApiError: ``unsupported_media_type``, ``request_too_large``, ``invalid_json``.
    """
    _check_content_type(request.headers)
    return parse_json_object(_read_body(max_bytes))


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


def _read_body(max_bytes: int) -> bytes:
    """The whole body. After one that is too large the server hangs up."""
    length = request.content_length
    body = b""
    if length is None or length <= max_bytes:
        try:
            body = request.environ["wsgi.input"].read(max_bytes + 1)
        except (ParseException, OSError) as error:
            raise ApiError("invalid_json", "the body broke off or is framed wrongly") from error
    if len(body) > max_bytes or (length or 0) > max_bytes:
        raise ApiError(
            "request_too_large", f"the body is larger than max_body_bytes, which is {max_bytes}"
        )
    if length is not None and len(body) < length:
        raise ApiError("invalid_json", f"the body broke off after {len(body)} of {length} bytes")
    return body
