"""From a JSON object to a request: unsupported, unknown, missing and wrong fields in that order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import ApiError, shown
from service.protocol.fields import Limits


class Request(BaseModel):
    """Base of all request bodies: immutable; unknown fields are dropped, null means default."""

    model_config = ConfigDict(frozen=True, extra="ignore")


RequestT = TypeVar("RequestT", bound=Request)

#: Fields other servers have that would change the meaning of the result, and are not offered here.
UNSUPPORTED_FIELDS = frozenset(
    {
        "messages",
        "prompt_embeds",
        "prompt_logprobs",
        "use_beam_search",
        "response_format",
        "structured_outputs",
        "grammar",
        "json_schema",
        "tools",
        "functions",
        "lora",
        "watermark",
    }
)
_UNSUPPORTED_PREFIX = "guided_"
_HARMLESS_VALUES: tuple[object, ...] = (None, False, [], {})

_HEADER_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MAX_NAMED_FIELDS = 10


@dataclass(frozen=True)
class Parsed(Generic[RequestT]):
    """A request, and the names of the fields that were ignored, sorted."""

    request: RequestT
    ignored_fields: tuple[str, ...]

    def ignored_header(self) -> str:
        """Value of ``foretoken-ignored-fields``; empty where nothing can be named."""
        safe = [name for name in self.ignored_fields if _HEADER_SAFE_NAME.fullmatch(name)]
        return ",".join(safe[:_MAX_NAMED_FIELDS])


def asks_to_be_strict(header: str) -> bool:
    """Whether the header ``foretoken-strict`` of a request wants unknown fields refused."""
    return header.strip().lower() == "true"


def parse_request(
    shape: type[RequestT], body: Mapping[str, Any], limits: Limits, *, strict: bool
) -> Parsed[RequestT]:
    """The request that ``body`` holds.

    Args:
        shape: which request.
        body: the JSON object.
        limits: what bounds named in ``shape`` mean.
        strict: refuse unknown fields instead of ignoring them.

    Raises:
        ApiError: 400; names the field, its value and what is allowed.
    """
    unknown = tuple(sorted(set(body) - set(shape.model_fields)))
    _refuse_unsupported(unknown, body)
    if strict and unknown:
        raise ApiError(
            "unknown_parameter",
            f"{shown(unknown[0])} is no field of this request",
            param=unknown[0],
        )
    given = {name: value for name, value in body.items() if value is not None}
    try:
        request = shape.model_validate(given, context=limits)
    except ValidationError as error:
        raise as_api_error(error) from None
    return Parsed(request, unknown)


def as_api_error(error: ValidationError) -> ApiError:
    """The first of pydantic's refusals as an answer."""
    item = error.errors(include_url=False, include_input=False)[0]
    context = item.get("ctx", {})
    param = context.get("param", ".".join(map(str, item["loc"])))
    if item["type"] == "missing":
        return ApiError("missing_parameter", f"{param} is required", param=param)
    return ApiError(item["type"], context["message"], param=param)


def _refuse_unsupported(unknown: tuple[str, ...], body: Mapping[str, Any]) -> None:
    for name in unknown:
        if name not in UNSUPPORTED_FIELDS and not name.startswith(_UNSUPPORTED_PREFIX):
            continue
        value = body[name]
        if any(
            type(value) is type(harmless) and value == harmless for harmless in _HARMLESS_VALUES
        ):
            continue
        if name == "response_format" and value == {"type": "text"}:
            continue
        raise ApiError(
            "unsupported_parameter",
            f"{name} is not supported; leave it out (or send null)",
            param=name,
        )
